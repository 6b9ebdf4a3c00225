"""Golden trainable parameter counts.

The Mixer's are those of its published configurations (Tolstikhin et al. 2021, Table 1), the CIFAR
ResNets' those of chenyaofo's pytorch-cifar-models, the student's that of Li et al. 2022 (22.2 M).
"""

from __future__ import annotations

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
# 32 px; 10 and 100 classes.
CIFAR_RESNETS = {
    "cifar_resnet20": (272_474, 278_324),
    "cifar_resnet32": (466_906, 472_756),
    "cifar_resnet44": (661_338, 667_188),
    "cifar_resnet56": (855_770, 861_620),
    "cifar_resnet110": (1_730_714, 1_736_564),
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


def cifar_resnet_count(*, depth: int, classes: int, shortcut: str = "projection") -> int:
    def conv_norm(size: int, inputs: int, outputs: int) -> int:
        return size * size * inputs * outputs + 2 * outputs

    count, inputs = conv_norm(3, 3, 16), 16
    for width in (16, 32, 64):
        count += conv_norm(3, inputs, width) + conv_norm(3, width, width)
        count += ((depth - 2) // 6 - 1) * 2 * conv_norm(3, width, width)
        if width != inputs and shortcut == "projection":
            count += conv_norm(1, inputs, width)
        inputs = width
    return count + dense(64, classes)


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
    assert set(models.names()) == set(MIXERS) | set(CIFAR_RESNETS) | set(TEACHERS)


@pytest.mark.parametrize("name", MIXERS)
def test_mixer(name):
    model = models.create(name, input_shape=(224, 224, 3), num_classes=1000)
    assert models.trainable_parameters(model) == MIXERS[name]
    head = sum(weight.shape.num_elements() for weight in model.get_layer("classification").weights)
    assert MIXERS[name] - head == MIXERS_WITHOUT_HEAD[name]


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("name", CIFAR_RESNETS)
def test_cifar_resnet(name, classes):
    model = models.create(name, input_shape=(32, 32, 3), num_classes=classes)
    golden = CIFAR_RESNETS[name][0 if classes == 10 else 1]
    assert models.trainable_parameters(model) == golden
    depth = int(name.removeprefix("cifar_resnet"))
    assert golden == cifar_resnet_count(depth=depth, classes=classes)


@pytest.mark.parametrize(("depth", "published"), [(20, 269_722), (56, 853_018), (110, 1_727_962)])
def test_cifar_resnet_with_identity_shortcuts(depth, published):
    """The ResNet paper's Table 6 and akamaster's repository say 0.27 M, 0.85 M and 1.7 M."""
    model = models.create(
        f"cifar_resnet{depth}", input_shape=(32, 32, 3), num_classes=10, shortcut="identity"
    )
    assert models.trainable_parameters(model) == published
    assert published == cifar_resnet_count(depth=depth, classes=10, shortcut="identity")


@pytest.mark.parametrize(
    "teacher_sites", [["intermediate", "last"], ["last", "intermediate"], ["last", "last"]]
)
def test_published_student(teacher_sites):
    model = models.create_student(
        "mixer_s16", input_shape=(224, 224, 3), num_classes=1000, teacher_sites=teacher_sites
    )
    assert models.trainable_parameters(model) == 22_163_112
    added = token_set_count(patches=196, width=512, classes=1000)
    assert MIXERS["mixer_s16"] + 2 * added == 22_163_112


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
