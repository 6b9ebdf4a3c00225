"""Networks of public code bases, written anew in plain PyTorch with the names of their weights.

Only what timm does not have. The names are those of github.com/chenyaofo/pytorch-cifar-models,
github.com/akamaster/pytorch_resnet_cifar10, github.com/HobbitLong/RepDistiller,
github.com/KellerJordan/cifar10-airbench, github.com/ShoufaChen/CycleMLP and
github.com/devrimcavusoglu/std.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class CifarBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, code: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.padding = (outputs - inputs) // 2
        if (stride > 1 or inputs != outputs) and code == "chenyaofo":
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif self.padding:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """`code`: chenyaofo (projection, head "fc") or akamaster (zero padding, head "linear")."""

    def __init__(
        self,
        depth: int,
        num_classes: int,
        code: str,
        widths: tuple[int, ...] = (16, 16, 32, 64),
    ) -> None:
        super().__init__()
        inputs = widths[0]
        self.conv1 = nn.Conv2d(3, inputs, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for stage, outputs in enumerate(widths[1:]):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(CifarBlock(inputs, outputs, 2 if stage and not i else 1, code))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.head = "fc" if code == "chenyaofo" else "linear"
        setattr(self, self.head, nn.Linear(inputs, num_classes))

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return getattr(self, self.head)(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Any) -> Any:
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (self.convShortcut(active) if hasattr(self, "convShortcut") else x)


class WideStage(nn.Module):
    def __init__(self, count: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = WideBlock(inputs, outputs, stride)
        others = [WideBlock(outputs, outputs, 1) for _ in range(count - 1)]
        self.layer = nn.Sequential(first, *others)

    def forward(self, x: Any) -> Any:
        return self.layer(x)


class WideResNet(nn.Module):
    """As RepDistiller names its parts."""

    def __init__(self, depth: int, widening: int, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        count, widths = (depth - 4) // 6, [16 * widening, 32 * widening, 64 * widening]
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.block1 = WideStage(count, 16, widths[0], 1)
        self.block2 = WideStage(count, widths[0], widths[1], 2)
        self.block3 = WideStage(count, widths[1], widths[2], 2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], num_classes)

    def forward(self, x: Any) -> Any:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class AirbenchNorm(nn.BatchNorm2d):
    """Its scale is one and does not learn; as a buffer it stays one in `randomize`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        del self.weight
        self.register_buffer("weight", torch.ones(channels))


class AirbenchGroup(nn.Module):
    def __init__(self, inputs: int, outputs: int, third: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding="same", bias=False)
        self.norm1 = AirbenchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding="same", bias=False)
        self.norm2 = AirbenchNorm(outputs)
        if third:
            self.conv3 = nn.Conv2d(outputs, outputs, 3, padding="same", bias=False)
            self.norm3 = AirbenchNorm(outputs)

    def forward(self, x: Any) -> Any:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        y = F.gelu(self.norm2(self.conv2(x)))
        return F.gelu(self.norm3(self.conv3(y)) + x) if hasattr(self, "conv3") else y


class Ninth(nn.Module):
    def forward(self, x: Any) -> Any:
        return x / 9


def airbench(
    widths: tuple[int, ...], num_classes: int, channels: int = 3, third: bool = False
) -> nn.Module:
    """The numbers of its parts are their names; `third`: three convolutions in a group."""
    stem = 8 * channels
    return nn.Sequential(
        nn.Conv2d(channels, stem, 2),
        nn.GELU(),
        *(AirbenchGroup(*pair, third) for pair in itertools.pairwise((stem, *widths))),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(widths[-1], num_classes, bias=False),
        Ninth(),
    )


class TwoLinear(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Any) -> Any:
        return self.fc2(F.gelu(self.fc1(x)))


class CycleFC(nn.Module):
    """Moves every channel by what its buffer says, then a convolution of size 1."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        offset = torch.zeros(1, 2 * channels, 1, 1)
        for i in range(channels):
            offset[0, 2 * i + (1 if kind == "sfc_h" else 0)] = (i + 1) % 3 - 1
        self.register_buffer("offset", offset)

    def forward(self, x: Any) -> Any:
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1))
        steps = self.offset.reshape(-1, 2).int().tolist()
        moved = [
            padded[:, i, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
            for i, (down, right) in enumerate(steps)
        ]
        return F.conv2d(torch.stack(moved, 1), self.weight, self.bias)


class CycleMixing(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp_c = nn.Linear(channels, channels, bias=False)
        self.sfc_h = CycleFC(channels, "sfc_h")
        self.sfc_w = CycleFC(channels, "sfc_w")
        self.reweight = TwoLinear(channels, channels // 4, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Any) -> Any:
        first = x.permute(0, 3, 1, 2)
        h = self.sfc_h(first).permute(0, 2, 3, 1)
        w = self.sfc_w(first).permute(0, 2, 3, 1)
        c = self.mlp_c(x)
        a = self.reweight((h + w + c).mean((1, 2))).reshape(len(x), -1, 3).softmax(2)
        a = a[:, None, None]
        return self.proj(h * a[..., 0] + w * a[..., 1] + c * a[..., 2])


class CycleBlock(nn.Module):
    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = CycleMixing(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = TwoLinear(channels, ratio * channels, channels)

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Projection(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, size, stride, padding)

    def forward(self, x: Any) -> Any:
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class CycleNet(nn.Module):
    def __init__(
        self, depths: tuple[int, ...], widths: tuple[int, ...], ratio: int, num_classes: int
    ) -> None:
        super().__init__()
        self.patch_embed = Projection(3, widths[0], 7, 4, 2)
        self.network = nn.ModuleList()
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage:
                self.network.append(Projection(widths[stage - 1], width, 3, 2, 1))
            blocks = [CycleBlock(width, ratio) for _ in range(depth)]
            self.network.append(nn.Sequential(*blocks))
        self.norm = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Any) -> Any:
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        for part in self.network:
            x = part(x)
        return self.head(self.norm(x).mean((1, 2)))


class Mix(nn.Module):
    """Two layers over the last axis, or over the first with convolutions of size 1."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, tokens: bool) -> None:
        super().__init__()
        layer: Any = (lambda a, b: nn.Conv1d(a, b, 1)) if tokens else nn.Linear
        self.dense1 = layer(inputs, hidden)
        self.dense2 = layer(hidden, outputs)

    def forward(self, x: Any) -> Any:
        return self.dense2(F.gelu(self.dense1(x)))


