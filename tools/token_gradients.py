"""What the backbone learns through each token of a student: weights, variance and gradients.

Usage: python -m tools.token_gradients RUN TEACHER [DATA_DIR]

For every token set, with the weights of a new student and with those of the run: the root mean
square of the head's weights on the token; the fraction of the variance of the head's logits that
the token brings; and the norm of the gradient of the distillation loss (soft labels, temperature
3) with respect to the features, through this token alone, per image. The class head's gradient of
the cross-entropy stands beside it. The first 1,000 test images, one forward and backward pass.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

IMAGES = 1_000
TEMPERATURE = 3.0


@dataclass(frozen=True)
class TokenUse:
    """One token of one token set.

    Attributes:
        token_set: its name.
        token: "spatial" or "channel".
        values: how many numbers the head reads of it.
        head_weights: root mean square of the head's weights on them.
        variance: of the logits' variance over images (each image's mean taken off) the fraction
            that the token has alone; with what the tokens share, fractions need not add up to 1.
        gradient: norm of the distillation loss' gradient with respect to the features (P, N)
            through this token, the mean over images.
        class_gradient: the same of the class head's cross-entropy, through the features.
    """

    token_set: str
    token: str
    values: int
    head_weights: float
    variance: float
    gradient: float
    class_gradient: float


def token_uses(
    student: keras.Model, images: Any, labels: Any, teacher_logits: Any
) -> list[TokenUse]:
    """The tokens of a student's sets whose heads learn from the teacher.

    Args:
        student: with token sets at its last site.
        images: (n, H, W, C), pixels 0..255.
        labels: (n,) class numbers.
        teacher_logits: (n, K).
    """
    from std_keras import losses
    from std_keras.research.analysis.token_features import token_sets

    uses = []
    for layer in token_sets(student):
        head = student.get_layer(layer.name.replace("tokens", "distillation"))
        features = tf.constant(keras.Model(student.input, layer.input)(images, training=False))
        class_logits = keras.Model(layer.input, student.get_layer("classification").output)
        with tf.GradientTape() as tape:
            tape.watch(features)
            targets = tf.one_hot(labels, teacher_logits.shape[1])
            class_losses = losses.cross_entropy(class_logits(features, training=False), targets)
        class_gradient = _norm(tape.gradient(class_losses, features))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(features)
            tokens = layer(features)
            parts = [tokens[name] for name in layer.token_names]
            logits = head(tf.concat(parts, axis=1))
            loss = losses.soft_distillation(logits, teacher_logits, temperature=TEMPERATURE)
        of_parts = tape.gradient(loss, parts)
        first = 0
        for name, part, of_part in zip(layer.token_names, parts, of_parts, strict=True):
            kernel = head.kernel.numpy()[first : first + part.shape[1]]
            first += part.shape[1]
            through = tape.gradient(part, features, output_gradients=of_part)
            uses.append(
                TokenUse(
                    layer.name,
                    name,
                    part.shape[1],
                    float(np.sqrt(np.mean(kernel**2))),
                    _variance(part.numpy() @ kernel) / _variance(logits.numpy()),
                    _norm(through),
                    class_gradient,
                )
            )
    return uses


def _variance(logits: np.ndarray) -> float:
    centred = logits - logits.mean(axis=1, keepdims=True)  # A shift of all classes is no answer.
    return float(centred.var(axis=0).sum())


def _norm(gradients: Any) -> float:
    flat = tf.reshape(tf.cast(gradients, tf.float64), (gradients.shape[0], -1))
    return float(tf.reduce_mean(tf.norm(flat, axis=1)))


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Prints the table."""
    if "--help" in arguments:
        raise flags.HelpRequested(str(__doc__))
    if len(arguments) not in (2, 3):
        raise InputError(f"{list(arguments)} must be RUN TEACHER [DATA_DIR]; --help describes them")
    run_directory, teacher, *rest = arguments
    data_dir = rest[0] if rest else None
    from std_keras import data, teachers
    from std_keras.runs.run_directory import RunDirectory
    from std_keras.runs.trained import load_trained, untrained

    run = RunDirectory(run_directory)
    loaded = data.load(run.read_config().data.dataset, data_dir=data_dir)
    spec = teachers.parse(teacher)
    network = teachers.load(spec, image_shape=loaded.image_shape, label_names=loaded.label_names)
    images, labels = loaded.test.decode(next(iter(loaded.test.sequential(batch_size=IMAGES))))
    logits = network.logits(images)
    print("| weights | token | values | head's weights | variance | gradient | class head's |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, student in (
        ("new", untrained(run)[0]),
        ("trained", load_trained(run.path, weights="raw")),
    ):
        for use in token_uses(student, images, labels, logits):
            print(
                f"| {name} | {use.token_set} {use.token} | {use.values} | {use.head_weights:.4f} "
                f"| {100 * use.variance:.1f} % | {use.gradient:.5f} | {use.class_gradient:.5f} |"
            )


if __name__ == "__main__":
    sys.exit(program.run(main))
