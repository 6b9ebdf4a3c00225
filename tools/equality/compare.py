"""How far the arrays of two outcomes are apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SEPARATOR = "|"
Arrays = dict[str, np.ndarray]
# A variable whose gradient is a rounding error by construction (the last bias of a critic, which
# shifts all scores) has no relative difference; it is compared with the largest of all.
_NOTHING = 1e-4


def read(file: Path) -> dict[tuple[str, str, int], dict[str, Arrays]]:
    """What a process wrote: by (precision, case, replicas) and by kind, arrays by variable."""
    found: dict[tuple[str, str, int], dict[str, Arrays]] = {}
    with np.load(file, allow_pickle=False) as arrays:
        for key in arrays.files:
            precision, case, replicas, kind, variable = key.split(SEPARATOR, 4)
            place = found.setdefault((precision, case, int(replicas)), {})
            place.setdefault(kind, {})[variable] = arrays[key]
    return found


def largest_difference(reference: Arrays, other: Arrays) -> tuple[float, str]:
    """The largest relative difference of any variable, |a - b| / |a| in the 2-norm; and which.

    A variable that is nearly zero beside the others (its norm is below 1e-4 of the largest) is
    compared with the largest. Whole numbers (the state of random numbers) and infinities must be
    the same, or the difference is infinite.

    Raises:
        ValueError: if the variables differ, or nothing is there to be compared.
    """
    if not reference or set(reference) != set(other):
        raise ValueError(f"other variables: {sorted(set(reference) ^ set(other))[:3]}")
    exact = {
        name for name, value in reference.items() if not np.isfinite(value).all() or _whole(value)
    }
    for name in exact:
        if not np.array_equal(reference[name], other[name]):
            return float("inf"), name
    norms = {n: float(np.linalg.norm(_float(v))) for n, v in reference.items() if n not in exact}
    top = max(norms.values())
    worst = (-1.0, "")
    for name in norms:
        difference = float(np.linalg.norm(_float(reference[name]) - _float(other[name])))
        scale = norms[name] if norms[name] > _NOTHING * top else top
        worst = max(worst, (difference / scale, name))
    return worst


def difference_of_all(reference: Arrays, other: Arrays) -> float:
    """|a - b| / |a| in the 2-norm, over all variables as one vector."""
    names = [n for n, v in reference.items() if np.isfinite(v).all() and not _whole(v)]
    difference = sum(float(np.sum((_float(reference[n]) - _float(other[n])) ** 2)) for n in names)
    size = sum(float(np.sum(_float(reference[n]) ** 2)) for n in names)
    return float(np.sqrt(difference / size))


def _whole(value: np.ndarray) -> bool:
    return bool(np.issubdtype(value.dtype, np.integer))


def _float(value: np.ndarray) -> np.ndarray:
    return np.asarray(value, np.float64)
