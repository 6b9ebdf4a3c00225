from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from tests.models import torch_state

DEPTHS, WIDTHS, RATIOS = (1, 2, 1, 2), (8, 12, 20, 16), (2, 3, 2, 1)
OPTIONS = {"depths": DEPTHS, "widths": WIDTHS, "mlp_ratios": RATIOS}
# Windows and padding of the stem: the published 7 and 2 for a step of 4, and the like of them.
STEMS = {1: (3, 1), 2: (3, 1), 4: (7, 2)}


def torch_cyclemlp(torch: Any, *, step: int, channels: int) -> Any:
    """The network as the authors' code defines it, with its names of weights.

    CycleFC is written out, channel by channel, in place of the deformable convolution.
    """
    nn = torch.nn

    class CycleFC(nn.Module):
        def __init__(self, dim, kernel_size):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(dim, dim, 1, 1))
            self.bias = nn.Parameter(torch.empty(dim))
            self.kernel_size = kernel_size

        def forward(self, x):
            height, width = x.shape[2:]
            rows, columns = self.kernel_size
            start = (rows * columns) // 2
            padded = nn.functional.pad(x, (3, 3, 3, 3))
            moved = []
            for i in range(x.shape[1]):
                down = (i + start) % rows - rows // 2
                right = (i + start) % columns - columns // 2
                moved.append(
                    padded[:, i, 3 + down : 3 + down + height, 3 + right : 3 + right + width]
                )
            return nn.functional.conv2d(torch.stack(moved, 1), self.weight, self.bias)

    class Mlp(nn.Module):
        def __init__(self, inputs, hidden, outputs):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

        def forward(self, x):
            return self.fc2(nn.functional.gelu(self.fc1(x)))

    class Mixing(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.mlp_c = nn.Linear(dim, dim, bias=False)
            self.sfc_h, self.sfc_w = CycleFC(dim, (1, 3)), CycleFC(dim, (3, 1))
            self.reweight = Mlp(dim, dim // 4, dim * 3)
            self.proj = nn.Linear(dim, dim)

        def forward(self, x):
            batch, _, _, dim = x.shape
            h = self.sfc_h(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            w = self.sfc_w(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            c = self.mlp_c(x)
            a = self.reweight((h + w + c).mean((1, 2))).reshape(batch, dim, 3)
            a = a.permute(2, 0, 1).softmax(dim=0)[:, :, None, None]
            return self.proj(h * a[0] + w * a[1] + c * a[2])

    class Block(nn.Module):
        def __init__(self, dim, ratio):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.attn, self.mlp = Mixing(dim), Mlp(dim, ratio * dim, dim)

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Convolution(nn.Module):
        def __init__(self, inputs, outputs, size, stride, padding):
            super().__init__()
            self.proj = nn.Conv2d(inputs, outputs, size, stride, padding)

        def forward(self, x):
            return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    class CycleNet(nn.Module):
        def __init__(self):
            super().__init__()
            size, padding = STEMS[step]
            self.patch_embed = Convolution(channels, WIDTHS[0], size, step, padding)
            network = []
            for i, (depth, dim, ratio) in enumerate(zip(DEPTHS, WIDTHS, RATIOS, strict=True)):
                if i > 0:
                    network.append(Convolution(WIDTHS[i - 1], dim, 3, 2, 1))
                network.append(nn.Sequential(*(Block(dim, ratio) for _ in range(depth))))
            self.network = nn.ModuleList(network)
            self.norm, self.head = nn.LayerNorm(WIDTHS[-1]), nn.Linear(WIDTHS[-1], 5)

        def forward(self, x):
            x = self.patch_embed(x.permute(0, 2, 3, 1))
            for layer in self.network:
                x = layer(x)
            return self.head(self.norm(x.flatten(1, 2)).mean(1))

    return CycleNet()


def torch_weights(torch: Any, model: keras.Model) -> torch_state.TorchState:
    state = torch_state.TorchState(torch)
    state.put("patch_embed.proj", model.get_layer("stem"))
    for stage, depth in enumerate(DEPTHS):
        if stage > 0:
            layer = model.get_layer(f"stage_{stage}_downsample")
            state.put(f"network.{2 * stage - 1}.proj", layer)
        for i in range(depth):
            block, key = model.get_layer(f"stage_{stage}_block_{i}"), f"network.{2 * stage}.{i}"
            state.put(f"{key}.norm1", block.mixing_norm)
            # The authors call "h" what runs along the width.
            state.put(f"{key}.attn.sfc_h", block.mixing.width_fc, as_convolution=True)
            state.put(f"{key}.attn.sfc_w", block.mixing.height_fc, as_convolution=True)
            state.put(f"{key}.attn.mlp_c", block.mixing.channel_fc)
            state.put(f"{key}.attn.reweight.fc1", block.mixing.reweight.hidden_dense)
            state.put(f"{key}.attn.reweight.fc2", block.mixing.reweight.output_dense)
            state.put(f"{key}.attn.proj", block.mixing.projection)
            state.put(f"{key}.norm2", block.mlp_norm)
            state.put(f"{key}.mlp.fc1", block.mlp.hidden_dense)
            state.put(f"{key}.mlp.fc2", block.mlp.output_dense)
    state.put("norm", model.get_layer("final_norm"))
    state.put("head", model.get_layer("classification"))
    return state


# In the last but one, stages of 9 x 10, 5 x 5, 3 x 3 and 2 x 2 pixels.
@pytest.mark.parametrize(
    ("shape", "step"),
    [((64, 64, 3), 4), ((32, 48, 1), 4), ((18, 20, 3), 2), ((8, 11, 3), 1)],
)
def test_equals_pytorch(rng, randomize, shape, step):
    torch = pytest.importorskip("torch")
    model = randomize(
        models.create("cyclemlp_b1", input_shape=shape, num_classes=5, patch_size=step, **OPTIONS)
    )
    reference = torch_cyclemlp(torch, step=step, channels=shape[2])
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    expected = torch_state.logits(torch, reference, torch_weights(torch, model), pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


# Height and width of every stage, worked out by hand; 224 px are the published ones.
@pytest.mark.parametrize(
    ("size", "step", "stages"),
    [
        (224, 4, [56, 28, 14, 7]),
        (32, 4, [8, 4, 2, 1]),
        (32, 2, [16, 8, 4, 2]),
        (32, 1, [32, 16, 8, 4]),
        (36, 4, [9, 5, 3, 2]),
        (8, 1, [8, 4, 2, 1]),
    ],
)
def test_resolutions(size, step, stages):
    model = models.create(
        "cyclemlp_b1", input_shape=(size, size, 3), num_classes=5, patch_size=step, **OPTIONS
    )
    for stage, (pixels, width) in enumerate(zip(stages, WIDTHS, strict=True)):
        output = model.get_layer(f"stage_{stage}_block_0").output
        assert output.shape == (None, pixels, pixels, width)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((16, 16, 3), {}, "patch_size=4 reduces 16 pixels to 4, .*use 2 or less"),
        ((8, 32, 3), {}, "patch_size=4 reduces 8 pixels to 2, .*use 1 or less"),
        ((7, 7, 3), {"patch_size": 1}, "image_size=7: cyclemlp_b1 .* at least 8 pixels"),
        ((32, 32, 3), {"patch_size": 3}, "patch_size=3: image size 32 is not divisible by it"),
        ((32, 32, 3), {"patch_size": 0}, "patch_size=0"),
        ((32, 32, 3), {"depths": ()}, "depths=: must be one positive number for each stage"),
        ((32, 32, 3), {"depths": (1, 2)}, "widths=64,128,320,512: must be one positive number"),
        ((32, 32, 3), {"mlp_ratios": (4, 4, 4, 0)}, "mlp_ratios=4,4,4,0: must be"),
        ((32, 32, 3), {"width": 64}, "`width` does not apply to cyclemlp_b1"),
        ((32, 32, 3), {"gelu": "fast"}, "gelu=fast"),
        ((32, 32, 3), {"layer_norm_epsilon": 0.0}, "layer_norm_epsilon=0.0"),
    ],
)
def test_bad_input_gets_a_sentence(shape, options, message):
    with pytest.raises(InputError, match=message):
        models.create("cyclemlp_b1", input_shape=shape, num_classes=5, **options)


def test_stochastic_depth_ramps_over_all_stages():
    model = models.create(
        "cyclemlp_b1", input_shape=(32, 32, 3), num_classes=5, stochastic_depth=0.5, **OPTIONS
    )
    rates = [layer.stochastic_depth for layer in model.layers if "_block_" in layer.name]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_initialisation():
    options = {**OPTIONS, "widths": (64, 64, 64, 64)}
    model = models.create("cyclemlp_b1", input_shape=(32, 32, 3), num_classes=200, **options)
    for name, fan_in in (("stem", 7 * 7 * 3), ("stage_1_downsample", 3 * 3 * 64)):
        kernel = model.get_layer(name).kernel.numpy()
        # Uniform within 1 / sqrt(fan_in), as PyTorch's convolutions.
        assert np.abs(kernel).max() <= 1 / np.sqrt(fan_in)
        assert kernel.std() == pytest.approx(1 / np.sqrt(3 * fan_in), rel=0.03)
    block = model.get_layer("stage_2_block_0")
    for layer in (model.get_layer("classification"), block.mlp.hidden_dense):
        # Cutting at two standard deviations leaves 0.88 of 0.02.
        assert layer.kernel.numpy().std() == pytest.approx(0.0176, rel=0.03)
