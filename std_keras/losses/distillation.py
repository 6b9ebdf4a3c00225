"""The losses of distillation, as pure functions of tensors.

Everything is computed in float32 whatever comes in (in float64 if the student's logits are that),
and is per example unless said otherwise, so that the caller divides by the global batch size and
the result does not depend on the number of replicas. B: batch, K: classes, M: teachers. Teachers
are constants: no gradient flows to them. Where there are several, they come first, (M, B, ...), or
with `teacher_axis=1` after the batch, (B, M, ...), as a training batch holds them.

Sources: Li et al. 2022, "Spatial-Channel Token Distillation for Vision MLPs", ICML (called "the
paper" below); Hinton et al. 2015, arXiv 1503.02531; Touvron et al. 2021, arXiv 2012.12877 (hard
distillation); Stanton et al. 2021, arXiv 2106.05945 (agreement).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from std_keras.errors import InputError

KINDS = ("hard", "soft")
CONFIDENCES = ("negative_entropy", "entropy", "uniform")
SCOPES = ("example", "batch")


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of soft targets, in nats: −Σ_k targets_k · log softmax(logits)_k.

    Args:
        logits: (B, K).
        targets: (B, K), probabilities (one-hot, smoothed or mixed labels).

    Returns:
        (B,).
    """
    logits = _precise(logits)
    targets = tf.cast(targets, logits.dtype)
    _check_same_classes(logits, targets)
    # Written out: the fused TensorFlow op has a wrong gradient for targets that do not sum to 1.
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)


def hard_distillation(student_logits: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the student against the teacher's top-1 class, without label smoothing.

    Source: the paper's L_dist; Touvron et al. 2021, Eq. 3.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K), or the top-1 classes themselves, (B,) integers.

    Returns:
        (B,), in nats.
    """
    student, teacher = _precise(student_logits), tf.convert_to_tensor(teacher_logits)
    if not teacher.dtype.is_integer:
        _check_same_classes(student, teacher)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=_top_class(teacher), logits=student
    )


def soft_distillation(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """τ² · KL(softmax(teacher/τ) ‖ softmax(student/τ)), summed over classes.

    τ² keeps the size of the gradient when τ grows; for large τ the gradient tends to the
    difference of the centred logits over K. A class to which the teacher gives probability 0
    (a logit of −inf included) adds nothing. Source: Hinton et al. 2015.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K).
        temperature: τ > 0.

    Returns:
        (B,), in nats. Its mean over the batch is PyTorch's `reduction="batchmean"`.

    Raises:
        InputError: the temperature is not a positive number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature={temperature} must be a number above 0, such as 1 or 4")
    student = _precise(student_logits)
    teacher = tf.stop_gradient(tf.cast(teacher_logits, student.dtype))
    _check_same_classes(student, teacher)
    log_q = tf.nn.log_softmax(student / temperature)
    log_p = tf.nn.log_softmax(teacher / temperature)
    p = tf.exp(log_p)
    # 0 · log 0 = 0: without the switch a teacher's -inf would make NaN of it.
    divergence = tf.reduce_sum(p * (tf.where(p > 0, log_p, tf.zeros_like(p)) - log_q), axis=-1)
    return temperature**2 * divergence


