"""Measures what each step between a Keras model and its TFLite file brings, on all families.

- keras: the model as Keras computes it, converted;
- norms: with the form of layer normalisation that std_keras.layers.LayerNorm has in inference;
- exported: with the normalisation of pixels in the stem too, as std_keras.export writes it.

One image at a time on one thread, the files of a network in turns in one process. Of a machine that
does other things, the best runs tell more than the medians, and their ratios more than both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

from std_keras import progress
from std_keras.config.option import Option
from std_keras.errors import InputError
from tools.benchmarks import turns

_TOPIC = "Export benchmark"
OPTIONS = {
    "families": Option(topic=_TOPIC, help="Which, separated by commas; or all.", kind=str),
    "width": Option(
        topic=_TOPIC,
        help="Channels of the networks, of the last stage in those that have stages.",
        kind=int,
    ),
    "depth": Option(topic=_TOPIC, help="Blocks; at least 4, even.", kind=int),
    "rounds": Option(topic=_TOPIC, help="Turns of each file, of some 10 ms.", kind=int),
}
DEFAULTS = {"families": "all", "width": 64, "depth": 4, "rounds": 40}
# Of the results, those that a CSV file keeps.
FIGURES = ("files/*",)
FAMILIES = ("mixer", "resmlp", "gmlp", "cyclemlp", "deit", "swin", "regnety", "cifar_resnet")
_STUDENTS = ("mixer", "resmlp", "gmlp", "cyclemlp")
_QUANTIZATIONS = ("float32", "dynamic", "int8")
_SIDE, _CLASSES = 32, 100


def run(*, families: str, width: int, depth: int, rounds: int) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    chosen = FAMILIES if families == "all" else tuple(families.split(","))
    for family in chosen:
        if family not in FAMILIES:
            raise InputError(f"--families={family} is not one of {', '.join(FAMILIES)}")
    if width < 32 or width % 32:
        raise InputError(f"--width={width} must be a multiple of 32")
    if depth < 4 or depth % 2:
        raise InputError(f"--depth={depth} must be even and at least 4")
    if rounds < 1:
        raise InputError(f"--rounds={rounds} must be at least 1")
    rows: dict[str, dict[str, Any]] = {}
    for family in chosen:
        progress.say(f"{family}: converting")
        files = _files(_model(family, width, depth))
        for quantization in _QUANTIZATIONS:
            these = {name: file for (name, kind), file in files.items() if kind == quantization}
            measured = _measured(these, rounds)
            rows |= {f"{family} {quantization} {name}": row for name, row in measured.items()}
    return {
        "benchmark": "graph",
        "image_size": _SIDE,
        "width": width,
        "depth": depth,
        "threads": 1,
        "files": rows,
    }


def _model(family: str, width: int, depth: int) -> Any:
    """Random weights; families that are students have a token set, and predict the average."""
    import keras

    from std_keras import exporting, models
    from tools.export_table import like_trained

    keras.utils.set_random_seed(0)
    given: dict[str, Any] = {"input_shape": (_SIDE, _SIDE, 3), "num_classes": _CLASSES}
    flat = {"patch_size": 4, "width": width, "depth": depth}
    stages = tuple(width * part // 4 for part in (1, 2, 3, 4))
    networks: dict[str, tuple[str, dict[str, Any]]] = {
        "mixer": ("mixer_s16", flat),
        "resmlp": ("resmlp_s12", flat),
        "gmlp": ("gmlp_ti16", flat),
        "cyclemlp": (
            "cyclemlp_b1",
            {
                "patch_size": 2,
                "widths": stages,
                "depths": (1, 1, depth // 2, depth // 2),
                "mlp_ratios": (4, 4, 4, 4),
            },
        ),
        "deit": ("deit_ti16", flat),
        "swin": ("swin_t", {"patch_size": 2, "width": max(32, width // 4), "window_size": 4}),
        "regnety": (
            "regnety_4gf",
            {"width": 24, "width_slope": 12.0, "depth": max(8, depth), "group_width": 8},
        ),
        "cifar_resnet": ("cifar_resnet20", {}),
    }
    name, options = networks[family]
    if family in _STUDENTS:
        model = models.create_student(name, teacher_sites=["last"], **given, **options)
    else:
        model = models.create(name, **given, **options)
    like_trained(model)
    head = "average" if family in _STUDENTS else "classification"
    return exporting.inference_model(model, head=head)


def _files(model: Any) -> dict[tuple[str, str], bytes]:
    """By variant and quantization."""
    import numpy as np

    from std_keras import exporting

    images = np.random.default_rng(0).integers(0, 256, (16, _SIDE, _SIDE, 3), np.uint8)
    reference = np.asarray(model(images.astype("float32")))
    files: dict[tuple[str, str], bytes] = {}
    for name, variant in VARIANTS.items():
        with variant():
            for quantization in _QUANTIZATIONS:
                files[name, quantization] = exporting.convert(
                    model,
                    quantization=quantization,
                    representative_images=images if quantization == "int8" else None,
                    float32_content=files.get((name, "float32")),
                )
        found = exporting.run_file(files[name, "float32"], images=images)
        # A variant that computes something else is not a variant.
        np.testing.assert_allclose(found.logits, reference, atol=1e-4 * np.abs(reference).max())
    return files


@contextlib.contextmanager
def _pixels_apart() -> Iterator[None]:
    with mock.patch("std_keras.exporting.tflite.pixels_in_stem", lambda model: model):
        yield


@contextlib.contextmanager
def _keras_norms() -> Iterator[None]:
    import keras

    from std_keras.layers import LayerNorm

    def call(self: Any, inputs: Any, training: bool | None = None) -> Any:
        return keras.layers.LayerNormalization.call(self, inputs)

    with _pixels_apart(), mock.patch.object(LayerNorm, "call", call):
        yield


VARIANTS: Mapping[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "keras": _keras_norms,
    "norms": _pixels_apart,
    "exported": contextlib.nullcontext,
}


def _measured(files: Mapping[str, bytes], rounds: int) -> dict[str, dict[str, Any]]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from std_keras import exporting

    calls = {}
    for name, content in files.items():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        image = np.random.default_rng(0).integers(0, 256, (1, _SIDE, _SIDE, 3), np.uint8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        calls[name] = interpreter.invoke
    times = {
        name: turns.summary([value for turn in timed for value in turn])
        for name, timed in turns.in_one_process(calls, rounds=rounds, seconds=0.01).items()
    }
    last = times["exported"]
    return {
        name: {
            "best_ms": 1e3 * time["best"],
            "median_ms": 1e3 * time["median"],
            "best_to_exported": time["best"] / last["best"],
            "median_to_exported": time["median"] / last["median"],
            "size_in_bytes": len(files[name]),
            "size_to_exported": len(files[name]) / len(files["exported"]),
            "operators": sum(exporting.count_ops(files[name]).values()),
        }
        for name, time in times.items()
    }
