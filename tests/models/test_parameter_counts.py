"""Golden trainable parameter counts.

The Mixer's are those of its published configurations (Tolstikhin et al. 2021, Table 1), the CIFAR
ResNets' those of chenyaofo's pytorch-cifar-models, ResMLP's, gMLP's and CycleMLP's those of timm
and of the authors' code, the students' those of Li et al. 2022 (22.2 M, 122.6 M and 30.1 M).
"""

from __future__ import annotations

import re

import keras
import pytest

from std_keras import models

# 224 px, 1000 classes.
MIXERS = {
    "mixer_s32": 19_104_624,
    "mixer_s16": 18_528_264,
    "mixer_b32": 60_293_428,
    "mixer_b16": 59_880_472,
    "mixer_l32": 206_939_264,
    "mixer_l16": 208_196_168,
    "mixer_h14": 432_350_952,
}
MIXERS_WITHOUT_HEAD = {
    "mixer_s32": 18_591_624,
    "mixer_s16": 18_015_264,
    "mixer_b32": 59_524_428,
    "mixer_b16": 59_111_472,
    "mixer_l32": 205_914_264,
    "mixer_l16": 207_171_168,
    "mixer_h14": 431_069_952,
}
RESMLPS = {
    "resmlp_s12": 15_350_872,
    "resmlp_s24": 30_020_680,
    "resmlp_s36": 44_690_488,
    "resmlp_b24": 115_736_776,
    "resmlp_b24_8": 129_138_280,
}
GMLPS = {"gmlp_ti16": 5_867_328, "gmlp_s16": 19_422_656, "gmlp_b16": 73_075_392}
CYCLEMLPS = {
    "cyclemlp_b1": 15_155_400,
    "cyclemlp_b2": 26_802_504,
    "cyclemlp_b3": 38_385_720,
    "cyclemlp_b4": 51_796_552,
    "cyclemlp_b5": 75_747_280,
}
STUDENTS = {**MIXERS, **RESMLPS, **GMLPS, **CYCLEMLPS}
# 32 px; 10 and 100 classes.
CIFAR_RESNETS = {
    "cifar_resnet20": (272_474, 278_324),
    "cifar_resnet32": (466_906, 472_756),
    "cifar_resnet44": (661_338, 667_188),
    "cifar_resnet56": (855_770, 861_620),
    "cifar_resnet110": (1_730_714, 1_736_564),
}
# 32 px; 10 and 100 classes. The thousands of the literature's tables (Tian et al. 2020).
CIFAR_TEACHERS = {
    "resnet8x4": (1_210_410, 1_233_540),
    "resnet32x4": (7_410_730, 7_433_860),
    "wrn_16_2": (691_674, 703_284),
    "wrn_40_2": (2_243_546, 2_255_156),
    "wrn_16_4": (2_748_890, 2_772_020),
}
AIRBENCHES = {
    "airbench94": (1_971_352, 1_994_392),
    "airbench95": (4_604_440, 4_639_000),
    "airbench96": (12_717_464, 12_763_544),
}
# 224 px, 1000 classes; timm's deit_*_patch16_224, deit_*_distilled_*, swin_*_window7_224 and
# regnety_040, regnety_080 and regnety_160.
TEACHERS = {
    "deit_ti16": 5_717_416,
    "deit_ti16_distilled": 5_910_800,
    "deit_s16": 22_050_664,
    "deit_s16_distilled": 22_436_432,
    "deit_b16": 86_567_656,
    "deit_b16_distilled": 87_338_192,
    "swin_t": 28_288_354,
    "swin_s": 49_606_258,
    "swin_b": 87_768_224,
    "regnety_4gf": 20_646_656,
    "regnety_8gf": 39_180_068,
    "regnety_16gf": 83_590_140,
}