def negative_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Σ_k p_k log p_k of p = softmax(logits): the confidence of a prediction.

    Args:
        logits: (..., K).

    Returns:
        (...), in nats, from −log K (uniform) to 0 (certain).
    """
    log_p = tf.nn.log_softmax(_precise(logits))
    p = tf.exp(log_p)
    return tf.reduce_sum(p * tf.where(p > 0, log_p, tf.zeros_like(p)), axis=-1)


def confidence_weights(
    teacher_logits: tf.Tensor,
    *,
    confidence: str = "negative_entropy",
    scope: str = "example",
    batch_reduce: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Weights of the teachers: softmax over teachers of a confidence; no gradient flows through.

    Source: the paper's confidence reweighting. The name used there is negative entropy, by which
    the surer teacher weighs more; the public PyTorch reproduction uses the plain entropy, by which
    the less sure one does. Both are here, and "uniform" gives every teacher 1/M.

    Scope "example" weighs every example by itself. Scope "batch" adds the confidences of the whole
    batch before the softmax and gives all examples the same weights, as the reproduction does.
    Such a sum grows with the batch, so the weights are near one-hot for large batches: a mean
    difference of 0.1 nat over 128 examples is already a ratio of e^12.8 between two teachers.

    Args:
        teacher_logits: (M, B, K).
        confidence: "negative_entropy", "entropy" or "uniform".
        scope: "example" or "batch".
        batch_reduce: for scope "batch", turns this replica's sums (M,) into those of the global
            batch (an all-reduce); None where the batch is whole.

    Returns:
        (M, B), summing to 1 over teachers.

    Raises:
        InputError: an unknown confidence or scope.
    """
    scores = negative_entropy(_constant(teacher_logits))
    return weights_of_confidences(
        scores, confidence=confidence, scope=scope, batch_reduce=batch_reduce
    )


def weights_of_confidences(
    negative_entropies: tf.Tensor,
    *,
    confidence: str = "negative_entropy",
    scope: str = "example",
    batch_reduce: Callable[[tf.Tensor], tf.Tensor] | None = None,
    teacher_axis: int = 0,
) -> tf.Tensor:
    """`confidence_weights` from the teachers' negative entropies instead of their logits.

    Args:
        negative_entropies: (M, B), or (B, M) with `teacher_axis` 1.
        confidence: see `confidence_weights`.
        scope: see `confidence_weights`.
        batch_reduce: see `confidence_weights`.
        teacher_axis: where the teachers are in `negative_entropies` and in the result.

    Returns:
        (M, B) or (B, M), summing to 1 over teachers.

    Raises:
        InputError: an unknown confidence or scope.
    """
    _check_choice("confidence", confidence, CONFIDENCES)
    _check_choice("scope", scope, SCOPES)
    scores = _teachers_first(_constant(negative_entropies), teacher_axis)
    if confidence == "entropy":
        scores = -scores
    elif confidence == "uniform":
        scores = tf.zeros_like(scores)
    if scope == "batch":
        sums = tf.reduce_sum(scores, axis=1)
        if batch_reduce is not None:
            sums = batch_reduce(sums)
        scores = tf.broadcast_to(sums[:, tf.newaxis], tf.shape(scores))
    weights = tf.stop_gradient(tf.nn.softmax(scores, axis=0))
    return _teachers_first(weights, teacher_axis)  # And back.


