"""How much of a teacher a linear head can follow that reads only so many numbers.

Usage: python -m tools.logit_rank TEACHER DATASET [--data_dir=D]

A head that reads P numbers, such as that of the channel token alone (one number for each patch),
gives logits of rank P at most. The table has, for each P, the best such approximation of the
teacher's centred logits on the test images (Eckart and Young 1936): the fraction of their variance
that is left, and how often it still names the teacher's class, and the right one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from std_keras import quiet
from std_keras.config.option import DATA, Option
from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

OPTIONS = {
    "data_dir": Option(topic=DATA, help="Where TFDS keeps its prepared data sets.", kind=str),
}
WORDS = "TEACHER DATASET"
RANKS = (4, 8, 16, 32, 64, 128, 196)


def rows(logits: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, float, float, float]]:
    """P, fraction of the variance, agreement and accuracy, for each P below the number of classes.

    Args:
        logits: (examples, classes).
        labels: (examples,).
    """
    centred = logits - logits.mean(axis=1, keepdims=True)  # A shift of all classes is no answer.
    mean = centred.mean(axis=0)
    u, s, vt = np.linalg.svd(centred - mean, full_matrices=False)
    for rank in (r for r in RANKS if r < logits.shape[1]):
        answers = ((u[:, :rank] * s[:rank]) @ vt[:rank] + mean).argmax(axis=1)
        variance = (s[:rank] ** 2).sum() / (s**2).sum()
        agreement = (answers == logits.argmax(axis=1)).mean()
        yield rank, float(variance), float(agreement), float((answers == labels).mean())


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Prints the table."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.logit_rank",
        about=str(__doc__),
        options=OPTIONS,
        defaults={"data_dir": None},
        words=WORDS,
    )
    if len(parsed[WORDS]) != 2:
        raise InputError(f"{' '.join(parsed[WORDS])} must be TEACHER DATASET")
    teacher, dataset = parsed[WORDS]
    quiet.load_tensorflow()
    from std_keras import data, teachers

    loaded = data.load(dataset, data_dir=parsed["data_dir"], test_only=True)
    spec = teachers.parse(teacher)
    network = teachers.load(spec, image_shape=loaded.image_shape, label_names=loaded.label_names)
    logits, labels = [], []
    for raw in loaded.test.sequential(batch_size=250):
        images, numbers = loaded.test.decode(raw)
        logits.append(network.logits(images).numpy())
        labels.append(numbers.numpy())
    print("| P | variance | agrees with the teacher | right |")
    print("|---:|---:|---:|---:|")
    for rank, *parts in rows(np.concatenate(logits), np.concatenate(labels)):
        print(f"| {rank} |", " | ".join(f"{100 * part:.1f} %" for part in parts), "|")


if __name__ == "__main__":
    sys.exit(program.run(main))
