"""The loss of one batch, assembled from `std_keras.losses` as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from std_keras import losses
from std_keras.teachers.predictions import TeacherPredictions


@dataclass(frozen=True)
class Objective:
    """Labels, teachers, and how they are weighed against each other.

    L = (1 - alpha) CE(class head, labels) + alpha sum_m w_m D_m (Li et al. 2022). Without
    teachers, L is the cross-entropy alone. If the class head itself follows the teachers, it is
    the loss of Hinton et al. 2015.

    Attributes:
        teacher_heads: for each teacher, the names of the heads that follow it.
        kind: hard or soft.
        alpha: weight of the teachers.
        temperature: softening of both sides in soft distillation.
        confidence: what weighs the teachers against each other.
        confidence_scope: example or batch.
    """

    teacher_heads: tuple[tuple[str, ...], ...] = ()
    kind: str = "hard"
    alpha: float = 0.5
    temperature: float = 1.0
    confidence: str = "negative_entropy"
    confidence_scope: str = "example"

    def metric_names(self) -> tuple[str, ...]:
        """Names of what `compute` returns, in its order."""
        names = ["loss/total", "loss/classification", "accuracy/classification"]
        if self.teacher_heads:
            names.append("loss/distillation")
        for index, heads in enumerate(self.teacher_heads):
            names += [
                f"loss/distillation_{index}",
                f"teacher_{index}/weight",
                f"teacher_{index}/entropy",
                f"teacher_{index}/accuracy",
            ]
            names += [f"agreement/{_figure_name(head, index)}" for head in heads]
        return tuple(names)

    def teacher_weights(
        self,
        teachers: TeacherPredictions,
        *,
        batch_reduce: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Weights (M, B) of the teachers; see `losses.confidence_weights`."""
        return losses.weights_of_confidences(
            teachers.negative_entropies,
            confidence=self.confidence,
            scope=self.confidence_scope,
            batch_reduce=batch_reduce,
        )

    def compute(
        self,
        outputs: Mapping[str, tf.Tensor],
        targets: tf.Tensor,
        *,
        teachers: TeacherPredictions | None = None,
        weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss of each example.

        Args:
            outputs: logits (B, K) of each head by name, `classification` among them.
            targets: (B, K) label distributions.
            teachers: what they say, if there are any; with logits for the soft kind.
            weights: (M, B), from `teacher_weights`.

        Returns:
            The loss (B,), and by name (see `metric_names`) figures (B,) to be averaged.
        """
        logits = outputs["classification"]
        class_loss = losses.cross_entropy(logits, targets)
        correct = losses.agreement(logits, targets)
        names = Objective.metric_names(self)  # A subclass has more.
        if not self.teacher_heads:
            named = [class_loss, class_loss, correct]
            return class_loss, dict(zip(names, named, strict=True))
        assert teachers is not None
        assert weights is not None
        followed = teachers.classes if self.kind == "hard" else teachers.logits
        heads: Sequence[Sequence[tf.Tensor]] = [
            [outputs[name] for name in followers] for followers in self.teacher_heads
        ]
        per_teacher, together = losses.distillation(
            heads, followed, weights, kind=self.kind, temperature=self.temperature
        )
        loss = losses.total(class_loss, together, alpha=self.alpha)
        named = [loss, class_loss, correct, together]
        for index, own in enumerate(heads):
            named += [
                per_teacher[index],
                weights[index],
                -teachers.negative_entropies[index],
                losses.agreement(targets, teachers.classes[index]),
            ]
            named += [losses.agreement(head, teachers.classes[index]) for head in own]
        return loss, dict(zip(names, named, strict=True))


def _figure_name(head: str, teacher: int) -> str:
    """A head that several teachers share has a figure for each of them."""
    return head if head.startswith("distillation_") else f"{head}_{teacher}"
