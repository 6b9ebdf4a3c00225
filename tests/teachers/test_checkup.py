"""What a check-up finds in teachers whose worth, and whose fault, is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from std_keras.teachers import TeacherSpec
from std_keras.teachers.checkup import CheckUp, Sample, better_order, check
from std_keras.teachers.teacher import INPUT_RANGES, Teacher

CLASSES = 10
NAMES = tuple(f"name {index}" for index in range(CLASSES))


def sample(name, count, seed):
    """Images whose first pixel is 20 times their label, and whose second is their place, of 100."""
    labels = np.random.default_rng(seed).integers(0, CLASSES, count)
    images = np.full((count, 2, 2, 3), 7, np.uint8)
    images[:, 0, 0] = 20 * labels[:, None]
    images[:, 0, 1] = np.arange(count)[:, None] % 100
    return Sample(name, {"images": images}, labels)


HELD_OUT, TRAIN = sample("test", 200, 0), sample("train", 150, 1)


def reading(sharpness=3.0, *, wrong=0.0, order=None, made_for="byte", given=None):
    """A teacher that reads the label from the pixels, and is wrong for a fraction of the images.

    Args:
        sharpness: the logit of its class; all others are 0.
        wrong: the fraction of the labels that it takes for the next one.
        order: its outputs, by class.
        made_for: the range of pixels that it understands.
        given: the range that it is given.
    """
    scale = {"byte": 1.0, "unit": 255.0, "signed": 127.5, "imagenet": 0.229 * 255}[made_for]
    shift = {"byte": 0.0, "unit": 0.0, "signed": 1.0, "imagenet": 0.485 / 0.229}[made_for]

    def network(images):
        pixels, place = tf.unstack((images[:, 0, :2, 0] + shift) * scale, axis=1)
        labels = tf.cast(tf.round(pixels / 20), tf.int64) % CLASSES
        labels += tf.cast(tf.round(place) < round(100 * wrong), tf.int64)
        if order is not None:
            labels = tf.gather(tf.constant(order, tf.int64), labels % CLASSES)
        return sharpness * tf.one_hot(labels % CLASSES, CLASSES)

    return Teacher(
        name="t",
        site="last",
        network=network,
        scale=INPUT_RANGES[given or made_for],
        image_shape=(2, 2, 3),
        probabilities=False,
        compilable=True,
        label_names=None,
    )


def checked(teacher, spec=None, *, hard=False, **options) -> CheckUp:
    return check(
        teacher,
        spec or TeacherSpec("t"),
        held_out=HELD_OUT,
        train=TRAIN,
        label_names=NAMES,
        hard=hard,
        **options,
    )


def entropy(sharpness):
    top = math.exp(sharpness) / (math.exp(sharpness) + CLASSES - 1)
    rest = (1 - top) / (CLASSES - 1)
    return -top * math.log(top) - (CLASSES - 1) * rest * math.log(rest)


def test_a_good_teacher():
    found = checked(reading(), hard=True, baseline=0.5)
    assert found.warnings == ()
    assert (found.top1, found.train_agreement) == (1.0, 1.0)
    assert found.entropy == pytest.approx(entropy(3.0), rel=1e-5)
    assert found.train_entropy == pytest.approx(entropy(3.0), rel=1e-5)
    assert (found.held_out, found.examples, found.train_examples) == ("test", 200, 150)
    assert found.images_per_second > 0
    assert found.top1_by_range is None
    assert found.line().startswith("teacher t: top-1 1.0000 and entropy")


def test_accuracy_goes_by_the_labels():
    assert checked(reading(wrong=0.3)).top1 == pytest.approx(0.7)


@pytest.mark.parametrize("made_for", ["unit", "signed", "imagenet"])
def test_a_wrong_range(made_for):
    teacher = reading(made_for=made_for, given="byte")
    found = checked(teacher, TeacherSpec("t", input="byte"))
    (warning,) = found.warnings
    assert f"input={made_for} fits better" in warning
    assert found.top1_by_range[made_for] == 1.0
    assert found.input == "byte"  # Never applied silently.


def test_a_range_that_nobody_told():
    teacher = reading(made_for="signed", given="byte")
    found = checked(teacher, TeacherSpec("t", input="byte"), range_known=False)
    assert "input=signed fits" in found.warnings[0]
    assert (found.input, found.top1) == ("signed", 1.0)


def test_a_range_that_cannot_be_told():
    blind = dataclasses.replace(reading(), network=lambda x: tf.zeros((len(x), CLASSES)))
    found = checked(blind, TeacherSpec("t", input="byte"), range_known=False)
    assert "cannot be told" in found.warnings[0]


def test_the_right_range_is_left_alone():
    found = checked(reading(made_for="unit"), TeacherSpec("t", input="unit"))
    assert found.warnings == ()


def test_classes_in_another_order():
    order = np.random.default_rng(0).permutation(CLASSES)
    teacher = reading(order=order, wrong=0.1)
    found = checked(teacher)
    (warning,) = found.warnings
    assert "in another order" in warning
    # The output of class k is order[k]: so what stands at place order[k] is name k.
    assert [found.class_order[place] for place in order] == list(NAMES)
    assert found.top1 < 0.5  # As it is; never applied silently.
    # What is proposed, applied as ,labels=FILE does it, mends it.
    places = tuple(found.class_order.index(name) for name in NAMES)
    mended = checked(dataclasses.replace(teacher, order=places))
    assert mended.top1 == pytest.approx(0.9)  # As far as it is right.
    assert mended.class_order is None


def test_two_classes_swapped():
    order = np.arange(CLASSES)
    order[[2, 7]] = 7, 2
    found = checked(reading(order=order))
    assert found.class_order[2] == NAMES[7]
    assert found.class_order[7] == NAMES[2]
    assert found.class_order[0] == NAMES[0]


@pytest.mark.parametrize("seed", range(20))
def test_guesses_have_no_order(seed):
    """256 images of 100 classes can be assigned to any outputs, with a high accuracy on them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(100, 0.05), (2, 256))
    labels = rng.integers(0, 100, (2, 256))
    assert better_order(probabilities[0], labels[0], probabilities[1], labels[1]) is None


