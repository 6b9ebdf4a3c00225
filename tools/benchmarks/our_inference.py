"""The project's model in inference, with random images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.benchmarks import setting
from tools.benchmarks.our_step import block_facts, device_bytes, from_json
from tools.benchmarks.turns import Prepared


def prepare(
    *, config: Mapping[str, Any], batch: int, xla: bool, as_teacher: bool = False
) -> Prepared:
    """A maker for `turns`: the model alone, with the mean of its heads if it is a student.

    Args:
        config: the fields of a `TrainConfig`.
        batch: images in one call.
        xla: whether XLA compiles it.
        as_teacher: whether in the form in which teachers predict: folded.
    """
    import tensorflow as tf

    from std_keras import models
    from std_keras.layers.compiled import fast_inference
    from std_keras.quiet import load_tensorflow
    from std_keras.teachers.inference_form import inference_form
    from std_keras.training import build

    load_tensorflow()
    chosen = from_json(config)
    data = setting.dataset(chosen)
    student = build.build_model(chosen, data)
    model = models.prediction_model(student, head=build.default_head(student))
    network = model
    if as_teacher:
        reduced = chosen.performance.mixed_precision
        network = inference_form(model, bfloat16=reduced) or model
    images = tf.random.stateless_uniform((batch, *data.image_shape), (0, 0), 0.0, 255.0)

    @tf.function(jit_compile=xla, autograph=False)
    def predict(pixels: Any) -> Any:
        with fast_inference():  # As an evaluation.
            return network(pixels, training=False)

    macs = models.multiply_accumulates(model)
    facts = {
        "flop": 2.0 * batch * macs,
        "image_macs": macs,
        "parameters": models.trainable_parameters(student),
        "image_shape": list(data.image_shape),
        "num_classes": data.num_classes,
        **block_facts(student, batch),
    }
    return Prepared(call=lambda: predict(images).numpy(), facts=facts, device_bytes=device_bytes)
