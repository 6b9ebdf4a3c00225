"""Every layout against PyTorch: a file of random weights, and the outputs of both."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.runs.trained import load_trained
from std_keras.weights import LAYOUTS, ConvertOptions, convert_weights, load_weights
from std_keras.weights.layouts import choose_layout
from tests.oracles import import_timm

HALF = (0.5, 0.5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100 = ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))


@pytest.fixture
def check(torch, tmp_path):
    """Converts a module's weights and compares the outputs."""
    from tests.weights import torch_models

    def run(
        module, *, model, normalization, size=16, state=None, layout=None, content=None, **more
    ):
        torch_models.randomize(module)
        state = (state or (lambda s: s))(module.state_dict())
        path = tmp_path / "weights.pth"
        # Wrapped ones in the old format, so that both are met.
        content = content(state) if content else state
        torch.save(content, path, _use_new_zipfile_serialization=content is state)
        # Families have options of their own, such as `head_dim`, which are no attributes here.
        fields = {field.name for field in dataclasses.fields(ConvertOptions)}
        own = {name: more.pop(name) for name in list(more) if name in fields}
        output = tmp_path / "run"
        done = convert_weights(
            path, output=output, options=ConvertOptions(model=model, options=more, **own)
        )
        assert done.report.complete
        if layout:
            assert done.layout.name == layout
        converted = load_trained(output)
        assert converted.input_shape == (None, size, size, 3)
        rng = np.random.default_rng(5)
        pixels = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
        mean, std = (np.asarray(v, np.float32) for v in normalization)
        inputs = ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
        with torch.no_grad():
            expected = module(torch.tensor(np.ascontiguousarray(inputs))).numpy()
        assert expected.std() > 0.04
        np.testing.assert_allclose(converted(pixels), expected, atol=1e-4)
        return converted, done

    return run


MIXER = {"num_classes": 5, "img_size": 16, "patch_size": 4, "num_blocks": 2, "embed_dim": 12}


def test_timm_mixer(check):
    module = import_timm().mlp_mixer.MlpMixer(**MIXER)
    options = {"patch_size": 4, "width": 12, "depth": 2}
    check(module, model="mixer_b16", normalization=HALF, layout="timm", **options)


def test_another_normalisation_can_be_given(check):
    module = import_timm().mlp_mixer.MlpMixer(**MIXER)
    options = {"patch_size": 4, "width": 12, "depth": 2, "mean": (0.0,), "std": (1.0,)}
    check(module, model="mixer_b16", normalization=(0.0, 1.0), **options)


def facebook(state):
    renamed = {}
    for name, value in state.items():
        for new, old in (
            ("stem.", "patch_embed."),
            ("linear_tokens.", "attn."),
            ("mlp_channels.", "mlp."),
            (".ls", ".gamma_"),
        ):
            name = name.replace(new, old)
        renamed[name] = value.reshape(-1) if name.endswith((".alpha", ".beta")) else value
    return renamed


@pytest.mark.parametrize(("layout", "state"), [("timm", None), ("facebook", facebook)])
def test_resmlp(check, layout, state):
    timm = import_timm()
    module = timm.mlp_mixer.MlpMixer(
        **MIXER, mlp_ratio=4, block_layer=timm.mlp_mixer.ResBlock, norm_layer=timm.mlp_mixer.Affine
    )
    check(
        module,
        model="resmlp_s12",
        normalization=IMAGENET,
        layout=layout,
        state=state,
        patch_size=4,
        width=12,
        depth=2,
    )


def test_gmlp(check):
    timm = import_timm()
    module = timm.mlp_mixer.MlpMixer(
        **MIXER,
        mlp_ratio=6,
        block_layer=timm.mlp_mixer.SpatialGatingBlock,
        mlp_layer=timm.mlp_mixer.GatedMlp,
    )
    check(module, model="gmlp_s16", normalization=HALF, patch_size=4, width=12, depth=2)


@pytest.mark.parametrize("model", ["deit_s16", "deit_s16_distilled"])
def test_deit(check, model):
    timm = import_timm()
    distilled = model.endswith("distilled")
    reference = timm.vision_transformer.VisionTransformer
    if distilled:
        reference = timm.deit.VisionTransformerDistilled
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 3}
    converted, _ = check(
        reference(**options, num_classes=5),
        model=model,
        normalization=IMAGENET,
        patch_size=4,
        width=12,
        depth=2,
        head_dim=4,
    )
    assert len(models.head_names(converted)) == (2 if distilled else 1)


def microsoft(state):
    renamed = {}
    for name, value in state.items():
        for stage in (1, 2, 3):
            name = name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        renamed[name.replace("head.fc", "head")] = value
        if name.endswith("relative_position_bias_table"):
            renamed[name.replace("bias_table", "index")] = value.new_zeros(4, 4).long()
    return renamed


