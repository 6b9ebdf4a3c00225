"""The training step of the train benchmark in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from std_keras.errors import InputError
from tools.benchmarks.turns import Prepared

# With convolutions: the network as the public reproduction has it; see `with_linear_layers`.
VARIANTS = (
    "eager",
    "compile",
    "convolutions",
    "eager_bfloat16",
    "compile_bfloat16",
    "convolutions_bfloat16",
)

_TESTS = Path(__file__).resolve().parent.parent.parent / "tests" / "weights"


def usual(*, bfloat16: bool) -> list[str]:
    """The variants that are measured if none is asked for: those written for speed."""
    fast = [name for name in VARIANTS if not name.startswith("convolutions")]
    return [name for name in fast if bfloat16 or not name.endswith("bfloat16")]


def prepare(
    *, config: Mapping[str, Any], facts: Mapping[str, Any], teachers: str, variant: str
) -> Prepared:
    """A maker for `turns`: a step with new weights.

    Hard distillation of one CIFAR ResNet into the token set of the last block, with AdamW; or plain
    training of the Mixer.

    Args:
        config: the fields of a `TrainConfig`.
        facts: of our step; see `our_step`.
        teachers: on, cached or off.
        variant: of `VARIANTS`.
    """
    torch = import_torch()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    distils = teachers != "off" and config["distillation"] != "none"
    student = student_of(facts, teachers=int(distils), variant=variant).to(device)
    teacher = None
    if distils and teachers == "on":
        teacher = _teacher(facts).to(device).to(memory_format=torch.channels_last)
    batch = config["batch_size"]
    height, width, channels = facts["image_shape"]
    images = torch.rand(batch, channels, height, width, device=device) * 2 - 1
    targets = torch.rand(batch, facts["num_classes"], device=device).softmax(1)
    step = training_step(
        student,
        teacher,
        images,
        targets,
        alpha=config["alpha"],
        weight_decay=config["weight_decay"],
        compiled=variant.startswith("compile"),
        autocast=variant.endswith("bfloat16"),
    )

    times = config["steps_per_call"]

    def synchronized() -> None:
        for _ in range(times):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Prepared(call=synchronized, device_bytes=device_bytes, times=times)


def training_step(
    student: Any,
    teacher: Any,
    images: Any,
    targets: Any,
    *,
    alpha: float,
    weight_decay: float = 0.05,
    learning_rate: float = 1e-4,
    compiled: bool = False,
    autocast: bool = False,
) -> Callable[[], Any]:
    """A function that takes one step and returns the loss.

    Without a teacher a student with tokens follows the labels' classes, as if they were stored.

    Args:
        student: a `StdMixer`.
        teacher: a network that returns logits, or None.
        images: (B, C, H, W), normalised.
        targets: (B, K) label distributions.
        alpha: weight of the teacher.
        weight_decay: of AdamW.
        learning_rate: of AdamW.
        compiled: whether `torch.compile` compiles both networks.
        autocast: whether they run in bfloat16.
    """
    torch = import_torch()
    optimizer = torch.optim.AdamW(
        student.parameters(), learning_rate, weight_decay=weight_decay, fused=True
    )
    heads = torch.compile(student.heads) if compiled else student.heads
    asked = torch.compile(teacher) if compiled and teacher is not None else teacher
    stored = targets.argmax(1)
    cross_entropy = torch.nn.functional.cross_entropy
    pictures = images.contiguous(memory_format=torch.channels_last) if teacher else None

    def step() -> Any:
        followed = stored
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            if asked is not None:
                with torch.no_grad():
                    followed = asked(pictures).argmax(1)
            logits, distilled = heads(images)
        loss = cross_entropy(logits.float(), targets)
        if distilled is not None:
            follow = cross_entropy(distilled.float(), followed)
            loss = (1 - alpha) * loss + alpha * follow
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def student_of(facts: Mapping[str, Any], *, teachers: int, variant: str) -> Any:
    """The Mixer of our step, with a token set if `teachers` is 1."""
    _, torch_models = import_torch(), import_models()
    height, width, colors = facts["image_shape"]
    if colors != 3:
        raise InputError(
            f"--against=torch: the PyTorch Mixer takes images of 3 colours, not {colors}; name "
            "another --dataset, such as cifar100, which need not be there"
        )
    patches, channels = facts["features"]
    student = torch_models.StdMixer(
        image=height,
        patch=round((height * width / patches) ** 0.5),
        width=channels,
        depth=facts["depth"],
        num_classes=facts["num_classes"],
        teachers=teachers,
    )
    return student if variant.startswith("convolutions") else with_linear_layers(student)


def device_bytes() -> int | None:
    """The most memory that PyTorch held on the GPU; None without one."""
    torch = import_torch()
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def import_torch() -> Any:
    """PyTorch, if it is there."""
    try:
        import torch
    except ImportError as error:
        raise InputError("--against=torch needs torch; see requirements-dev.txt") from error
    # As TensorFlow multiplies float32 on GPUs that can.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return torch


def import_models() -> Any:
    """The networks of the parity tests."""
    from tests.weights import torch_models

    return torch_models


def _teacher(facts: Mapping[str, Any]) -> Any:
    name = facts["teacher_models"][0] if facts["teacher_models"] else "SavedModel"
    if not name.startswith("cifar_resnet"):
        raise InputError(
            f"--teacher: a {name} is not in the PyTorch step, which has CIFAR ResNets alone; use "
            "--teachers=cached"
        )
    depth = int(name.removeprefix("cifar_resnet"))
    return import_models().CifarResNet(depth, facts["num_classes"], "chenyaofo").eval()


def with_linear_layers(student: Any) -> Any:
    """Token mixing as linear layers on the transposed features, with the same weights.

    The reproduction has convolutions of size 1 there, which are slower on a CPU.
    """
    import torch

    class AlongRows(torch.nn.Module):
        def __init__(self, mix: Any) -> None:
            super().__init__()
            self.dense1, self.dense2 = (_linear(conv) for conv in (mix.dense1, mix.dense2))

        def forward(self, x: Any) -> Any:
            hidden = torch.nn.functional.gelu(self.dense1(x.transpose(1, 2)))
            return self.dense2(hidden).transpose(1, 2)

    for module in list(student.modules()):
        for name, child in list(module.named_children()):
            if isinstance(getattr(child, "dense1", None), torch.nn.Conv1d):
                setattr(module, name, AlongRows(child))
    return student


def _linear(convolution: Any) -> Any:
    import torch

    linear = torch.nn.Linear(convolution.in_channels, convolution.out_channels)
    with torch.no_grad():
        linear.weight.copy_(convolution.weight[:, :, 0])
        linear.bias.copy_(convolution.bias)
    return linear


def check_model(config: Mapping[str, Any]) -> None:
    """Refuses a model that the PyTorch version does not have."""
    if not config["model"].startswith("mixer_"):
        _refuse(config, "model", "the PyTorch version is written for Mixers")
    for flag in ("token_mlp_dim", "channel_mlp_dim"):
        if config[flag] is not None:
            _refuse(config, flag, "the PyTorch Mixer has the widths of the paper alone")
    if config["gelu"] == "tanh":
        _refuse(config, "gelu", "the PyTorch Mixer has the exact one alone")
    if config["objective"] != "standard":
        _refuse(config, "objective", "the PyTorch version has the standard one")
    if config["distillation"] == "none":
        return
    if config["tokens"] != "both" or config["token_mlps"] != 1:
        raise InputError("--against=torch needs --tokens=both and --token_mlps=1")
    if len(config["teacher"]) != 1:
        raise InputError(f"--against=torch takes one --teacher, not {len(config['teacher'])}")
    teacher = config["teacher"][0]
    if "site=" in teacher and "site=last" not in teacher:
        raise InputError(f"--teacher={teacher}: the PyTorch version has the site last alone")


def check(config: Mapping[str, Any]) -> None:
    """Refuses a step that the PyTorch version does not take."""
    check_model(config)
    if config["optimizer"] != "adamw":
        _refuse(config, "optimizer", "the PyTorch step has AdamW alone")
    if config["accumulation_steps"] != 1:
        _refuse(config, "accumulation_steps", "the PyTorch step takes the batch as a whole")
    if config["distillation"] == "soft":
        _refuse(config, "distillation", "the PyTorch step follows the teacher's class (hard)")


def _refuse(config: Mapping[str, Any], flag: str, why: str) -> None:
    raise InputError(f"--{flag}={config[flag]}: {why}; leave out --against=torch")


def prepare_inference(
    *, config: Mapping[str, Any], facts: Mapping[str, Any], batch: int, variant: str
) -> Prepared:
    """A maker for `turns`: the model in inference; with tokens the mean of both heads.

    Args:
        config: the fields of a `TrainConfig`.
        facts: of ours; see `our_inference`.
        batch: images in one call.
        variant: of `VARIANTS`.
    """
    torch = import_torch()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    teachers = int(config["distillation"] != "none")
    network = student_of(facts, teachers=teachers, variant=variant).to(device).eval()
    asked = torch.compile(network) if variant.startswith("compile") else network
    height, width, channels = facts["image_shape"]
    images = torch.rand(batch, channels, height, width, device=device) * 2 - 1
    half = variant.endswith("bfloat16")

    def predict() -> Any:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            return asked(images).float().cpu()

    return Prepared(call=predict, device_bytes=device_bytes)
