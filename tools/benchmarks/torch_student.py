"""The student of the export benchmark in PyTorch, and by way of ONNX in ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from std_keras.errors import InputError


def calls(
    folder: Path,
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    classes: int,
    with_onnxruntime: bool,
) -> dict[str, Callable[[], Any]]:
    """Functions that run one image, by name; the ONNX files go to `folder`."""
    try:
        import torch
    except ImportError as error:
        raise InputError("--against=pytorch needs torch; see requirements-dev.txt") from error
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = _student(
        patches=(image_size // patch_size) ** 2,
        patch_size=patch_size,
        width=width,
        depth=depth,
        classes=classes,
    )
    image = torch.randn(1, 3, image_size, image_size)

    def eager() -> None:
        with torch.inference_mode():
            network(image)

    found: dict[str, Callable[[], Any]] = {"pytorch float32": eager}
    if not with_onnxruntime:
        return found
    try:
        import onnx  # noqa: F401
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise InputError("--against=onnxruntime needs onnx and onnxruntime") from error
    paths = {"float32": folder / "student.onnx", "int8": folder / "student_int8.onnx"}
    torch.onnx.export(
        network, (image,), str(paths["float32"]), opset_version=17, dynamo=False, input_names=["x"]
    )
    quantize_dynamic(str(paths["float32"]), str(paths["int8"]), weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, path in paths.items():
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        feed = {"x": image.numpy()}
        found[f"onnxruntime {name}"] = functools.partial(session.run, None, feed)
    return found


def _student(*, patches: int, patch_size: int, width: int, depth: int, classes: int) -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token_norm, self.channel_norm = (nn.LayerNorm(width, 1e-6) for _ in range(2))
            self.token_mlp = _mlp(patches, width // 2, patches)
            self.channel_mlp = _mlp(width, 4 * width, width)

        def forward(self, x: Any) -> Any:
            x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
            return x + self.channel_mlp(self.channel_norm(x))

    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, patch_size, patch_size)
            self.blocks = nn.Sequential(*[Block() for _ in range(depth)])
            self.norm = nn.LayerNorm(width, 1e-6)
            self.classification = nn.Linear(width, classes)
            self.spatial_token = nn.Parameter(torch.zeros(1, 1, width))
            self.channel_token = nn.Parameter(torch.zeros(1, patches, 1))
            self.spatial_norm = nn.LayerNorm(width, 1e-6)
            self.channel_norm = nn.LayerNorm(width + 1, 1e-6)
            self.spatial_mlp = _mlp(patches + 1, width // 2, 1)
            self.channel_mlp = _mlp(width + 1, 4 * width, 1)
            self.distillation = nn.Linear(width + patches, classes)

        def forward(self, image: Any) -> Any:
            z = self.blocks(self.stem(image).flatten(2).transpose(1, 2))
            rows = self.spatial_norm(torch.cat([z, self.spatial_token], 1)).transpose(1, 2)
            spatial = self.spatial_token + self.spatial_mlp(rows).transpose(1, 2)
            columns = self.channel_norm(torch.cat([z, self.channel_token], 2))
            channel = self.channel_token + self.channel_mlp(columns)
            tokens = torch.cat([spatial.flatten(1), channel.flatten(1)], 1)
            return (self.classification(self.norm(z).mean(1)) + self.distillation(tokens)) / 2

    def _mlp(inputs: int, hidden: int, outputs: int) -> Any:
        return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    return Student().eval()