@pytest.mark.parametrize(("layout", "state"), [("timm", None), ("microsoft", microsoft)])
def test_swin(check, layout, state):
    module = import_timm().swin_transformer.SwinTransformer(
        img_size=32,
        patch_size=2,
        embed_dim=8,
        depths=(2, 2, 2, 2),
        num_heads=(2, 4, 8, 16),
        window_size=2,
        num_classes=5,
    )
    check(
        module,
        model="swin_t",
        normalization=IMAGENET,
        layout=layout,
        state=state,
        size=32,
        image_size=32,
        patch_size=2,
        width=8,
        depth=8,
        head_dim=4,
        window_size=2,
    )


def test_regnety(check):
    regnet = import_timm().regnet
    config = regnet.RegNetCfg(depth=8, w0=8, wa=10.0, wm=2.0, group_size=8, se_ratio=0.25)
    check(
        regnet.RegNet(config, num_classes=5),
        model="regnety_4gf",
        normalization=IMAGENET,
        size=32,
        image_size=32,
        depth=8,
        width=8,
        width_slope=10.0,
        width_multiplier=2.0,
        group_width=8,
    )


def test_cyclemlp(check, torch):
    from tests.weights import torch_models

    module = torch_models.CycleNet((1, 2, 1, 1), (8, 8, 12, 16), 2, 5)
    check(
        module,
        model="cyclemlp_b1",
        normalization=IMAGENET,
        size=32,
        image_size=32,
        depths=(1, 2, 1, 1),
        widths=(8, 8, 12, 16),
        mlp_ratios=(2, 2, 2, 2),
    )


@pytest.mark.parametrize("change", ["phase", "axis", "longer steps"])
def test_cyclemlp_with_other_offsets_is_refused(check, torch, change):
    from tests.weights import torch_models

    module = torch_models.CycleNet((1, 1), (8, 12), 2, 5)
    offset = module.network[0][0].attn.sfc_h.offset
    pairs = offset.reshape(-1, 2)
    if change == "phase":
        offset.copy_(pairs.roll(1, 0).reshape(offset.shape))
    elif change == "axis":
        offset.copy_(pairs.flip(1).reshape(offset.shape))
    else:
        offset.mul_(2)
    with pytest.raises(InputError, match=r"network\.0\.0\.attn\.sfc_h\.offset reads the channels"):
        check(
            module,
            model="cyclemlp_b1",
            normalization=IMAGENET,
            size=32,
            image_size=32,
            depths=(1, 1),
            widths=(8, 12),
            mlp_ratios=(2, 2),
        )


@pytest.mark.parametrize(
    ("code", "num_classes", "normalization"),
    [("chenyaofo", 10, CIFAR10), ("chenyaofo", 100, CIFAR100), ("akamaster", 10, IMAGENET)],
)
def test_cifar_resnets(check, torch, code, num_classes, normalization):
    from tests.weights import torch_models

    module = torch_models.CifarResNet(14, num_classes, code)
    converted, done = check(
        module,
        model="cifar_resnet20",
        normalization=normalization,
        size=32,
        layout=code,
        depth=14,
        content=lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    )
    assert all(name.endswith("num_batches_tracked") for name in done.report.unneeded)
    projections = [layer.name for layer in converted.layers if "shortcut_norm" in layer.name]
    assert len(projections) == (2 if code == "chenyaofo" else 0)


AIRBENCH = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def test_airbench(check, torch):
    from tests.weights import torch_models

    _, done = check(
        torch_models.airbench((64, 256, 256), 10),
        model="airbench94",
        normalization=AIRBENCH,
        size=32,
        layout="airbench",
    )
    assert len(done.report.unneeded) == 12


REPDISTILLER = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


def repdistiller(state):
    """What its training script saves."""
    return {"epoch": 240, "model": state, "best_acc": 75.6}


def test_wide_resnets_of_repdistiller(check, torch):
    from tests.weights import torch_models

    _, done = check(
        torch_models.WideResNet(16, 2, 100),
        model="wrn_16_2",
        normalization=REPDISTILLER,
        size=32,
        layout="repdistiller",
        content=repdistiller,
    )
    assert all(name.endswith("num_batches_tracked") for name in done.report.unneeded)


@pytest.mark.parametrize(
    ("model", "more"), [("resnet8x4", {}), ("cifar_resnet20", {"depth": 8, "layout": None})]
)
def test_resnets_of_repdistiller(check, torch, model, more):
    from tests.weights import torch_models

    widths = (32, 64, 128, 256) if model == "resnet8x4" else (16, 16, 32, 64)
    check(
        torch_models.CifarResNet(8, 100, "chenyaofo", widths),
        model=model,
        # Their names are chenyaofo's, which is tried first for the narrow ones.
        normalization=REPDISTILLER if model == "resnet8x4" else CIFAR100,
        size=32,
        content=repdistiller,
        **{"layout": "repdistiller", **more},
    )