class Residual(nn.Module):
    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Any) -> Any:
        return x + self.fn(self.norm(x))


class StdBlock(nn.Module):
    def __init__(self, width: int, patches: int, teachers: int) -> None:
        super().__init__()
        small, large = width // 2, 4 * width
        self.token_mixer = Residual(width, Mix(patches, small, patches, tokens=True))
        self.channel_mixer = Residual(width, Mix(width, large, width, tokens=False))
        if teachers:
            self.spatial_dist = Mix(patches + teachers, small, 1, tokens=True)
            self.spatial_dist_norm = nn.LayerNorm(width)
            self.channel_dist = Mix(width + teachers, large, 1, tokens=False)
            self.channel_dist_norm = nn.LayerNorm(width + teachers)

    def tokens(self, z: Any, spatial: Any, channel: Any) -> tuple[Any, Any]:
        rows = self.spatial_dist_norm(torch.cat((z, spatial), 1))
        columns = self.channel_dist_norm(torch.cat((z, channel), 2))
        return spatial + self.spatial_dist(rows), channel + self.channel_dist(columns)


class StdMixer(nn.Module):
    """With `teachers` = 0 the reproduction's plain Mixer."""

    def __init__(
        self,
        *,
        image: int,
        patch: int,
        width: int,
        depth: int,
        num_classes: int,
        teachers: int = 1,
        intermediate: bool = False,
    ) -> None:
        super().__init__()
        self.patch, self.intermediate = patch, intermediate
        patches = (image // patch) ** 2
        self.per_patch_fc = nn.Linear(3 * patch**2, width)
        self.mixer_blocks = nn.ModuleList(StdBlock(width, patches, teachers) for _ in range(depth))
        self.ln = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)
        if teachers:
            self.spatial_dist_token = nn.Parameter(torch.zeros(teachers, width))
            self.channel_dist_token = nn.Parameter(torch.zeros(patches, teachers))
            self.classifier_dist = nn.ModuleList(
                nn.Linear(width + patches, num_classes) for _ in range(teachers)
            )

    def forward(self, x: Any) -> Any:
        logits, distilled = self.heads(x)
        return logits if distilled is None else (logits + distilled) / 2

    def heads(self, x: Any) -> tuple[Any, Any]:
        """Logits of the class head, and the mean of the distillation heads, if there are any."""
        batch, channels, side, _ = x.shape
        grid, p = side // self.patch, self.patch
        x = x.reshape(batch, channels, grid, p, grid, p).permute(0, 2, 4, 3, 5, 1)
        z = self.per_patch_fc(x.reshape(batch, grid * grid, p * p * channels))
        tokens = None
        if hasattr(self, "classifier_dist"):
            spatial = self.spatial_dist_token.expand(batch, -1, -1)
            tokens = (spatial, self.channel_dist_token.expand(batch, -1, -1))
        last = len(self.mixer_blocks) - 1
        reads = {last, int(len(self.mixer_blocks) * 2 / 3)} if self.intermediate else {last}
        for i, block in enumerate(self.mixer_blocks):
            z = block.channel_mixer(block.token_mixer(z))
            if tokens is not None and i in reads:
                tokens = block.tokens(z, *tokens)
        logits = self.classifier(self.ln(z).mean(1))
        if tokens is None:
            return logits, None
        rows = torch.cat((tokens[0], tokens[1].permute(0, 2, 1)), 2)
        heads = [head(rows[:, m]) for m, head in enumerate(self.classifier_dist)]
        return logits, torch.stack(heads).mean(0)


def randomize(module: nn.Module) -> nn.Module:
    """Gives every weight and every statistic a random value of a sensible size."""
    generator = torch.Generator().manual_seed(3)
    statistics = [(n, v) for n, v in module.named_buffers() if "running" in n]
    for name, value in [*module.named_parameters(), *statistics]:
        noise = torch.randn(value.shape, generator=generator)
        with torch.no_grad():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith("running_mean"):
                # Not near 1: behind it everything would be below zero, and every ReLU shut.
                value.copy_(0.1 * noise)
            elif value.ndim < 2 and not name.endswith("bias"):
                value.copy_(1 + 0.3 * noise)
            else:
                value.copy_(noise / max(value[0].numel() if value.ndim > 1 else 4, 1) ** 0.5)
    return module.eval()
