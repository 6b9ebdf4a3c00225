"""The losses of a batch for nasty teachers and skeptical students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from std_keras import losses
from std_keras.research.undistillable import losses as undistillable
from std_keras.teachers.predictions import TeacherPredictions
from std_keras.training.objective import Objective


@dataclass(frozen=True)
class NastyObjective(Objective):
    """A teacher that stays accurate and moves away from a frozen adversary (Ma et al. 2021).

    The adversary is the only teacher of the run, and `temperature` is that of the divergence.

    Attributes:
        weight: of the divergence.
    """

    kind: str = "soft"
    weight: float = 0.04

    def metric_names(self) -> tuple[str, ...]:
        return (
            "loss/total",
            "loss/classification",
            "accuracy/classification",
            "divergence/adversary",
            "agreement/adversary",
        )

    def compute(
        self,
        outputs: Mapping[str, tf.Tensor],
        targets: tf.Tensor,
        *,
        teachers: TeacherPredictions | None = None,
        weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        assert teachers is not None
        assert teachers.logits is not None
        logits = outputs["classification"]
        class_loss = losses.cross_entropy(logits, targets)
        divergence = undistillable.self_undermining(
            logits, teachers.logits[0], temperature=self.temperature
        )
        loss = undistillable.nasty(class_loss, divergence, weight=self.weight)
        named = (
            loss,
            class_loss,
            losses.agreement(logits, targets),
            divergence,
            losses.agreement(logits, teachers.classes[0]),
        )
        return loss, dict(zip(self.metric_names(), named, strict=True))


@dataclass(frozen=True)
class SkepticalObjective(Objective):
    """A student whose teachers reach one auxiliary classifier (Kundu et al. 2021).

    Attributes:
        taught: name of that auxiliary classifier among the outputs.
        deepest: name of the auxiliary classifier nearest to the end; the same one is allowed.
    """

    taught: str = ""
    deepest: str = ""

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """Names of the auxiliary classifiers, each once."""
        return tuple(dict.fromkeys((self.taught, self.deepest)))

    def metric_names(self) -> tuple[str, ...]:
        of_auxiliaries = (f"accuracy/{name}" for name in self.auxiliaries)
        return (*super().metric_names(), "loss/self_distillation", *of_auxiliaries)

    def compute(
        self,
        outputs: Mapping[str, tf.Tensor],
        targets: tf.Tensor,
        *,
        teachers: TeacherPredictions | None = None,
        weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        # The figures are those of distillation into the taught classifier; the loss is not.
        _, figures = super().compute(outputs, targets, teachers=teachers, weights=weights)
        loss, imitation = undistillable.skeptical(
            final=outputs["classification"],
            deepest=outputs[self.deepest],
            taught=outputs[self.taught],
            teaching=figures["loss/distillation"],
            targets=targets,
            alpha=self.alpha,
            temperature=self.temperature,
        )
        figures["loss/total"] = loss
        figures["loss/self_distillation"] = imitation
        for name in self.auxiliaries:
            figures[f"accuracy/{name}"] = losses.agreement(outputs[name], targets)
        return loss, figures
