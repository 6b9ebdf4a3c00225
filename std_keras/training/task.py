"""The loss of a batch, in one place: teachers' predictions, their weights, what is minimised.

A task object owns the way from the student's outputs to the loss and its named metrics, as in
PyTorch Image Models (Wightman, `timm/task`, Apache-2.0); the step (`step.py`) knows none of it.
Another loss is a subclass; those of side roads are in `std_keras.research`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from std_keras import losses, models
from std_keras.config.distillation import DistillationOptions
from std_keras.teachers import Teacher
from std_keras.teachers.predictions import (
    CONFIDENCE,
    NAMES,
    PredictionFormat,
    TeacherPredictions,
    predict,
)
from std_keras.training.information import InformationTerm

TEACHER_WEIGHTS = "teacher_weights"


@dataclass(frozen=True)
class BatchShare:
    """Which share of the global batch a loss is computed of; the shares of a loss add up to it.

    Attributes:
        batch_size: of the global batch.
        parts: into which every replica cuts what it has.
        replicas: how many there are.
        sum_over_replicas: an all-reduce; None where there is one replica.
    """

    batch_size: int
    parts: int = 1
    replicas: int = 1
    sum_over_replicas: Callable[[tf.Tensor], tf.Tensor] | None = None


@dataclass(frozen=True)
class TaskLoss:
    """The loss of a share of the batch.

    Attributes:
        loss: scalar, to be differentiated; with the information term only its gradient means
            something (see `losses.mine.estimate`).
        metrics: (metrics,) float32, this share's summands, in the order of `metric_names`.
        log_averages: of MINE, to be kept for the next share; None without the information term.
    """

    loss: tf.Tensor
    metrics: tf.Tensor
    log_averages: tf.Tensor | None


@dataclass(frozen=True, kw_only=True)
class DistillationTask:
    """Labels, teachers, and the mutual information of tokens: the loss of the paper.

    Over a batch of B examples with labels y, M teachers and S token sets

        L = (1 − α) · L_class + α · L_dist + λ · I
        L_class = 1/B · Σ_i CE(f(x_i), y_i)
        L_dist  = 1/B · Σ_i Σ_m w_m(x_i) · D_m(x_i)
        I       = 1/S · Σ_s V(ψ_s),  V(ψ) = mean ψ(T_S, T_C) − log mean exp ψ(T_S, T̄_C)

    f is the class head, f_m the head that follows teacher m. D_m is CE(f_m, argmax teacher m)
    (hard) or τ² · KL(teacher m / τ ‖ f_m / τ) (soft), or its mean over several such heads. w is the
    softmax over teachers of their confidence, so Σ_m w_m = 1. V bounds I(T_S; T_C) from below; the
    critic ψ ascends on it while the student descends. Without teachers, L = L_class + λ · I.
    Source: Li et al. 2022, "Spatial-Channel Token Distillation for Vision MLPs", ICML, its total
    loss and Algorithm 1; if the class head itself follows the teachers, Hinton et al. 2015.

    Attributes:
        teacher_heads: for each teacher, the names of the heads f_m that follow it.
        kind: of D: hard or soft.
        alpha: α.
        temperature: τ.
        confidence: what weighs the teachers against each other; see `losses.confidence_weights`.
        confidence_scope: example or batch.
        teachers: in the order of `teacher_heads`; not needed where batches bring predictions.
        prediction_format: how batches hold the teachers' predictions; none without teachers.
        information: λ · I; none if it is no part of the step's loss.
        class_weights: c, by which the losses of labels and teachers of an example are multiplied:
            L_class and L_dist become 1/B · Σ_i c(y_i) · ...; none for 1.
        label_smoothing: of the targets, which the weights do not see.
    """

    teacher_heads: tuple[tuple[str, ...], ...] = ()
    kind: str = "hard"
    alpha: float = 0.5
    temperature: float = 1.0
    confidence: str = "negative_entropy"
    confidence_scope: str = "example"
    teachers: Sequence[Teacher] = ()
    prediction_format: PredictionFormat | None = None
    information: InformationTerm | None = None
    class_weights: tuple[float, ...] = ()
    label_smoothing: float = 0.0

    @classmethod
    def settings(cls, options: DistillationOptions, model: keras.Model) -> dict[str, Any]:
        """The attributes that follow from the options and from the heads of the model."""
        if options.kind == "none":
            return {}
        count, names = len(options.teachers), models.head_names(model)[1:]
        heads = tuple(
            ("classification",)
            if options.objective == "class_head"
            else tuple(name for name in names if name.startswith(f"distillation_{index}_"))
            for index in range(count)
        )
        return {
            "teacher_heads": heads,
            "kind": options.kind,
            "alpha": options.alpha,
            "temperature": options.temperature,
            "confidence": options.confidence,
            "confidence_scope": options.confidence_scope,
        }

    def compiled(self) -> DistillationTask:
        """The same task with its teachers compiled by XLA where that can be done and pays."""
        return replace(self, teachers=[teacher.compiled() for teacher in self.teachers])

    def predictions(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The teachers' predictions by name, (B, M, ...), as `prediction_format` encodes them:
        those that came with the batch from a cache, else computed from its views, if teachers on
        the host have not done so."""
        cached = {name: batch[name] for name in NAMES if name in batch}
        if cached or not self.teachers:
            return cached
        assert self.prediction_format is not None
        # Encoded and decoded again, so that they have the same bits as those from a cache.
        return predict(self.teachers, batch, self.prediction_format)

    def prepared(
        self,
        images: tf.Tensor,
        targets: tf.Tensor,
        predictions: Mapping[str, tf.Tensor],
        *,
        dtype: Any = tf.float32,
        sum_over_replicas: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> dict[str, tf.Tensor]:
        """What `loss` needs of a replica's batch, by name and batch first, to be cut in parts.

        Args:
            images: (B, H, W, C), pixels of 0..255.
            targets: (B, K) label distributions.
            predictions: from `predictions`; {} without teachers.
            dtype: of the student's logits.
            sum_over_replicas: an all-reduce, for weights of the whole batch.
        """
        batch = {"images": tf.cast(images, tf.float32), "targets": targets}
        if not predictions:
            return batch
        assert self.prediction_format is not None
        for name, value in self.prediction_format.decode(predictions).items():
            batch[name] = tf.cast(value, dtype) if value.dtype.is_floating else value
        batch[TEACHER_WEIGHTS] = losses.weights_of_confidences(
            batch[CONFIDENCE],
            confidence=self.confidence,
            scope=self.confidence_scope,
            batch_reduce=sum_over_replicas,
            teacher_axis=1,
        )
        return batch

    def loss(
        self, outputs: Mapping[str, Any], batch: Mapping[str, tf.Tensor], *, share: BatchShare
    ) -> TaskLoss:
        """The loss L of a share of the batch; call it inside the tape.

        Args:
            outputs: logits (b, K) of each head by name, and the tokens of each token set.
            batch: the share's part of what `prepared` gave.
            share: which one.
        """
        examples, metrics = self.example_losses(
            outputs,
            batch["targets"],
            predictions=TeacherPredictions.of(batch),
            teacher_weights=batch.get(TEACHER_WEIGHTS),
        )
        if self.class_weights:
            weights = losses.example_weights(
                batch["targets"], self.class_weights, label_smoothing=self.label_smoothing
            )
            weights = tf.cast(weights, examples.dtype)
            examples *= weights
            metrics = {
                name: value * tf.cast(weights, value.dtype) if name.startswith("loss/") else value
                for name, value in metrics.items()
            }
        loss = tf.reduce_sum(examples) / share.batch_size
        sums = [tf.cast(tf.reduce_sum(metrics[n]), tf.float32) for n in self.example_metric_names()]
        values = tf.stack([value / share.batch_size for value in sums])
        if self.information is None:
            return TaskLoss(loss, values, None)
        estimate = self.information.estimate(
            outputs,
            global_batch_size=share.batch_size // share.parts,
            sum_over_replicas=share.sum_over_replicas,
        )
        weight = self.information.weight / share.parts
        loss += weight * tf.cast(estimate.surrogate, loss.dtype)
        # The bounds are the same on every replica; the shares must sum to them.
        bounds = tf.cast(estimate.bounds, tf.float32) / (share.parts * share.replicas)
        return TaskLoss(loss, tf.concat([values, bounds], axis=0), estimate.log_averages)

    def example_losses(
        self,
        outputs: Mapping[str, tf.Tensor],
        targets: tf.Tensor,
        *,
        predictions: TeacherPredictions | None = None,
        teacher_weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """(1 − α) · CE + α · Σ_m w_m · D_m of each example.

        Args:
            outputs: logits (B, K) of each head by name, `classification` among them.
            targets: (B, K) label distributions.
            predictions: the teachers', if there are any.
            teacher_weights: w, (B, M).

        Returns:
            The loss (B,), and by name (see `metric_names`) values (B,) to be averaged.
        """
        logits = outputs["classification"]
        class_loss = losses.cross_entropy(logits, targets)
        metrics = {
            "loss/total": class_loss,
            "loss/classification": class_loss,
            "accuracy/classification": losses.agreement(logits, targets),
        }
        if not self.teacher_heads:
            return class_loss, metrics
        assert predictions is not None
        assert teacher_weights is not None
        per_teacher, together = losses.distillation(
            [[outputs[name] for name in names] for names in self.teacher_heads],
            predictions.classes if self.kind == "hard" else predictions.logits,
            teacher_weights,
            kind=self.kind,
            temperature=self.temperature,
            teacher_axis=1,
        )
        loss = losses.total(class_loss, together, alpha=self.alpha)
        metrics |= {"loss/total": loss, "loss/distillation": together}
        for m, names in enumerate(self.teacher_heads):
            classes = predictions.classes[:, m]
            metrics |= {
                f"loss/distillation_{m}": per_teacher[:, m],
                f"teacher_{m}/weight": teacher_weights[:, m],
                f"teacher_{m}/entropy": -predictions.negative_entropies[:, m],
                f"teacher_{m}/accuracy": losses.agreement(targets, classes),
            }
            for name in names:
                metrics[_agreement_name(name, m)] = losses.agreement(outputs[name], classes)
        return loss, metrics

    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics of `loss`, in their order."""
        bounds = () if self.information is None else self.information.token_sets
        return (*self.example_metric_names(), *(f"mine/{name}" for name in bounds))

    def example_metric_names(self) -> tuple[str, ...]:
        """Names of the metrics of `example_losses`, in their order."""
        names = ["loss/total", "loss/classification", "accuracy/classification"]
        if self.teacher_heads:
            names.append("loss/distillation")
        for m, heads in enumerate(self.teacher_heads):
            names += [
                f"loss/distillation_{m}",
                f"teacher_{m}/weight",
                f"teacher_{m}/entropy",
                f"teacher_{m}/accuracy",
            ]
            names += [_agreement_name(head, m) for head in heads]
        return tuple(names)


def _agreement_name(head: str, teacher: int) -> str:
    """A head that several teachers share has an agreement with each of them."""
    name = head if head.startswith("distillation_") else f"{head}_{teacher}"
    return f"agreement/{name}"