@pytest.fixture(autouse=True)
def without_values():
    """Variables get a shape but no values, so that the largest models cost neither time nor RAM."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    # Keras would catch up on the values with the next variable that is created.
    keras.utils.clear_session()


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def mixer_count(*, image: int, patch: int, width: int, depth: int, classes: int) -> int:
    patches = (image // patch) ** 2
    token = dense(patches, width // 2) + dense(width // 2, patches)
    channel = dense(width, 4 * width) + dense(4 * width, width)
    block = token + channel + 2 * 2 * width
    return dense(3 * patch**2, width) + depth * block + 2 * width + dense(width, classes)


def token_set_count(*, patches: int, width: int, classes: int) -> int:
    spatial = 2 * width + dense(patches + 1, width // 2) + dense(width // 2, 1)
    channel = 2 * (width + 1) + dense(width + 1, 4 * width) + dense(4 * width, 1)
    return spatial + channel + width + patches + dense(width + patches, classes)


def resmlp_count(*, patch: int, width: int, depth: int) -> int:
    patches = (224 // patch) ** 2
    # Two shifts and four scales per channel.
    block = dense(patches, patches) + dense(width, 4 * width) + dense(4 * width, width) + 6 * width
    return dense(3 * patch**2, width) + depth * block + 2 * width + dense(width, 1000)


def gmlp_count(*, width: int) -> int:
    gate = 2 * 3 * width + dense(196, 196)
    block = 2 * width + dense(width, 6 * width) + gate + dense(3 * width, width)
    return dense(3 * 16**2, width) + 30 * block + 2 * width + dense(width, 1000)


def cyclemlp_count(
    *, depths: tuple[int, ...], widths: tuple[int, ...], ratios: tuple[int, ...]
) -> int:
    count, inputs = dense(7 * 7 * 3, widths[0]), widths[0]
    for stage, (depth, width, ratio) in enumerate(zip(depths, widths, ratios, strict=True)):
        if stage > 0:
            count += dense(3 * 3 * inputs, width)
        mixing = 3 * dense(width, width) + width * width
        mixing += dense(width, width // 4) + dense(width // 4, 3 * width)
        mlp = dense(width, ratio * width) + dense(ratio * width, width)
        count += depth * (2 * 2 * width + mixing + mlp)
        inputs = width
    return count + 2 * inputs + dense(inputs, 1000)


def cifar_resnet_count(
    *, depth: int, classes: int, shortcut: str = "projection", stem: int = 16, base: int = 16
) -> int:
    def conv_norm(size: int, inputs: int, outputs: int) -> int:
        return size * size * inputs * outputs + 2 * outputs

    count, inputs = conv_norm(3, 3, stem), stem
    for width in (base, 2 * base, 4 * base):
        count += conv_norm(3, inputs, width) + conv_norm(3, width, width)
        count += ((depth - 2) // 6 - 1) * 2 * conv_norm(3, width, width)
        if width != inputs and shortcut == "projection":
            count += conv_norm(1, inputs, width)
        inputs = width
    return count + dense(4 * base, classes)


def wide_resnet_count(*, depth: int, widening: int, classes: int) -> int:
    count, inputs = 9 * 3 * 16, 16
    for width in (16 * widening, 32 * widening, 64 * widening):
        for block in range((depth - 4) // 6):
            count += 2 * inputs + 9 * inputs * width + 2 * width + 9 * width * width
            if block == 0:
                count += inputs * width
            inputs = width
    return count + 2 * inputs + dense(inputs, classes)


def airbench_count(*, widths: tuple[int, ...], classes: int, convolutions: int = 2) -> int:
    count, inputs = 24, 24  # The stem's kernel does not learn.
    for width in widths:
        count += 9 * inputs * width + (convolutions - 1) * 9 * width**2 + convolutions * width
        inputs = width
    return count + inputs * classes


def transformer_block_count(width: int) -> int:
    attention = dense(width, 3 * width) + dense(width, width)
    return attention + dense(width, 4 * width) + dense(4 * width, width) + 2 * 2 * width


def deit_count(*, width: int, distilled: bool) -> int:
    tokens = 2 if distilled else 1
    rows = tokens * width + (tokens + 196) * width
    heads = tokens * dense(width, 1000)
    return dense(3 * 16**2, width) + rows + 12 * transformer_block_count(width) + 2 * width + heads


def swin_count(*, width: int, depths: tuple[int, ...]) -> int:
    count = dense(3 * 4**2, width) + 2 * width
    for stage, depth in enumerate(depths):
        if stage > 0:
            count += 2 * 4 * width + 4 * width * 2 * width
            width = 2 * width
        # A bias for 13 x 13 relative positions and each head of 32 channels.
        count += depth * (transformer_block_count(width) + 13 * 13 * width // 32)
    return count + 2 * width + dense(width, 1000)


def regnety_count(*, stages: list[tuple[int, int]], group_width: int) -> int:
    count, inputs = 9 * 3 * 32 + 2 * 32, 32
    for depth, width in stages:
        for block in range(depth):
            count += inputs * width + 9 * group_width * width + width * width + 3 * 2 * width
            hidden = round(inputs / 4)
            count += dense(width, hidden) + dense(hidden, width)
            if block == 0:
                count += inputs * width + 2 * width
            inputs = width
    return count + dense(inputs, 1000)


def test_every_registered_name_has_a_golden_count():
    cifar = {*CIFAR_RESNETS, *CIFAR_TEACHERS, *AIRBENCHES}
    assert set(models.names()) == set(STUDENTS) | cifar | set(TEACHERS)


@pytest.mark.parametrize("name", MIXERS)
def test_mixer(name):
    model = models.create(name, input_shape=(224, 224, 3), num_classes=1000)
    assert models.trainable_parameters(model) == MIXERS[name]
    head = sum(weight.shape.num_elements() for weight in model.get_layer("classification").weights)
    assert MIXERS[name] - head == MIXERS_WITHOUT_HEAD[name]


@pytest.mark.parametrize("name", [*RESMLPS, *GMLPS, *CYCLEMLPS])
def test_other_students(name):
    model = models.create(name, input_shape=(224, 224, 3), num_classes=1000)
    assert models.trainable_parameters(model) == STUDENTS[name]
    assert not model.non_trainable_weights


# Table 1 and section 2 of the ResMLP paper.
@pytest.mark.parametrize(
    ("name", "patch", "width", "depth"),
    [
        ("resmlp_s12", 16, 384, 12),
        ("resmlp_s24", 16, 384, 24),
        ("resmlp_s36", 16, 384, 36),
        ("resmlp_b24", 16, 768, 24),
        ("resmlp_b24_8", 8, 768, 24),
    ],
)
def test_resmlp_in_closed_form(name, patch, width, depth):
    assert RESMLPS[name] == resmlp_count(patch=patch, width=width, depth=depth)


@pytest.mark.parametrize(
    ("name", "width"), [("gmlp_ti16", 128), ("gmlp_s16", 256), ("gmlp_b16", 512)]
)
def test_gmlp_in_closed_form(name, width):
    assert GMLPS[name] == gmlp_count(width=width)


@pytest.mark.parametrize(
    ("name", "depths", "widths", "ratios"),
    [
        ("cyclemlp_b1", (2, 2, 4, 2), (64, 128, 320, 512), (4, 4, 4, 4)),
        ("cyclemlp_b2", (2, 3, 10, 3), (64, 128, 320, 512), (4, 4, 4, 4)),
        ("cyclemlp_b3", (3, 4, 18, 3), (64, 128, 320, 512), (8, 8, 4, 4)),
        ("cyclemlp_b4", (3, 8, 27, 3), (64, 128, 320, 512), (8, 8, 4, 4)),
        ("cyclemlp_b5", (3, 4, 24, 3), (96, 192, 384, 768), (4, 4, 4, 4)),
    ],
)
def test_cyclemlp_in_closed_form(name, depths, widths, ratios):
    assert CYCLEMLPS[name] == cyclemlp_count(depths=depths, widths=widths, ratios=ratios)


# The head alone knows how many classes there are: one network of each kind is made with 100, too.
FOR_CIFAR = {**CIFAR_RESNETS, **CIFAR_TEACHERS, **AIRBENCHES}
WITH_100 = ("cifar_resnet20", "resnet8x4", "wrn_16_2", "airbench94")


@pytest.mark.parametrize(
    ("name", "classes"), [*((n, 10) for n in FOR_CIFAR), *((n, 100) for n in WITH_100)]
)
def test_networks_for_cifar(name, classes):
    model = models.create(name, input_shape=(32, 32, 3), num_classes=classes)
    assert models.trainable_parameters(model) == FOR_CIFAR[name][0 if classes == 10 else 1]


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("name", FOR_CIFAR)
def test_networks_for_cifar_in_closed_form(name, classes):
    numbers = [int(n) for n in re.findall(r"\d+", name)]
    if name in CIFAR_RESNETS:
        expected = cifar_resnet_count(depth=numbers[0], classes=classes)
    elif name.startswith("wrn"):
        expected = wide_resnet_count(depth=numbers[0], widening=numbers[1], classes=classes)
    elif name in AIRBENCHES:
        widths, convolutions = {
            "airbench94": ((64, 256, 256), 2),
            "airbench95": ((128, 384, 384), 2),
            "airbench96": ((128, 512, 512), 3),
        }[name]
        expected = airbench_count(widths=widths, classes=classes, convolutions=convolutions)
    else:
        expected = cifar_resnet_count(depth=numbers[0], classes=classes, stem=32, base=64)
    assert FOR_CIFAR[name][0 if classes == 10 else 1] == expected


@pytest.mark.parametrize(("depth", "published"), [(20, 269_722), (56, 853_018), (110, 1_727_962)])
def test_cifar_resnet_with_identity_shortcuts(depth, published):
    """The ResNet paper's Table 6 and akamaster's repository say 0.27 M, 0.85 M and 1.7 M."""
    model = models.create(
        f"cifar_resnet{depth}", input_shape=(32, 32, 3), num_classes=10, shortcut="identity"
    )
    assert models.trainable_parameters(model) == published
    assert published == cifar_resnet_count(depth=depth, classes=10, shortcut="identity")


# Features of the sites: patches and channels; CycleMLP's are those of its last stage.
SITES = {
    "mixer_s16": (196, 512),
    "resmlp_s24": (196, 384),
    "resmlp_b24": (196, 768),
    "cyclemlp_b1": (49, 512),
    "cyclemlp_b2": (49, 512),
    "mixer_b16": (196, 768),
}


@pytest.mark.parametrize(
    ("name", "published", "teacher_sites"),
    [
        ("mixer_s16", 22_163_112, ["intermediate", "last"]),
        ("mixer_s16", 22_163_112, ["last", "intermediate"]),
        ("mixer_s16", 22_163_112, ["last", "last"]),
        ("resmlp_b24", 122_564_712, ["intermediate", "last"]),
        ("cyclemlp_b2", 30_067_794, ["intermediate", "last"]),
    ],
)
def test_published_student(name, published, teacher_sites):
    model = models.create_student(
        name, input_shape=(224, 224, 3), num_classes=1000, teacher_sites=teacher_sites
    )
    assert models.trainable_parameters(model) == published
    patches, width = SITES[name]
    added = token_set_count(patches=patches, width=width, classes=1000)
    assert STUDENTS[name] + 2 * added == published


# By the rule that gives the published sizes.
@pytest.mark.parametrize(
    ("name", "millions"), [("mixer_b16", 66.7), ("resmlp_s24", 32.45), ("cyclemlp_b1", 18.42)]
)
def test_predicted_student(name, millions):
    model = models.create_student(
        name,
        input_shape=(224, 224, 3),
        num_classes=1000,
        teacher_sites=["intermediate", "last"],
    )
    count = models.trainable_parameters(model)
    patches, width = SITES[name]
    assert count == STUDENTS[name] + 2 * token_set_count(patches=patches, width=width, classes=1000)
    assert count / 1e6 == pytest.approx(millions, abs=0.05 if name == "mixer_b16" else 0.005)


@pytest.mark.parametrize("name", ["resmlp_s12", "gmlp_s16", "cyclemlp_b1"])
def test_students_for_cifar_100(name):
    """A patch of 4 leaves 64 patches, or one pixel to CycleMLP's last stage."""
    student = models.create_student(
        name,
        input_shape=(32, 32, 3),
        num_classes=100,
        patch_size=4,
        teacher_sites=["intermediate", "last"],
    )
    width = {"resmlp_s12": 384, "gmlp_s16": 256, "cyclemlp_b1": 512}[name]
    patches = 1 if name == "cyclemlp_b1" else 64
    backbone = models.create(name, input_shape=(32, 32, 3), num_classes=100, patch_size=4)
    added = token_set_count(patches=patches, width=width, classes=100)
    expected = models.trainable_parameters(backbone) + 2 * added
    assert models.trainable_parameters(student) == expected