def test_a_cifar_resnet_of_other_data_needs_its_normalisation(check, torch):
    from tests.weights import torch_models

    module = torch_models.CifarResNet(8, 7, "chenyaofo")
    options = {"model": "cifar_resnet20", "depth": 8, "size": 32, "normalization": HALF}
    with pytest.raises(InputError, match="`mean` is missing"):
        check(module, **options)
    check(module, **options, mean=(0.5,), std=(0.5, 0.5, 0.5))


STD = {"image": 16, "patch": 4, "width": 12, "depth": 5, "num_classes": 5}
STD_OPTIONS = {"model": "mixer_s16", "patch_size": 4, "width": 12, "depth": 5}


@pytest.mark.parametrize("intermediate", [False, True])
@pytest.mark.parametrize("told", ["by the script", "by the flag"])
def test_std_students(check, torch, intermediate, told):
    from tests.weights import torch_models

    module = torch_models.StdMixer(**STD, intermediate=intermediate)
    script = argparse.Namespace(distill_intermediate=intermediate)
    more = {"content": lambda state: {"model": state, "args": script, "epoch": 3}}
    if told == "by the flag":
        more = {"site": "both" if intermediate else "last"}
    converted, done = check(
        module, **STD_OPTIONS, normalization=IMAGENET, layout="std_pytorch", **more
    )
    assert models.head_names(converted) == ("classification", "distillation_0_last")
    config = done.run.read_config()
    assert config.distillation.propagate_tokens is intermediate
    unused_blocks = {name.split(".")[1] for name in done.report.unneeded}
    assert unused_blocks == ({"0", "1", "2"} if intermediate else {"0", "1", "2", "3"})
    assert ("does not say" in " ".join(done.notes)) is (told == "by the flag")


def test_std_with_several_teachers_is_refused_and_its_backbone_offered(check, torch):
    from tests.weights import torch_models

    two = torch_models.StdMixer(**STD, teachers=2)
    with pytest.raises(InputError, match=r"2 teachers share one token update.*backbone"):
        check(two, **STD_OPTIONS, normalization=IMAGENET)
    backbone = torch_models.StdMixer(**STD, teachers=0)
    check(backbone, **STD_OPTIONS, normalization=IMAGENET, layout="std_pytorch_backbone")


