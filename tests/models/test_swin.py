from __future__ import annotations

import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from tests.models import torch_state
from tests.oracles import import_timm

OPTIONS = {"width": 8, "depth": 10, "head_dim": 4}


# Maps and windows: 16, 8, 4, 2 by 4 (all of shifted, unshifted and shrunk windows); one side
# shifted, the other not; global attention everywhere.
@pytest.mark.parametrize(
    ("shape", "patch_size", "window_size"),
    [((32, 32, 3), 2, 4), ((32, 16, 3), 2, 8), ((16, 16, 1), 1, 16), ((56, 56, 3), 1, 7)],
)
def test_equals_timm(rng, randomize, shape, patch_size, window_size):
    timm = import_timm()
    torch = pytest.importorskip("torch")
    model = models.create(
        "swin_t",
        input_shape=shape,
        num_classes=5,
        patch_size=patch_size,
        window_size=window_size,
        **OPTIONS,
    )
    randomize(model)
    state = torch_state.TorchState(torch)
    state.put("patch_embed.proj", model.get_layer("stem"))
    state.put("patch_embed.norm", model.get_layer("stem_norm"))
    for s, depth in enumerate((2, 2, 4, 2)):
        if s > 0:
            merging = model.get_layer(f"stage_{s}_merging")
            state.put(f"layers.{s}.downsample.norm", merging.norm)
            state.put(f"layers.{s}.downsample.reduction", merging.reduction)
        for i in range(depth):
            key, block = f"layers.{s}.blocks.{i}", model.get_layer(f"stage_{s}_block_{i}")
            torch_state.transformer_block(state, key, block, attention=block.attention.attention)
            bias = block.attention.relative_position_bias
            state.put_array(f"{key}.attn.relative_position_bias_table", bias)
    state.put("norm", model.get_layer("final_norm"))
    state.put("head.fc", model.get_layer("classification"))
    reference = timm.swin_transformer.SwinTransformer(
        img_size=shape[:2],
        patch_size=patch_size,
        in_chans=shape[2],
        num_classes=5,
        embed_dim=8,
        depths=(2, 2, 4, 2),
        num_heads=(2, 4, 8, 16),
        window_size=window_size,
    )
    pixels = rng.integers(0, 256, size=(2, *shape), dtype=np.uint8)
    expected = torch_state.logits(torch, reference, state, pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "depths"), [("swin_t", (2, 2, 6, 2)), ("swin_b", (2, 2, 18, 2))])
def test_blocks_of_a_stage(name, depths):
    image = {"input_shape": (56, 56, 3), "num_classes": 5, "patch_size": 1}
    model = models.create(name, **image, width=4, head_dim=4)
    for stage, depth in enumerate(depths):
        blocks = [layer for layer in model.layers if f"stage_{stage}_block" in layer.name]
        assert len(blocks) == depth
        assert [block.attention.shift for block in blocks] == [0, 3] * (depth // 2)
        assert [block.num_heads for block in blocks] == [2**stage] * depth
    assert models.sites(model) == {"last": "stage_3_block_1", "intermediate": "stage_3_block_0"}


def test_token_sets_read_the_last_stage(images, randomize):
    student = models.create_student(
        "swin_t",
        input_shape=(16, 16, 3),
        num_classes=5,
        patch_size=1,
        window_size=4,
        teacher_sites=["both"],
        **OPTIONS,
    )
    outputs = models.training_model(randomize(student))(images)
    assert outputs["tokens_0_last"]["spatial"].shape == (4, 64)
    assert outputs["tokens_0_intermediate"]["channel"].shape == (4, 4)


def test_stochastic_depth_ramps():
    image = {"input_shape": (16, 16, 3), "num_classes": 5, "patch_size": 2}
    model = models.create("swin_t", **image, **OPTIONS, window_size=8, stochastic_depth=0.9)
    blocks = [layer for layer in model.layers if "_block_" in layer.name]
    rates = [block.stochastic_depth for block in blocks]
    assert rates == pytest.approx([i / 10 for i in range(10)])


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (36, {}, "image_size=36: swin_t with patch_size=4 .* use a multiple of 32"),
        (64, {}, "of 16x16 patches .* windows of 7x7 do not .* window_size=2, 4, 8 or 16,"),
        (30, {}, "patch_size=4: image size 30 is not divisible by it"),
        (224, {"width": 100}, "width=100: must be a multiple of 32"),
        (224, {"depth": 6}, "depth=6: must be at least 7"),
        (224, {"window_size": 0}, "window_size=0: must be at least 1"),
        (224, {"channel_mlp_dim": 8}, "`channel_mlp_dim` does not apply to swin_t"),
    ],
)
def test_bad_input_gets_a_sentence(size, options, message):
    with pytest.raises(InputError, match=message):
        models.create("swin_t", input_shape=(size, size, 3), num_classes=5, **options)


@pytest.mark.parametrize("window_size", [2, 4, 8, 16])
def test_the_windows_that_the_sentence_offers_fit(window_size):
    model = models.create(
        "swin_t", input_shape=(64, 64, 3), num_classes=5, window_size=window_size, **OPTIONS
    )
    assert model.get_layer("stage_3_block_1").output.shape == (None, 2, 2, 64)
