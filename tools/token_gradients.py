"""What the backbone learns through each token of a student: weights, variance and gradients.

Usage: python -m tools.token_gradients RUN TEACHER [TEACHER ...] [--data_dir=D]

The teachers are those of the run, in its order. For every token set, with the weights of a new
student and with those of the run: the root mean square of the head's weights on the token; the
fraction of the variance of the head's logits that the token brings; and the norm of the gradient of
the distillation loss (soft labels, temperature 3) with respect to the features, through this token
alone, per image. The class head's gradient of the cross-entropy stands beside it. The first 1,000
test images, one forward and backward pass. A set whose tokens are carried on to the next
(--propagate_tokens) has no head and no row.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from std_keras import quiet
from std_keras.config.option import DATA, Option
from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

IMAGES = 1_000
TEMPERATURE = 3.0
OPTIONS = {
    "data_dir": Option(topic=DATA, help="Where TFDS keeps its prepared data sets.", kind=str),
}
WORDS = "RUN TEACHER"


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
    student: Any, images: Any, labels: Any, teacher_logits: Sequence[Any]
) -> list[TokenUse]:
    """The tokens of a student's sets that have a head.

    Args:
        student: with token sets.
        images: (n, H, W, C), pixels 0..255.
        labels: (n,) class numbers.
        teacher_logits: of each teacher, (n, K).

    Raises:
        InputError: it has no token sets, or another number of teachers.
    """
    import keras
    import tensorflow as tf

    from std_keras import losses
    from std_keras.research.analysis.token_features import head_of, token_sets

    sets = [layer for layer in token_sets(student) if head_of(student, layer.name)]
    count = max(layer.teacher for layer in sets) + 1
    if count != len(teacher_logits):
        raise InputError(
            f"{len(teacher_logits)} teacher(s) for a run that has {count}; give all of them, in "
            "the order of the run"
        )
    uses = []
    for layer in sets:
        head = student.get_layer(layer.name.replace("tokens", "distillation"))
        followed = teacher_logits[layer.teacher]
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        values = keras.Model(student.input, inputs)(images, training=False)
        first_input, *entering = keras.tree.flatten(values)
        features = tf.constant(first_input)
        tokens_before = None
        if entering:  # Of the set before; Keras keeps them sorted by their keys.
            tokens_before = dict(zip(sorted(layer.token_names), entering, strict=True))
        class_logits = keras.Model(inputs[0], student.get_layer("classification").output)
        with tf.GradientTape() as tape:
            tape.watch(features)
            targets = tf.one_hot(labels, followed.shape[1])
            class_losses = losses.cross_entropy(class_logits(features, training=False), targets)
        class_gradient = _norm(tape.gradient(class_losses, features))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(features)
            tokens = layer(features, tokens=tokens_before)
            parts = [tokens[name] for name in layer.token_names]
            logits = head(tf.concat(parts, axis=1))
            loss = losses.soft_distillation(logits, followed, temperature=TEMPERATURE)
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
    import tensorflow as tf

    flat = tf.reshape(tf.cast(gradients, tf.float64), (gradients.shape[0], -1))
    return float(tf.reduce_mean(tf.norm(flat, axis=1)))


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Prints the table."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.token_gradients",
        about=str(__doc__),
        options=OPTIONS,
        defaults={"data_dir": None},
        words=WORDS,
    )
    run_directory, *followed = parsed[WORDS]
    if not followed:
        raise InputError("TEACHER is missing; give those of the run after it, in its order")
    quiet.load_tensorflow()
    from std_keras import teachers
    from std_keras.runs.run_directory import RunDirectory
    from std_keras.runs.trained import load_trained, untrained
    from std_keras.training import build
    from std_keras.weights.located import located

    run = RunDirectory(located(run_directory, flag="model_dir"))
    specs = [teachers.parse(teacher) for teacher in followed]
    trained = load_trained(run.path, weights="raw")
    loaded = build.data_of_run(
        run.path, dataset=None, data_dir=parsed["data_dir"], model=trained, test_only=True
    )
    networks = [
        teachers.load(spec, image_shape=loaded.image_shape, label_names=loaded.label_names)
        for spec in specs
    ]
    images, labels = loaded.test.decode(next(iter(loaded.test.sequential(batch_size=IMAGES))))
    logits = [network.logits(images) for network in networks]
    rows = [
        (name, use)
        for name, student in (("new", untrained(run)[0]), ("trained", trained))
        for use in token_uses(student, images, labels, logits)
    ]
    print("| weights | token | values | head's weights | variance | gradient | class head's |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, use in rows:
        print(
            f"| {name} | {use.token_set} {use.token} | {use.values} | {use.head_weights:.4f} "
            f"| {100 * use.variance:.1f} % | {use.gradient:.5f} | {use.class_gradient:.5f} |"
        )


if __name__ == "__main__":
    sys.exit(program.run(main))
