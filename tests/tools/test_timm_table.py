"""The list of timm's models in docs/hub.md is what timm and this package say."""

from __future__ import annotations

import re

import pytest

from tests.models.test_parameter_counts import GMLPS, MIXERS, RESMLPS, TEACHERS
from tests.oracles import import_timm
from tools import timm_table

GOLDEN = {**MIXERS, **RESMLPS, **GMLPS, **TEACHERS}


@pytest.fixture(scope="module")
def timm():
    return import_timm()


@pytest.fixture(scope="module")
def rows(timm):
    return timm_table.rows(timm)


def test_the_page_has_it(timm):
    assert timm_table.table(timm) in timm_table.PAGE.read_text(encoding="utf-8")


def test_the_models_have_as_many_parameters_as_timm(timm, rows):
    import torch

    compared = set()
    for name, model, pixels, classes, _ in rows:
        plain = re.fullmatch(r"`(\w+)`", model)
        if plain is None or (pixels, classes) != ("224", "1,000"):
            continue
        with torch.device("meta"):
            module = timm.create_model(name.strip("`").partition(".")[0])
        count = sum(p.numel() for p in module.parameters())
        assert count == GOLDEN[plain[1]], name
        compared.add(plain[1])
    families = {name.partition("_")[0] for name in compared}
    assert families == {"mixer", "resmlp", "gmlp", "deit", "swin", "regnety"}
