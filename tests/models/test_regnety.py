from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.models.regnety import RegNetYOptions, build_regnety
from tests.models import torch_state
from tests.oracles import import_timm

# Stages of 1, 1, 2 and 4 blocks with widths 8, 16, 32, 64; then with widths that have to be rounded
# to a multiple of the group's.
SMALL = RegNetYOptions(8, 8, 10.0, 2.0, 8)
ROUNDED = RegNetYOptions(8, 8, 10.0, 2.0, 12)


def put_convolution(state, key, model, name):
    state.put(f"{key}.conv", model.get_layer(name))
    state.put(f"{key}.bn", model.get_layer(name.replace("conv", "norm")))


@pytest.fixture
def create(monkeypatch, randomize):
    def create_small(options: RegNetYOptions, shape=(32, 32, 3)) -> keras.Model:
        monkeypatch.setattr(models.registry, "_ENTRIES", {})
        models.register("small", options, build_regnety)
        return randomize(models.create("small", input_shape=shape, num_classes=5))

    return create_small


@pytest.mark.parametrize("options", [SMALL, ROUNDED])
@pytest.mark.parametrize("shape", [(32, 32, 3), (33, 46, 1), (1, 2, 3)])
def test_equals_timm(rng, create, options, shape):
    timm = import_timm()
    torch = pytest.importorskip("torch")
    model = create(options, shape)
    state = torch_state.TorchState(torch)
    state.put("stem.conv", model.get_layer("stem"))
    state.put("stem.bn", model.get_layer("stem_norm"))
    for stage, (depth, _) in enumerate(options.stages()):
        for block in range(depth):
            key, name = f"s{stage + 1}.b{block + 1}", f"stage_{stage}_block_{block}"
            for i in (1, 2, 3):
                put_convolution(state, f"{key}.conv{i}", model, f"{name}_conv_{i}")
            gate = model.get_layer(f"{name}_squeeze_excite")
            state.put(f"{key}.se.fc1", gate.reduce, as_convolution=True)
            state.put(f"{key}.se.fc2", gate.expand, as_convolution=True)
            if block == 0:
                state.put(f"{key}.downsample.conv", model.get_layer(f"{name}_shortcut"))
                state.put(f"{key}.downsample.bn", model.get_layer(f"{name}_shortcut_norm"))
    state.put("head.fc", model.get_layer("classification"))
    config = timm.regnet.RegNetCfg(
        depth=8, w0=8, wa=10.0, wm=2.0, group_size=options.group_width, se_ratio=0.25
    )
    reference = timm.regnet.RegNet(config, in_chans=shape[2], num_classes=5)
    pixels = rng.integers(0, 256, size=(2, *shape), dtype=np.uint8)
    expected = torch_state.logits(torch, reference, state, pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


# As in the authors' released models (pycls' model zoo).
@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("regnety_4gf", [(2, 128), (6, 192), (12, 512), (2, 1088)]),
        ("regnety_8gf", [(2, 168), (4, 448), (10, 896), (1, 2016)]),
        ("regnety_16gf", [(2, 224), (4, 448), (11, 1232), (1, 3024)]),
    ],
)
def test_published_stages(name, stages):
    assert models.registry.resolve(name).stages() == stages


def test_sites(create):
    found = models.sites(create(SMALL))
    assert found == {"last": "stage_3_block_3", "intermediate": "stage_3_block_2"}


def test_batch_norm_follows_timm(create):
    model = create(SMALL)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 1 + 3 * 8 + 4
    assert {(x.momentum, x.epsilon, x.synchronized) for x in norms} == {(0.9, 1e-5, True)}


def test_a_block_starts_as_its_shortcut():
    model = models.create("regnety_4gf", input_shape=(8, 8, 3), num_classes=5, depth=5)
    gammas = [w.numpy() for w in model.weights if w.path.endswith("norm_3/gamma")]
    assert len(gammas) == 5
    assert not any(np.any(gamma) for gamma in gammas)


def test_stochastic_depth_ramps(create):
    options = RegNetYOptions(8, 8, 10.0, 2.0, 8, stochastic_depth=0.7)
    rates = [x.rate for x in create(options).layers if x.name.endswith("stochastic_depth")]
    assert rates == pytest.approx([i / 10 for i in range(1, 8)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 100}, "width=100: must be a multiple of 8"),
        ({"depth": 0}, "depth=0: must be at least 1"),
        ({"patch_size": 4}, "`patch_size` does not apply to regnety_4gf"),
        ({"gelu": "tanh"}, "`gelu` does not apply to regnety_4gf"),
    ],
)
def test_bad_input_gets_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        models.create("regnety_4gf", input_shape=(32, 32, 3), num_classes=5, **options)