def test_mixer_s4_for_cifar_100():
    """The PyTorch reproduction's Mixer-S/4, 17.16 M."""
    options = {"input_shape": (32, 32, 3), "num_classes": 100, "patch_size": 4}
    count = mixer_count(image=32, patch=4, width=512, depth=8, classes=100)
    assert models.trainable_parameters(models.create("mixer_s16", **options)) == count
    assert round(count / 1e6, 2) == 17.16
    student = models.create_student("mixer_s16", **options, teacher_sites=["last"])
    added = token_set_count(patches=64, width=512, classes=100)
    assert models.trainable_parameters(student) == count + added


@pytest.mark.parametrize("name", TEACHERS)
def test_teacher(name):
    model = models.create(name, input_shape=(224, 224, 3), num_classes=1000)
    assert models.trainable_parameters(model) == TEACHERS[name]


@pytest.mark.parametrize(("size", "width"), [("ti", 192), ("s", 384), ("b", 768)])
@pytest.mark.parametrize("distilled", [False, True])
def test_deit_in_closed_form(size, width, distilled):
    name = f"deit_{size}16_distilled" if distilled else f"deit_{size}16"
    assert TEACHERS[name] == deit_count(width=width, distilled=distilled)


@pytest.mark.parametrize(
    ("name", "width", "depths"),
    [
        ("swin_t", 96, (2, 2, 6, 2)),
        ("swin_s", 96, (2, 2, 18, 2)),
        ("swin_b", 128, (2, 2, 18, 2)),
    ],
)
def test_swin_in_closed_form(name, width, depths):
    assert TEACHERS[name] == swin_count(width=width, depths=depths)


# As in the authors' released models (pycls' model zoo).
@pytest.mark.parametrize(
    ("name", "stages", "group_width"),
    [
        ("regnety_4gf", [(2, 128), (6, 192), (12, 512), (2, 1088)], 64),
        ("regnety_8gf", [(2, 168), (4, 448), (10, 896), (1, 2016)], 56),
        ("regnety_16gf", [(2, 224), (4, 448), (11, 1232), (1, 3024)], 112),
    ],
)
def test_regnety_in_closed_form(name, stages, group_width):
    assert TEACHERS[name] == regnety_count(stages=stages, group_width=group_width)
