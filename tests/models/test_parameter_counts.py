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


def test_every_registered_name_has_a_golden_count():
    assert set(models.names()) == set(MIXERS) | set(CIFAR_RESNETS)


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
