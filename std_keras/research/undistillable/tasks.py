"""The losses of a batch for nasty teachers and skeptical students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from std_keras import losses, models
from std_keras.config.distillation import DistillationOptions
from std_keras.research.undistillable import losses as undistillable
from std_keras.teachers.predictions import TeacherPredictions
from std_keras.training.task import DistillationTask


@dataclass(frozen=True, kw_only=True)
class NastyTask(DistillationTask):
    """A teacher that stays accurate and moves away from a frozen adversary (Ma et al. 2021).

    L = CE − ω · τ² · KL(teacher / τ ‖ adversary / τ). The adversary is the only teacher of the run,
    and `temperature` is that of the divergence.

    Attributes:
        weight: ω.
    """

    kind: str = "soft"
    weight: float = 0.04

    @classmethod
    def settings(cls, options: DistillationOptions, model: keras.Model) -> dict[str, Any]:
        return {"weight": options.nasty_weight, "temperature": options.nasty_temperature}

    def example_metric_names(self) -> tuple[str, ...]:
        return (
            "loss/total",
            "loss/classification",
            "accuracy/classification",
            "divergence/adversary",
            "agreement/adversary",
        )

    def example_losses(
        self,
        outputs: Mapping[str, tf.Tensor],
        targets: tf.Tensor,
        *,
        predictions: TeacherPredictions | None = None,
        teacher_weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        assert predictions is not None
        assert predictions.logits is not None
        logits = outputs["classification"]
        class_loss = losses.cross_entropy(logits, targets)
        divergence = undistillable.self_undermining(
            logits, predictions.logits[:, 0], temperature=self.temperature
        )
        loss = undistillable.nasty(class_loss, divergence, weight=self.weight)
        return loss, {
            "loss/total": loss,
            "loss/classification": class_loss,
            "accuracy/classification": losses.agreement(logits, targets),
            "divergence/adversary": divergence,
            "agreement/adversary": losses.agreement(logits, predictions.classes[:, 0]),
        }


@dataclass(frozen=True, kw_only=True)
class SkepticalTask(DistillationTask):
    """A student whose teachers reach one auxiliary classifier (Kundu et al. 2021).

    For the loss see `std_keras.research.undistillable.losses.skeptical`.

    Attributes:
        taught: name of that auxiliary classifier among the outputs.
        deepest: name of the auxiliary classifier nearest to the end; the same one is allowed.
    """

    taught: str = ""
    deepest: str = ""

    @classmethod
    def settings(cls, options: DistillationOptions, model: keras.Model) -> dict[str, Any]:
        auxiliaries = models.auxiliary_names(model)
        return {
            **super().settings(options, model),
            "teacher_heads": ((auxiliaries[0],),) * len(options.teachers),
            "taught": auxiliaries[0],
            "deepest": auxiliaries[-1],
        }

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """Names of the auxiliary classifiers, each once."""
        return tuple(dict.fromkeys((self.taught, self.deepest)))

    def example_metric_names(self) -> tuple[str, ...]:
        of_auxiliaries = (f"accuracy/{name}" for name in self.auxiliaries)
        return (*super().example_metric_names(), "loss/self_distillation", *of_auxiliaries)

    def example_losses(
        self,
        outputs: Mapping[str, tf.Tensor],
        targets: tf.Tensor,
        *,
        predictions: TeacherPredictions | None = None,
        teacher_weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        # The metrics are those of distillation into the taught classifier; the loss is not.
        _, metrics = super().example_losses(
            outputs, targets, predictions=predictions, teacher_weights=teacher_weights
        )
        loss, imitation = undistillable.skeptical(
            final=outputs["classification"],
            deepest=outputs[self.deepest],
            taught=outputs[self.taught],
            teaching=metrics["loss/distillation"],
            targets=targets,
            alpha=self.alpha,
            temperature=self.temperature,
        )
        metrics |= {"loss/total": loss, "loss/self_distillation": imitation}
        for name in self.auxiliaries:
            metrics[f"accuracy/{name}"] = losses.agreement(outputs[name], targets)
        return loss, metrics
