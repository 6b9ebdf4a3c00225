"""Which layer a quantised file owes its error to: each is quantised alone, and logits compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from std_keras.data.source import Progress, no_progress
from std_keras.exporting.quantize import layer_of, measure, plan, quantize
from std_keras.exporting.verify import largest_difference, run_file, top1


@dataclass(frozen=True)
class LayerError:
    """What quantising one layer costs, the rest being float32.

    Attributes:
        layer: path of the layer in the graph.
        operator: "FULLY_CONNECTED" for example.
        activations: how their range is found, "dynamic" or "static"; "float" for float16.
        max_logit_difference: to the float32 file, over all images and classes; None if not finite.
        accuracy_drop: top-1 of the float32 file on these images, less that of the other.
    """

    layer: str
    operator: str
    activations: str
    max_logit_difference: float | None
    accuracy_drop: float


def layer_errors(
    content: bytes,
    *,
    quantization: str,
    images: np.ndarray,
    labels: np.ndarray,
    representative_images: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> tuple[LayerError, ...]:
    """One entry for each layer that a quantization changes, the worst first.

    By the drop of accuracy, then by the difference of logits. (A table of the errors inside of the
    whole quantised file would name late layers, which inherit what earlier ones did.)

    Args:
        content: the float32 file.
        quantization: any but "float32".
        images: (n, H, W, C) uint8; 50 to 100 tell enough.
        labels: (n,).
        representative_images: of `convert`, for "int8" and "int4".
        stop: asked between layers and images; once true, the run ends.
        progress: wraps the loop over layers.

    Raises:
        Interrupted: because of `stop`.
    """
    ops = plan(content, quantization=quantization)
    measured = measure(content, ops, representative_images)
    reference = run_file(content, images=images, stop=stop).logits
    found = []
    for op in progress(ops, total=len(ops), what=f"{quantization}, layer by layer"):
        logits = run_file(quantize(content, [op], measured), images=images, stop=stop).logits
        found.append(
            LayerError(
                layer=layer_of(op.name),
                operator=op.kind,
                activations=op.activations,
                max_logit_difference=largest_difference(logits, reference),
                accuracy_drop=top1(reference, labels) - top1(logits, labels),
            )
        )
    return tuple(sorted(found, key=_badness, reverse=True))


def short_table(errors: Sequence[LayerError], *, lines: int = 5) -> str:
    """The worst layers for a terminal."""
    shown = errors[:lines]
    width = max(len(error.layer) for error in shown)
    return "\n".join(
        f"  {error.layer.ljust(width)}  {error.activations:7}  drop {error.accuracy_drop:+.4f}  "
        + (
            "not finite"
            if error.max_logit_difference is None
            else f"max logit diff. {error.max_logit_difference:.2e}"
        )
        for error in shown
    )


def _badness(error: LayerError) -> tuple[float, float]:
    difference = error.max_logit_difference
    return error.accuracy_drop, float("inf") if difference is None else difference
