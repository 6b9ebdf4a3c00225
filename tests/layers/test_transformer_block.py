from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import TransformerBlock


def block_model(**options) -> tuple[TransformerBlock, keras.Model]:
    inputs = keras.Input((5, 12))
    block = TransformerBlock(3, 20, **options)
    return block, keras.Model(inputs, block(inputs))


def test_equals_pytorch(rng):
    torch = pytest.importorskip("torch")
    block, model = block_model(layer_norm_epsilon=1e-2)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) / 3)
    reference = torch.nn.TransformerEncoderLayer(
        12, 3, 20, 0.0, "gelu", layer_norm_eps=1e-2, batch_first=True, norm_first=True
    )
    names = {
        "norm1.weight": block.attention_norm.gamma,
        "norm1.bias": block.attention_norm.beta,
        "self_attn.in_proj_weight": block.attention.qkv.kernel,
        "self_attn.in_proj_bias": block.attention.qkv.bias,
        "self_attn.out_proj.weight": block.attention.projection.kernel,
        "self_attn.out_proj.bias": block.attention.projection.bias,
        "norm2.weight": block.mlp_norm.gamma,
        "norm2.bias": block.mlp_norm.beta,
        "linear1.weight": block.mlp.hidden_dense.kernel,
        "linear1.bias": block.mlp.hidden_dense.bias,
        "linear2.weight": block.mlp.output_dense.kernel,
        "linear2.bias": block.mlp.output_dense.bias,
    }
    reference.load_state_dict({k: torch.tensor(v.numpy().T.copy()) for k, v in names.items()})
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    with torch.no_grad():
        expected = reference.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(model(x), expected, atol=1e-4)


def test_round_trip(rng, reload):
    options = {
        "gelu": "tanh",
        "layer_norm_epsilon": 0.1,
        "stochastic_depth": 0.25,
        "seed": 3,
    }
    block, model = block_model(**options)
    loaded = reload(model)
    config = loaded.get_layer(block.name).get_config()
    assert {name: config[name] for name in options} == options
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_stochastic_depth_drops_branches_of_whole_samples(rng):
    _, model = block_model(stochastic_depth=0.5, seed=3)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    x = np.repeat(rng.normal(size=(1, 5, 12)), 64, axis=0).astype("float32")
    y = np.asarray(model(x, training=True))
    kept = {tuple(np.round(sample.reshape(-1), 3)) for sample in y}
    # Both branches, either, none.
    assert len(kept) == 4
    assert any(np.array_equal(sample, x[0]) for sample in y)
