"""Which student node became which teacher node: correlations of their activations.

Source: Tian 2020, "Student Specialization in Deep ReLU Networks With Finite Width and Input
Dimension", arXiv 1909.13458, and its code, facebookresearch/luckmatters: in an over-parameterized
student some nodes align with teacher nodes, those of strong teacher nodes first, and the others
lose their outgoing weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def correlation(teacher: np.ndarray, student: np.ndarray, *, epsilon: float = 1e-10) -> np.ndarray:
    """Normalised correlation ρ_jk of every teacher node j with every student node k.

    Activations are centred over the data and divided by their norm (plus `epsilon`, so that a node
    that never varies has 0).

    Args:
        teacher: (n, T) activations of the same n inputs.
        student: (n, S).
        epsilon: added to the norms.

    Returns:
        (T, S), from -1 to 1.

    Raises:
        ValueError: other numbers of inputs.
    """
    if teacher.ndim != 2 or student.ndim != 2 or len(teacher) != len(student):
        raise ValueError(
            f"activations (n, nodes) of the same inputs are needed, got {teacher.shape} and "
            f"{student.shape}"
        )
    return _normalised(teacher, epsilon).T @ _normalised(student, epsilon)


def best_matches(correlations: np.ndarray) -> np.ndarray:
    """max_k ρ_jk of every teacher node: (T,)."""
    return correlations.max(axis=1)


def specialized(correlations: np.ndarray) -> dict[str, int]:
    """By threshold, how many student nodes have a teacher node with at least that ρ."""
    best = correlations.max(axis=0)
    return {f"{t:g}": int(np.sum(best >= t)) for t in THRESHOLDS}


@dataclass(frozen=True)
class SyntheticOptions:
    """The two-layer experiment.

    Attributes:
        inputs: d, of Gaussian inputs with deviation 1.
        teacher_nodes: hidden nodes of the teacher.
        factor: how many times as many the student has.
        outputs: of both.
        decay: p; the outgoing weights of teacher node j have norm 1 / j^p.
        steps: of plain gradient descent on fresh batches, squared error on the outputs.
        batch_size: inputs a step.
        learning_rate: of the first half; a tenth of it after that.
        seed: of everything.
    """

    inputs: int = 20
    teacher_nodes: int = 10
    factor: int = 5
    outputs: int = 20
    decay: float = 1.0
    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class SyntheticRun:
    """How the student aligned.

    Attributes:
        steps: at which it was measured.
        best: (steps, T) best ρ of every teacher node, strongest node first.
        outgoing: (S,) norm of the outgoing weights of every student node at the end.
        matched: (S,) best ρ of every student node at the end.
        loss: squared error at those steps.
    """

    steps: tuple[int, ...]
    best: np.ndarray
    outgoing: np.ndarray
    matched: np.ndarray
    loss: tuple[float, ...]

    def first_step(self, threshold: float = 0.9) -> list[int | None]:
        """Of every teacher node, the first step with a ρ of at least `threshold`."""
        reached = self.best >= threshold
        return [self.steps[int(column.argmax())] if column.any() else None for column in reached.T]


def synthetic_two_layer(options: SyntheticOptions, *, looks: int = 40) -> SyntheticRun:
    """Trains a wide two-layer ReLU student on the outputs of a narrow one.

    f(x) = V relu(W x + b). The teacher's rows of W are random unit vectors, b is small; the student
    starts with small random weights.

    Args:
        options: sizes and training.
        looks: how often ρ is measured, on 2,000 separate inputs.
    """
    o = options
    rng = np.random.default_rng(o.seed)
    hidden = o.teacher_nodes * o.factor
    teacher_in = _unit_rows(rng.normal(size=(o.teacher_nodes, o.inputs)))
    teacher_bias = 0.1 * rng.normal(size=o.teacher_nodes)
    strength = 1.0 / np.arange(1, o.teacher_nodes + 1) ** o.decay
    teacher_out = _unit_rows(rng.normal(size=(o.teacher_nodes, o.outputs))) * strength[:, None]
    w = rng.normal(size=(hidden, o.inputs)) / np.sqrt(o.inputs)
    b = np.zeros(hidden)
    v = 0.1 * rng.normal(size=(hidden, o.outputs)) / np.sqrt(hidden)

    def taught(x: np.ndarray) -> np.ndarray:
        return np.maximum(x @ teacher_in.T + teacher_bias, 0.0)

    probe = rng.normal(size=(2000, o.inputs))
    nodes = taught(probe)
    marks = set(np.unique(np.geomspace(1, o.steps, min(looks, o.steps)).astype(int)).tolist())
    seen: list[int] = []
    best: list[np.ndarray] = []
    losses: list[float] = []
    rho = np.zeros((o.teacher_nodes, hidden))
    for step in range(1, o.steps + 1):
        rate = o.learning_rate * (1.0 if step <= o.steps // 2 else 0.1)
        x = rng.normal(size=(o.batch_size, o.inputs))
        before = x @ w.T + b
        active = np.maximum(before, 0.0)
        error = (active @ v - taught(x) @ teacher_out) / o.batch_size
        back = (error @ v.T) * (before > 0)
        v -= rate * active.T @ error
        w -= rate * back.T @ x
        b -= rate * back.sum(axis=0)
        if step in marks:
            shown = np.maximum(probe @ w.T + b, 0.0)
            rho = correlation(nodes, shown)
            seen.append(step)
            best.append(best_matches(rho))
            losses.append(float(np.mean(np.sum((shown @ v - nodes @ teacher_out) ** 2, axis=1))))
    return SyntheticRun(
        steps=tuple(seen),
        best=np.stack(best),
        outgoing=np.linalg.norm(v, axis=1),
        matched=rho.max(axis=0),
        loss=tuple(losses),
    )


def _normalised(activations: np.ndarray, epsilon: float) -> np.ndarray:
    centred = np.asarray(activations, np.float64)
    centred = centred - centred.mean(axis=0)
    return centred / (np.linalg.norm(centred, axis=0) + epsilon)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
