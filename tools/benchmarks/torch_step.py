"""The training step of the train benchmark in plain PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from std_keras.config import TrainConfig
from std_keras.errors import InputError

_TESTS = Path(__file__).resolve().parent.parent.parent / "tests" / "weights"


def steps(
    config: TrainConfig, facts: dict[str, Any], *, compiled: bool, with_teacher: bool
) -> dict[str, Callable[[], None]]:
    """Functions that take one step, by name: eager, compiled, and both in bfloat16 autocast if so.

    Hard distillation of one CIFAR ResNet into the token set of the last block, with AdamW; or plain
    training of the Mixer.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("--against=torch needs torch; see requirements-dev.txt") from error
    sys.path.insert(0, str(_TESTS))
    import torch_models

    _check(config)
    distils = config.distillation != "none"
    model = facts["model"]
    height, width = model.input_shape[1:3]
    features = model.get_layer("block_0").output.shape
    patch = int(height * width / features[1]) ** 0.5
    torch.manual_seed(0)
    depth = sum(layer.name.startswith("block_") for layer in model.layers)

    def new_student() -> Any:
        return torch_models.StdMixer(
            image=height,
            patch=int(patch),
            width=int(features[2]),
            depth=depth,
            num_classes=facts["num_classes"],
            teachers=int(distils),
        )

    images = torch.tensor(facts["images"]).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1
    targets = torch.tensor(facts["targets"])
    teacher = None
    if distils and with_teacher:
        teacher = torch_models.CifarResNet(
            facts["teacher_depths"][0], facts["num_classes"], "chenyaofo"
        ).eval()
    labels = targets.argmax(1)

    def make(kind: str, autocast: bool) -> Callable[[], None]:
        student = _with_linear_layers(new_student())
        optimizer = torch.optim.AdamW(student.parameters(), 1e-4, weight_decay=0.05)
        heads = torch.compile(student.heads) if kind == "compile" else student.heads
        asked = torch.compile(teacher) if kind == "compile" and teacher is not None else teacher
        cross_entropy = torch.nn.functional.cross_entropy

        def step() -> None:
            followed = labels
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                if asked is not None:
                    with torch.no_grad():
                        followed = asked(images).argmax(1)
                logits, distilled = heads(images)
                loss = cross_entropy(logits.float(), targets)
                if distilled is not None:
                    follow = cross_entropy(distilled.float(), followed)
                    loss = (1 - config.alpha) * loss + config.alpha * follow
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    kinds = ("eager", "compile") if compiled else ("eager",)
    return {
        f"torch {kind}{' bfloat16' if autocast else ''}": make(kind, autocast)
        for autocast in ((False, True) if config.mixed_precision else (False,))
        for kind in kinds
    }


def _with_linear_layers(student: Any) -> Any:
    """Token mixing as linear layers on the transposed features.

    The reproduction has convolutions of size 1 there, which are far slower on a CPU.
    """
    import torch

    class AlongRows(torch.nn.Module):
        def __init__(self, mix: Any) -> None:
            super().__init__()
            self.dense1, self.dense2 = (
                torch.nn.Linear(conv.in_channels, conv.out_channels)
                for conv in (mix.dense1, mix.dense2)
            )

        def forward(self, x: Any) -> Any:
            hidden = torch.nn.functional.gelu(self.dense1(x.transpose(1, 2)))
            return self.dense2(hidden).transpose(1, 2)

    for module in list(student.modules()):
        for name, child in list(module.named_children()):
            if isinstance(getattr(child, "dense1", None), torch.nn.Conv1d):
                setattr(module, name, AlongRows(child))
    return student


def _check(config: TrainConfig) -> None:
    """Refuses what the PyTorch version does not do."""
    if not config.model.startswith("mixer_"):
        raise InputError(f"--model={config.model}: the PyTorch step is written for Mixers")
    if config.optimizer != "adamw":
        raise InputError(f"--optimizer={config.optimizer}: the PyTorch step has AdamW alone")
    if config.accumulation_steps != 1:
        raise InputError("--accumulation_steps: the PyTorch step takes the batch as a whole")
    if config.objective != "standard":
        raise InputError(f"--objective={config.objective}: the PyTorch step has the standard one")
    if config.distillation == "none":
        return
    if config.distillation != "hard" or config.tokens != "both" or len(config.teacher) != 1:
        raise InputError(
            "--against=torch compares hard distillation from one teacher into both tokens; give "
            "--distillation=hard, --tokens=both and one --teacher"
        )
    if "site=" in config.teacher[0] and "site=last" not in config.teacher[0]:
        raise InputError(f"--teacher={config.teacher[0]}: the PyTorch step has the site last alone")
