"""Pictures with names in them that are no plain words."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from std_keras.research.studies import figures

VALUES = np.eye(2)


def heatmap(*names):
    png = figures.heatmap(VALUES, rows=names, columns=names, title="of " + names[0])
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


@pytest.mark.parametrize("name", ["$5_$", "$", r"$\frac$", "a_{b^c", "\u6570", "\U0001f600", "%d"])
def test_the_name_of_a_class_is_no_formula_and_may_lack_in_the_font(name):
    assert heatmap(name, "b").std() > 0
