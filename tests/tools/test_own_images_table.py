"""The table of one's own photographs: its commands exist, its rows are what was measured."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from std_keras.research.analysis import shipping
from tests.docs.test_commands import Understood, command_of
from tools import mobilenet_from_scratch, own_images_table


def test_its_commands_are_understood(tmp_path, monkeypatch):
    from std_keras.programs import flags

    parse = flags.parse

    def understood(*arguments, **options):
        parse(*arguments, **options)
        raise Understood

    monkeypatch.setattr(flags, "parse", understood)
    parsed = {"photos": "photos", "backbone": "b.keras,input=byte", "start": "std_keras:x"}
    steps = own_images_table.steps(parsed, tmp_path)
    assert [made.relative_to(tmp_path).parts[0] for _, made in steps] == [*own_images_table.WHAT]
    for command, made in steps:
        module, *arguments = command
        program, rest = (
            ("std-keras", arguments)
            if module == "std_keras"
            else (f"python -m {module}", arguments)
        )
        main = command_of(program, rest)
        assert any(str(made.parent) in a for a in rest)
        with pytest.raises(Understood):
            main[0].main(main[1], None)


def candidate(run, kind, **facts):
    numbers = {"bytes": 1_000_000, "latency_ms": 1.0, "latency_ms_2_threads": 0.6} | facts
    return shipping.Candidate(
        run=run,
        role="student",
        quantization=kind,
        file=f"{run}/{kind}.tflite",
        balanced_accuracy=numbers["top1"] - 0.01,
        cold_start_ms=2.0,
        **numbers,
    )


def test_a_row_for_each_network_and_who_wins():
    found = shipping.compare(
        [
            candidate("student", "float32", top1=0.80, latency_ms=2.0),
            candidate("student", "dynamic", top1=0.80, latency_ms=0.5),
            candidate("mobilenet_035_96", "dynamic", top1=0.5, bytes=500_000, latency_ms=0.25),
        ],
        dataset="folder:photos",
        examples=100,
        budget_mb=None,
        budget_ms=None,
        metric="top1",
        machine={"cpu": "a processor"},
    )
    page = own_images_table.page(found, command="make", backbone="net", start="start")
    assert [line for line in page.splitlines() if line.startswith("| ")][2:] == [
        "| student of that teacher, from `start` | dynamic | 80.0 | 79.0 | 1.00 | 0.50 | 0.60 |",
        "| MobileNetV2, width 0.35, 96 pixels, from scratch by `fit` | dynamic | 50.0 | 49.0 | "
        "0.50 | 0.25 | 0.60 |",
    ]
    assert "The most accurate is student dynamic. Ship student dynamic" in page


def small_network(*, input_shape, alpha, weights, include_top):
    """In place of MobileNetV2, whose step takes half a minute to trace."""
    assert weights is None and not include_top and alpha == 0.5
    inputs = keras.Input(input_shape)
    values = keras.layers.Conv2D(8, 3, strides=2)(inputs)
    return keras.Model(inputs, keras.layers.ReLU()(keras.layers.BatchNormalization()(values)))


def test_a_mobilenet_is_trained_and_takes_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNetV2", small_network)
    for name, grey in (("bright", 200), ("dark", 50)):
        folder = tmp_path / "photos/train" / name
        folder.mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (40, 50), (grey + index,) * 3).save(folder / f"{index}.png")
    output = tmp_path / "out/net.keras"
    mobilenet_from_scratch.main(
        [
            f"--photos={tmp_path / 'photos'}",
            f"--output={output}",
            "--image_size=32",
            "--alpha=0.5",
            "--epochs=1",
        ],
        False,
    )
    assert (output.parent / "labels.txt").read_text() == "bright\ndark\n"
    model = keras.saving.load_model(output)
    grey = np.stack([np.full((32, 32, 3), value, np.float32) for value in (0, 255)])
    assert np.ptp(model(grey).numpy(), axis=0).shape == (2,)
    rescaling = next(x for x in model.layers if isinstance(x, keras.layers.Rescaling))
    scaled = rescaling(grey).numpy()
    assert (scaled[0] == -1).all() and (scaled[1] == 1).all()
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    moved = [np.ptp(layer.moving_mean.numpy()) > 0 for layer in norms_of(network)]
    assert all(moved)  # By the one step that there was.


def norms_of(network):
    return [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