def test_classes_without_images_keep_their_place():
    labels = np.repeat(np.arange(5), 20)
    order = np.array([1, 0, 2, 3, 4, *range(5, CLASSES)])
    probabilities = np.eye(CLASSES)[order[labels]] * 0.9 + 0.01
    np.testing.assert_array_equal(better_order(probabilities, labels, probabilities, labels), order)


@pytest.mark.parametrize(("sharpness", "sure"), [(20.0, True), (0.1, False)])
def test_no_better_than_guessing(sharpness, sure):
    constant = sharpness * tf.one_hot([3], CLASSES)
    teacher = dataclasses.replace(
        reading(), network=lambda images: tf.repeat(constant, len(images), axis=0)
    )
    (warning,) = checked(teacher).warnings
    assert "no better than guessing among 10 classes" in warning
    assert ("sure of itself" in warning) is sure


def test_labels_again():
    sharp = reading(sharpness=30.0)
    (warning,) = checked(sharp, hard=True).warnings
    assert "use distillation=soft" in warning
    assert checked(sharp, hard=False).warnings == ()
    assert checked(reading(sharpness=30.0, wrong=0.1), hard=True).warnings == ()


def test_worse_than_the_student():
    (warning,) = checked(reading(wrong=0.3), baseline=0.8).warnings
    assert "below the 0.8000 of the student" in warning
    assert checked(reading(wrong=0.1), baseline=0.8).warnings == ()


def test_the_view_of_a_teacher():
    large = {name: x.repeat(2, axis=1).repeat(2, axis=2) for name, x in HELD_OUT.views.items()}
    parts = [
        dataclasses.replace(one, views={"images": 255 - one.views["images"], "images_4": larger})
        for one, larger in (
            (HELD_OUT, large["images"]),
            (TRAIN, TRAIN.views["images"].repeat(2, axis=1).repeat(2, axis=2)),
        )
    ]
    teacher = dataclasses.replace(reading(), view="images_4", image_shape=(4, 4, 3))
    found = check(
        teacher,
        TeacherSpec("t"),
        held_out=parts[0],
        train=parts[1],
        label_names=NAMES,
        hard=False,
    )
    assert found.top1 == 1.0


def test_one_batch_alone_has_no_speed():
    """The first call of a network builds it; its time says nothing."""
    few = [sample("test", 12, 0), sample("train", 12, 1)]
    found = check(
        reading(), TeacherSpec("t"), held_out=few[0], train=few[1], label_names=NAMES, hard=False
    )
    assert found.images_per_second is None
    assert found.as_dict()["images_per_second"] is None
    assert "images/s" not in found.line() and "nan" not in found.line()


def test_a_teacher_without_answers_is_left_to_training():
    broken = dataclasses.replace(reading(), network=lambda i: tf.fill((len(i), CLASSES), np.nan))
    found = check(
        broken, TeacherSpec("t"), held_out=HELD_OUT, train=TRAIN, label_names=NAMES, hard=False
    )
    assert found.class_order is None


@pytest.mark.parametrize("traceable", [True, False])
def test_a_network_is_traced_if_it_can_be(traceable):
    """In batches of one shape, though 200 and 150 images are no whole number of them."""
    inside, shapes = [], set()

    def network(images):
        inside.append(not tf.executing_eagerly())
        shapes.add(images.shape[0])
        return good.network(images if traceable else tf.constant(images.numpy()))

    good = reading()
    found = checked(dataclasses.replace(good, network=network, model=object()))
    assert found.top1 == found.train_agreement == 1.0
    assert (found.examples, found.train_examples) == (200, 150)
    assert shapes == {16}
    assert inside == [True] if traceable else inside[0] and not any(inside[1:])
