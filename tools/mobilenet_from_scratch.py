"""MobileNetV2 without pretrained weights, trained by Keras' `fit`: what else one would do.

Usage: python -m tools.mobilenet_from_scratch --photos=photos --output=runs/mobilenet/model.keras
           [--image_size=96] [--alpha=0.35] [--epochs=60]
The file takes pixels of 0..255 (`input=byte`); its labels.txt is written beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from std_keras import progress, quiet
from std_keras.config.option import COUNT, DATA, MODEL, NATURAL, OPTIMIZATION, POSITIVE, RUN, Option
from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

OPTIONS = {
    "photos": Option(topic=DATA, help="Folder with train/CLASS/ and val/CLASS/.", kind=str),
    "output": Option(topic=RUN, help="The .keras file to write.", kind=str),
    "image_size": Option(topic=MODEL, help="Side of its input in pixels.", kind=int, **COUNT),
    "alpha": Option(topic=MODEL, help="Its width multiplier.", kind=float, **POSITIVE),
    "epochs": Option(topic=OPTIMIZATION, help="Number of epochs.", kind=int, **COUNT),
    "seed": Option(
        topic=OPTIMIZATION, help="Of weights, order and augmentation.", **NATURAL, kind=int
    ),
}
DEFAULTS = {"image_size": 96, "alpha": 0.35, "epochs": 60, "seed": 0}
BATCH_SIZE = 32
LEARNING_RATE = 2e-3


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Trains, and writes the file and its labels."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.mobilenet_from_scratch",
        about=str(__doc__),
        options=OPTIONS,
        defaults=DEFAULTS,
        required=("photos", "output"),
    )
    photos, output = Path(parsed["photos"]), Path(parsed["output"])
    if not (photos / "train").is_dir():
        raise InputError(f"photos={photos} has no train/")
    quiet.ensure_tensorflow()
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(parsed["seed"])
    side = parsed["image_size"]
    images = keras.utils.image_dataset_from_directory(
        photos / "train",
        image_size=(side, side),
        crop_to_aspect_ratio=True,
        batch_size=BATCH_SIZE,
        label_mode="categorical",
        seed=parsed["seed"],
        verbose=False,
    )
    names, steps_per_epoch = images.class_names, len(images)
    shifted = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomZoom(0.2),
        ]
    )
    images = images.unbatch().cache().shuffle(10_000).batch(BATCH_SIZE)  # Anew in every epoch.
    images = images.apply(tf.data.experimental.assert_cardinality(steps_per_epoch))
    images = images.map(lambda x, y: (shifted(x, training=True), y)).prefetch(2)
    network = keras.applications.MobileNetV2(
        input_shape=(side, side, 3), alpha=parsed["alpha"], weights=None, include_top=False
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = (
                0.95  # Its 0.999 is for long trainings: a thousand steps end before it.
            )
    inputs = keras.Input((side, side, 3))
    values = network(keras.layers.Rescaling(1 / 127.5, -1.0)(inputs))
    values = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(values))
    model = keras.Model(inputs, keras.layers.Dense(len(names))(values), name="mobilenet_v2")
    steps = parsed["epochs"] * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=LEARNING_RATE, warmup_steps=max(1, steps // 20)
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )

    def tell(epoch: int, logs: dict[str, float]) -> None:
        progress.say(f"epoch {epoch + 1}: training accuracy {logs['accuracy']:.3f}")
        model.stop_training = bool(stop)

    until_stopped = keras.callbacks.LambdaCallback(on_epoch_end=tell)
    began = time.process_time()
    model.fit(images, epochs=parsed["epochs"], verbose=0, shuffle=False, callbacks=[until_stopped])
    if stop:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    (output.parent / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    model.save(output)
    progress.say(f"{output}: {time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    program.console(main)