def test_the_backbone_of_two_teachers(torch, tmp_path):
    from tests.weights import torch_models

    two = torch_models.randomize(torch_models.StdMixer(**STD, teachers=2))
    options = ConvertOptions(
        model="mixer_s16",
        layout="std_pytorch_backbone",
        options={"patch_size": 4, "width": 12, "depth": 5},
    )
    torch.save(two.state_dict(), tmp_path / "two.pth")
    convert_weights(tmp_path / "two.pth", output=tmp_path / "run", options=options)
    plain = torch_models.StdMixer(**STD, teachers=0).eval()
    plain.load_state_dict(two.state_dict(), strict=False)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3))
    inputs = ((pixels / 255 - IMAGENET[0]) / IMAGENET[1]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = plain(torch.tensor(inputs, dtype=torch.float32)).numpy()
    logits = load_trained(tmp_path / "run")(pixels)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def released_mixer(rng, *, patch=4, patches=16, width=12, hidden=6, depth=2, classes=5):
    """Random arrays under the names of the authors' files, in Flax's order of axes."""
    shapes = {
        "stem/kernel": (patch, patch, 3, width),
        "stem/bias": (width,),
        "pre_head_layer_norm/scale": (width,),
        "pre_head_layer_norm/bias": (width,),
        "head/kernel": (width, classes),
        "head/bias": (classes,),
    }
    for i in range(depth):
        block = f"MixerBlock_{i}"
        for norm in ("LayerNorm_0", "LayerNorm_1"):
            shapes |= {f"{block}/{norm}/{name}": (width,) for name in ("scale", "bias")}
        for part, size, inner in (("token", patches, hidden), ("channel", width, 4 * width)):
            name = f"{block}/{part}_mixing"
            shapes |= {f"{name}/Dense_0/kernel": (size, inner), f"{name}/Dense_0/bias": (inner,)}
            shapes |= {f"{name}/Dense_1/kernel": (inner, size), f"{name}/Dense_1/bias": (size,)}
    return {
        name: (1 if name.endswith("scale") else 0)
        + rng.normal(size=shape).astype("float32") / max(np.prod(shape[:-1]), 4) ** 0.5
        for name, shape in shapes.items()
    }


def mixer_by_hand(arrays, pixels, *, patch=4, depth=2):
    """The published network in float64 NumPy, with JAX's GELU and Flax's epsilon."""

    def dense(x, name):
        return x @ arrays[f"{name}/kernel"].astype("float64") + arrays[f"{name}/bias"]

    def mlp(x, name):
        x = dense(x, f"{name}/Dense_0")
        x = x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
        return dense(x, f"{name}/Dense_1")

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * arrays[f"{name}/scale"] + arrays[f"{name}/bias"]

    x = pixels / 127.5 - 1.0
    batch, side, _, channels = x.shape
    grid = side // patch
    x = x.reshape(batch, grid, patch, grid, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    stem = arrays["stem/kernel"].reshape(patch * patch * channels, -1)
    x = x.reshape(batch, grid * grid, -1) @ stem + arrays["stem/bias"]
    for i in range(depth):
        block = f"MixerBlock_{i}"
        tokens = norm(x, f"{block}/LayerNorm_0").transpose(0, 2, 1)
        x = x + mlp(tokens, f"{block}/token_mixing").transpose(0, 2, 1)
        x = x + mlp(norm(x, f"{block}/LayerNorm_1"), f"{block}/channel_mixing")
    return dense(norm(x, "pre_head_layer_norm").mean(1), "head")


def test_released_mixer(tmp_path):
    rng = np.random.default_rng(2)
    arrays = released_mixer(rng)
    np.savez(tmp_path / "mixer.npz", **arrays)
    options = ConvertOptions(
        model="mixer_b16", options={"patch_size": 4, "width": 12, "depth": 2, "token_mlp_dim": 6}
    )
    done = convert_weights(tmp_path / "mixer.npz", output=tmp_path / "run", options=options)
    assert done.layout.name == "google"
    assert done.report.complete
    config = done.run.read_config()
    assert (config.model.gelu, config.model.layer_norm_epsilon) == ("tanh", 1e-6)
    pixels = rng.integers(0, 256, (3, 16, 16, 3))
    expected = mixer_by_hand(arrays, pixels)
    assert expected.std() > 0.05
    converted = load_trained(tmp_path / "run")
    np.testing.assert_allclose(converted(pixels), expected, atol=1e-5)
    # The two forms of the GELU are close; this test tells them apart.
    exact = dataclasses.replace(options, options={**options.options, "gelu": "exact"})
    convert_weights(tmp_path / "mixer.npz", output=tmp_path / "exact", options=exact)
    assert np.abs(load_trained(tmp_path / "exact")(pixels) - expected).max() > 5e-5


def test_released_shapes_of_the_published_mixer():
    """B/16 as it was published, one block of it, without numbers."""
    shapes = {"patch": 16, "patches": 196, "width": 768, "hidden": 384}
    arrays = released_mixer(np.random.default_rng(0), **shapes, depth=1, classes=1000)
    assert arrays["stem/kernel"].shape == (16, 16, 3, 768)
    assert arrays["MixerBlock_0/token_mixing/Dense_0/kernel"].shape == (196, 384)
    assert arrays["MixerBlock_0/channel_mixing/Dense_1/kernel"].shape == (3072, 768)
    model = models.create("mixer_b16", input_shape=(224, 224, 3), num_classes=1000, depth=1)
    layout = choose_layout("auto", model="mixer_b16", tensors=arrays, file="x")
    assert load_weights(model, arrays, layout=layout, assign=False).complete


@pytest.mark.parametrize("name", models.names())
def test_every_named_model_has_a_layout(name):
    assert any(layout.applies_to(name) for layout in LAYOUTS)


def test_layouts_have_their_own_names():
    pairs = [(family, layout.name) for layout in LAYOUTS for family in layout.families]
    assert len(set(pairs)) == len(pairs)


def test_a_file_of_another_family_is_named():
    tensors = {"layer1.0.conv1.weight": 0, "conv1.weight": 0, "fc.bias": 0}
    with pytest.raises(InputError, match=r"none of the layouts for mixer_s16.*chenyaofo"):
        choose_layout("auto", model="mixer_s16", tensors=tensors, file="x.pth")
    with pytest.raises(InputError, match=r"it begins with a, b, c"):
        choose_layout("auto", model="mixer_s16", tensors=dict.fromkeys("abcd"), file="x.pth")
    with pytest.raises(InputError, match=r"layout=timm does not apply to cifar_resnet20"):
        choose_layout("timm", model="cifar_resnet20", tensors=tensors, file="x.pth")
    with pytest.raises(InputError, match=r"x\.pth has no linear\.bias"):
        choose_layout("akamaster", model="cifar_resnet20", tensors=tensors, file="x.pth")
