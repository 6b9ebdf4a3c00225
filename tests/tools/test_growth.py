"""How the step grows: the fitted line, the sizes, the picture, the memory."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras.config import TrainConfig
from std_keras.errors import InputError

STUDENT = {
    "model": "mixer_s16",
    "distillation": "hard",
    "teacher": ("runs/digits_resnet20,site=last",),
}


def test_a_line_through_points(tools):
    points = {8: 1.0, 16: 2.2, 24: 2.9, 32: 4.1}
    line = tools("growth").fit(points)
    slope, start = np.polyfit(list(points), list(points.values()), 1)
    assert (line.slope, line.start) == pytest.approx((slope, start))
    parts = [abs(slope * x + start - y) / y for x, y in points.items()]
    assert line.deviation == pytest.approx(max(parts))


def test_sizes_that_grow(tools):
    config = TrainConfig(batch_size=128, dataset="cifar100", patch_size=4, **STUDENT)
    made = tools("growth").sizes(config, side=8, image=32, points=4)
    assert {n: c["batch_size"] for n, c in made["batch"].items()} == {
        32: 32,
        64: 64,
        96: 96,
        128: 128,
    }
    assert {n: c["image_size"] for n, c in made["patches"].items()} == {
        16: 16,
        36: 24,
        49: 28,
        64: 32,
    }
    assert {n: len(c["teacher"]) for n, c in made["teachers"].items()} == {0: 0, 1: 1, 2: 2, 3: 3}
    with pytest.raises(InputError, match="--points=3 leaves 2 sizes of patches"):
        tools("growth").sizes(config, side=2, image=8, points=3)


def test_plot(tools, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    growth = tools("growth")
    best = {"batch": {1: 1.0, 2: 2.0, 3: 3.2}, "teachers": {0: 3.0, 1: 3.1, 2: 3.3}}
    lines = {k: growth.fit(v) for k, v in best.items()}
    figure = growth.draw(best, lines, tmp_path / "new" / "plot.png")
    for axis, values in zip(figure.axes, best.values(), strict=True):
        assert axis.get_ylim()[0] == 0
        assert axis.get_ylim()[1] > max(v for other in best.values() for v in other.values())
        assert axis.get_xlim()[0] < min(values) < max(values) < axis.get_xlim()[1]
    with image.open(tmp_path / "new" / "plot.png") as picture:
        assert picture.size == (1020, 450)


@pytest.mark.slow
def test_bytes_of_a_step_grow_with_the_batch(tools):
    config = TrainConfig(dataset="digits", patch_size=2, width=256, depth=4, **STUDENT)
    few, many = (
        tools("growth").step_bytes(config.replace(batch_size=n), teachers="on") for n in (8, 512)
    )
    # What channel mixing alone keeps for the way back: its input and four times as much inside.
    patches = (8 // config.model.patch_size) ** 2
    kept = 4 * (512 - 8) * patches * config.model.width * config.model.depth * 5
    assert few is None or kept < many - few < 20 * kept