def distillation(
    student_logits: Sequence[Sequence[tf.Tensor]],
    teacher_logits: tf.Tensor,
    weights: tf.Tensor,
    *,
    kind: str,
    temperature: float = 1.0,
    teacher_axis: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Losses D_m of all teachers, and their weighted sum Σ_m w_m · D_m.

    D_m is `hard_distillation` or `soft_distillation` of the student's head for teacher m; a
    teacher with several heads (one token set at an intermediate block and one at the last) has the
    mean over its heads. Source: the paper's L_dist.

    Args:
        student_logits: for every teacher, the logits (B, K) of its heads, at least one.
        teacher_logits: (M, B, K); for the hard kind the top-1 classes (M, B) will do.
        weights: (M, B), from `confidence_weights`.
        kind: "hard" or "soft".
        temperature: τ of the soft kind; the hard kind does not use it.
        teacher_axis: where the teachers are in `teacher_logits`, in `weights` and in the losses
            returned: 0 as above, or 1 for (B, M, K) and (B, M).

    Returns:
        The unweighted losses (M, B) and the weighted sum (B,).

    Raises:
        InputError: an unknown kind, or a temperature that is not positive.
        ValueError: the number of teachers differs between the arguments, or one has no head.
    """
    _check_choice("kind", kind, KINDS)
    teacher_logits = tf.convert_to_tensor(teacher_logits)
    teachers = teacher_logits.shape[teacher_axis]
    if teachers is not None and len(student_logits) != teachers:
        raise ValueError(
            f"student_logits has heads for {len(student_logits)} teachers, "
            f"teacher_logits has {teachers}"
        )
    losses = []
    for index, heads in enumerate(student_logits):
        if not heads:
            raise ValueError(f"student_logits[{index}] is empty: each teacher needs a head")
        teacher = teacher_logits[:, index] if teacher_axis else teacher_logits[index]
        if kind == "hard":
            of_heads = [hard_distillation(head, teacher) for head in heads]
        else:
            of_heads = [soft_distillation(head, teacher, temperature=temperature) for head in heads]
        losses.append(tf.add_n(of_heads) / len(of_heads))
    per_teacher = tf.stack(losses)
    weights = _teachers_first(tf.cast(weights, per_teacher.dtype), teacher_axis)
    # Without this a (M, 1) or (B,) would broadcast and go unnoticed.
    if not weights.shape.is_compatible_with(per_teacher.shape):
        raise ValueError(f"weights have shape {weights.shape}, the losses {per_teacher.shape}")
    together = tf.reduce_sum(weights * per_teacher, axis=0)
    return _teachers_first(per_teacher, teacher_axis), together


def total(class_loss: tf.Tensor, distillation_loss: tf.Tensor, *, alpha: float) -> tf.Tensor:
    """(1 − α) · class_loss + α · distillation_loss. Source: the paper's total loss.

    Args:
        class_loss: (B,), cross-entropy of the class head with the labels.
        distillation_loss: (B,), the weighted sum over teachers.
        alpha: α, from 0 (labels only) to 1 (teachers only).

    Returns:
        (B,).

    Raises:
        InputError: alpha is outside 0..1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha={alpha} must be between 0 (labels only) and 1 (teachers only)")
    return (1.0 - alpha) * _precise(class_loss) + alpha * _precise(distillation_loss)


def agreement(student_logits: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """1 where student and teacher have the same top-1 class, else 0 (Stanton et al. 2021).

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K), or the top-1 classes themselves, (B,) integers.

    Returns:
        (B,), float32.
    """
    same = tf.equal(tf.argmax(student_logits, axis=-1), _top_class(teacher_logits))
    return tf.cast(same, tf.float32)


def _top_class(logits_or_classes: tf.Tensor) -> tf.Tensor:
    """Top-1 classes (B,) int64 from logits (B, K), or from such classes of any integer type."""
    values = tf.convert_to_tensor(logits_or_classes)
    if values.dtype.is_integer and values.shape.rank == 1:
        return tf.cast(values, tf.int64)
    return tf.argmax(values, axis=-1)


def _precise(value: tf.Tensor) -> tf.Tensor:
    """In float64 if it is that, else in float32."""
    value = tf.convert_to_tensor(value)
    return value if value.dtype == tf.float64 else tf.cast(value, tf.float32)


def _constant(value: tf.Tensor) -> tf.Tensor:
    return tf.stop_gradient(_precise(value))


def _teachers_first(values: tf.Tensor, teacher_axis: int) -> tf.Tensor:
    """(M, B) from (B, M), and the other way round, if the teachers are not first."""
    return tf.transpose(values) if teacher_axis else values


def _check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        known = ", ".join(choices[:-1]) + f" or {choices[-1]}"
        raise InputError(f"{argument}={value} must be one of {known}")


def _check_same_classes(a: tf.Tensor, b: tf.Tensor) -> None:
    # A plain error: (B, 1) would broadcast unnoticed, and a class beyond K gives NaN on GPUs.
    if not a.shape.is_compatible_with(b.shape):
        raise ValueError(f"shapes must be equal (B, K), but are {a.shape} and {b.shape}")
