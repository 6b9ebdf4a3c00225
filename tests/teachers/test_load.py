"""Teachers from wherever they are; what cannot be used is refused in one sentence."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers import load, parse
from std_keras.weights.class_names import NUMBERED
from std_keras.weights.run import write_run

DIGITS = tuple("0123456789")


def load_teacher(text, *, image_shape=(8, 8, 1), labels=DIGITS):
    return load(parse(text), image_shape=image_shape, label_names=labels)


def refused(text, **options):
    """The one sentence with which a teacher is refused."""
    with pytest.raises(InputError) as info:
        load_teacher(text, **options)
    message = str(info.value)
    assert "\n" not in message
    assert "teacher=" in message or "teacher.keras" in message or "model.keras" in message
    return message


# Run directories


def test_a_run_directory_needs_no_options(make_run, network, images):
    model = network()
    teacher = load_teacher(f"{make_run(model)},site=both")
    assert (teacher.site, teacher.image_shape) == ("both", (8, 8, 1))
    assert teacher.label_names == DIGITS
    assert not teacher.probabilities
    np.testing.assert_allclose(teacher.logits(images), model(images.astype(np.float32)), rtol=1e-5)


def test_a_student_of_this_project_can_teach_with_the_average_of_its_heads(make_run, images):
    student = models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 1),
        num_classes=10,
        teacher_sites=["last"],
        patch_size=4,
        width=8,
        depth=2,
        stochastic_depth=0.9,
    )
    teacher = load_teacher(str(make_run(student)))
    expected = student(images, training=False)
    for _ in range(3):  # In inference mode nothing is dropped.
        np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-4, atol=1e-6)


def test_batch_statistics_of_a_teacher_do_not_move(make_run, images):
    resnet = models.create("cifar_resnet20", depth=8, input_shape=(8, 8, 1), num_classes=10)
    teacher = load_teacher(str(make_run(resnet)))
    one = teacher.logits(images[:1])
    teacher.logits(255 - images)
    np.testing.assert_allclose(teacher.logits(images)[:1], one, rtol=1e-4, atol=1e-5)


def test_an_unfinished_run(make_run):
    assert "not finished" in refused(str(make_run(None)))


@pytest.mark.parametrize("value", ["byte", "unit"])
def test_a_run_directory_knows_its_own_range(make_run, network, value):
    assert f"input={value}" in refused(f"{make_run(network())},input={value}")


def test_other_label_names(make_run, network):
    path = make_run(network(), labels=("zero", *DIGITS[1:]))
    assert "class 0 'zero', the data set names it '0'" in refused(str(path))


def test_another_number_of_classes(make_run, network):
    path = make_run(network(classes=7), labels=DIGITS[:7])
    assert "7 classes" in refused(str(path)) and "has 10" in refused(str(path))


AS_TEXT = tuple(sorted(str(number) for number in range(12)))  # 0, 1, 10, 11, 2, ...


@pytest.fixture
def nameless(network, tmp_path):
    """A teacher of twelve classes without names, from each kind of source that may lack them."""

    def make(kind):
        model = network(classes=12)
        if kind == "keras file":
            model.save(tmp_path / "teacher.keras")
            return f"{tmp_path / 'teacher.keras'},input=byte", model
        run = RunDirectory(tmp_path / "converted")
        names = tuple(str(number) for number in range(12))
        config = TrainConfig(dataset="digits", model="mixer_s16")
        write_run(run, model=model, config=config, label_names=names, origin={"labels": NUMBERED})
        return str(run.path), model

    return make


@pytest.mark.parametrize("kind", ["keras file", "converted"])
def test_numbered_outputs_and_numbers_in_another_order(nameless, kind, images, tmp_path):
    text, model = nameless(kind)
    logits = model(images.astype(np.float32)).numpy()
    said = refused(text, labels=AS_TEXT)
    assert "data set's class 2 is called '10': add ,labels=own" in said
    own = load_teacher(f"{text},labels=own", labels=AS_TEXT)
    by_number = [int(name) for name in AS_TEXT]
    np.testing.assert_allclose(own.logits(images), logits[:, by_number], rtol=1e-5, atol=1e-6)
    # A network that was trained on folders of these names has the outputs in their order.
    (tmp_path / "outputs.txt").write_text("\n".join(AS_TEXT))
    placed = load_teacher(f"{text},labels={tmp_path / 'outputs.txt'}", labels=AS_TEXT)
    np.testing.assert_allclose(placed.logits(images), logits, rtol=1e-5, atol=1e-6)
    (tmp_path / "outputs.txt").write_text("")
    said = refused(f"{text},labels={tmp_path / 'outputs.txt'}", labels=AS_TEXT)
    assert f"labels={tmp_path / 'outputs.txt'}: this file has no class names in it" in said


@pytest.mark.parametrize("kind", ["keras file", "converted"])
@pytest.mark.parametrize(
    "labels", [tuple(str(n) for n in range(12)), tuple("abcdefghijkl"), (*"abcdefghijk", "0")]
)
def test_numbered_outputs_and_other_names_are_taken_in_order(nameless, kind, images, labels):
    text, model = nameless(kind)
    teacher = load_teacher(text, labels=labels)
    np.testing.assert_allclose(
        teacher.logits(images), model(images.astype(np.float32)), rtol=1e-5, atol=1e-6
    )


# .keras files


@pytest.fixture
def keras_file(network, tmp_path):
    def save(model=None, **options):
        model = model or network(**options)
        model.save(tmp_path / "teacher.keras")
        return tmp_path / "teacher.keras", model

    return save


@pytest.mark.parametrize(
    ("name", "scale"),
    [("byte", lambda v: v), ("unit", lambda v: v / 255), ("signed", lambda v: v / 127.5 - 1)],
)
def test_a_keras_file_gets_the_range_that_was_named(keras_file, images, name, scale):
    path, model = keras_file()
    teacher = load_teacher(f"{path},input={name}")
    expected = model(scale(images.astype(np.float32)))
    np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-4, atol=1e-5)


def test_a_keras_file_without_a_range(keras_file):
    path, _ = keras_file()
    assert "add ,input=byte|unit|signed|imagenet" in refused(str(path))


def test_labels_beside_a_keras_file_are_compared(keras_file, tmp_path):
    path, _ = keras_file()
    (tmp_path / "labels.txt").write_text("".join(f"{n}\n" for n in "0123456798"))
    assert "class 8 '9'" in refused(f"{path},input=byte")


def test_probabilities_are_recognised(keras_file, images):
    path, model = keras_file(activation="softmax")
    for text in (f"{path},input=unit", f"{path},input=unit,output=probabilities"):
        teacher = load_teacher(text)
        assert teacher.probabilities
        expected = model(images / np.float32(255))
        np.testing.assert_allclose(tf.nn.softmax(teacher.logits(images)), expected, rtol=1e-4)
    assert "use output=probabilities" in refused(f"{path},input=unit,output=logits")


def test_logits_that_were_called_probabilities(keras_file):
    path, _ = keras_file()
    assert "use output=logits" in refused(f"{path},input=unit,output=probabilities")


def test_a_network_of_another_size_and_of_three_channels(keras_file, images):
    path, model = keras_file(shape=(12, 12, 3))
    teacher = load_teacher(f"{path},input=byte")
    assert teacher.image_shape == (12, 12, 3)
    resized = tf.clip_by_value(tf.image.resize(images, (12, 12), "bicubic", antialias=True), 0, 255)
    expected = model(np.repeat(resized, 3, axis=-1))
    np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-4)


def test_a_network_of_any_size_takes_the_students_or_the_one_named(keras_file):
    path, _ = keras_file(shape=(None, None, 1))
    assert load_teacher(f"{path},input=byte").image_shape == (8, 8, 1)
    assert load_teacher(f"{path},input=byte,size=20").image_shape == (20, 20, 1)


def test_a_size_that_is_not_the_networks(keras_file):
    path, _ = keras_file()
    assert load_teacher(f"{path},input=byte,size=8").image_shape == (8, 8, 1)
    assert "size=9: its input is fixed at 8x8" in refused(f"{path},input=byte,size=9")


def test_a_size_that_is_too_small_for_the_network(keras_file):
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.MaxPooling2D(4)(inputs)
    outputs = keras.layers.Dense(10)(keras.layers.GlobalMaxPooling2D()(pooled))
    path, _ = keras_file(keras.Model(inputs, outputs))
    assert load_teacher(f"{path},input=byte,size=4").image_shape == (4, 4, 1)
    assert "cannot classify images of shape (2, 2, 1)" in refused(f"{path},input=byte,size=2")


def test_a_network_whose_training_broke(network, keras_file):
    model = network()
    model.set_weights([w * np.nan for w in model.get_weights()])
    path, _ = keras_file(model)
    assert "returns NaN" in refused(f"{path},input=byte")


def test_grey_networks_cannot_see_colours(keras_file):
    path, _ = keras_file()
    message = refused(f"{path},input=byte", image_shape=(8, 8, 3))
    assert "1 channel(s), the data set's have 3" in message


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_keras_file(keras_file, damage):
    path, _ = keras_file()
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"hello", "empty": b""}[damage])
    assert f"{path} cannot be loaded as a Keras model" in refused(f"{path},input=byte")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            [("Dense", {"units": 10**9})],
            "describes a model of 64,000,000,000 weights or more, but holds",
        ),
        ([("Dense", {"units": 8000})] * 3, "describes a model of 128,528,000 weights or more"),
        ([("ReLU", {})] * 30_000, "describes more than 30,000 layers"),
    ],
)
def test_a_keras_file_that_asks_for_more_than_it_holds(tmp_path, layers, words):
    start = [("InputLayer", {"batch_shape": [None, 8, 8, 1]}), ("Flatten", {})]
    described = [
        {"module": "keras.layers", "class_name": kind, "config": {"name": f"l{n}", **config}}
        for n, (kind, config) in enumerate([*start, *layers])
    ]
    config = {"name": "net", "layers": described}
    path = tmp_path / "teacher.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        sequential = {"module": "keras", "class_name": "Sequential", "config": config}
        archive.writestr("config.json", json.dumps(sequential))
    assert words in refused(f"{path},input=byte")


def test_a_keras_file_does_not_run_the_code_of_a_stranger(keras_file):
    inputs = keras.Input((8, 8, 1))
    pooled = keras.layers.Lambda(lambda x: keras.ops.mean(x, axis=(1, 2)))(inputs)
    path, _ = keras_file(keras.Model(inputs, keras.layers.Dense(10)(pooled)))
    assert "holds a Lambda layer, whose code is not run" in refused(f"{path},input=byte")


def test_networks_of_other_inputs_and_outputs(keras_file):
    one = keras.Input(batch_shape=(1, 8, 8, 1))
    path, _ = keras_file(keras.Model(one, keras.layers.Dense(10)(keras.layers.Flatten()(one))))
    assert "batches of 1 only" in refused(f"{path},input=byte")
    vector = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    path, _ = keras_file(vector)
    assert "batch of images" in refused(f"{path},input=byte")
    two = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    path, _ = keras_file(keras.Model(two, keras.layers.Flatten()(keras.layers.Add()(two))))
    assert "batch of images" in refused(f"{path},input=byte")
    maps = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(10, 3)])
    path, _ = keras_file(maps)
    assert "shape (3, 6, 6, 10)" in refused(f"{path},input=byte")
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(inputs)
    outputs = {"a": keras.layers.Dense(10)(flat), "b": keras.layers.Dense(10)(flat)}
    path, _ = keras_file(keras.Model(inputs, outputs))
    assert f"teacher={path}" in refused(f"{path},input=byte")


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_network_that_was_never_built(keras_file):
    path, _ = keras_file(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)]))
    assert f"teacher={path}" in refused(f"{path},input=byte")


# SavedModels


@pytest.fixture
def saved_model(tmp_path):
    """Saves functions of images as a SavedModel."""

    def save(outputs, *, dtype, shape=(None, 8, 8, 1), signature="serving_default", inputs=1):
        module = tf.Module()
        module.weight = tf.Variable(tf.random.stateless_normal((64, 10), (1, 2)))

        def logits(images):
            flat = tf.reshape(tf.cast(images, tf.float32), (-1, 64))
            return tf.matmul(flat, module.weight) / 640.0

        specs = [tf.TensorSpec(shape, dtype, name=f"image_{i}") for i in range(inputs)]
        module.serve = tf.function(
            lambda *images: {n: f(logits(images[0])) for n, f in outputs.items()},
            input_signature=specs,
        )
        path = tmp_path / "out" / "saved_model"
        tf.saved_model.save(module, str(path), signatures={signature: module.serve})
        return path, lambda images: logits(tf.constant(images)).numpy()

    return save


def test_a_saved_model_of_bytes_needs_no_range(saved_model, images):
    path, logits = saved_model({"output_0": lambda x: x}, dtype=tf.uint8)
    teacher = load_teacher(str(path))
    assert not teacher.compilable
    np.testing.assert_allclose(teacher.logits(images), logits(images), rtol=1e-5)


def test_a_saved_model_of_floats_needs_one(saved_model, images):
    path, logits = saved_model({"output_0": lambda x: x}, dtype=tf.float32)
    assert "add ,input=byte|unit|signed|imagenet" in refused(str(path))
    teacher = load_teacher(f"{path},input=unit")
    expected = logits(images / np.float32(255))
    np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-4, atol=1e-6)


def test_of_logits_and_probabilities_a_saved_model_gives_what_is_asked_for(saved_model, images):
    path, logits = saved_model(
        {"logits": lambda x: x, "probabilities": tf.nn.softmax}, dtype=tf.uint8
    )
    for option, probabilities in (
        ("", False),
        (",output=logits", False),
        (",output=probabilities", True),
    ):
        teacher = load_teacher(f"{path}{option}")
        assert teacher.probabilities == probabilities
        shifted = teacher.logits(images) - tf.reduce_logsumexp(
            teacher.logits(images), axis=1, keepdims=True
        )
        expected = tf.nn.log_softmax(logits(images))
        np.testing.assert_allclose(shifted, expected, rtol=1e-4, atol=1e-5)


def test_labels_beside_or_above_a_saved_model_are_compared(saved_model):
    path, _ = saved_model({"logits": lambda x: x}, dtype=tf.uint8)
    (path.parent / "labels.txt").write_text("".join(f"{n}\n" for n in "0123456798"))
    assert "class 8 '9'" in refused(str(path))
    (path / "labels.txt").write_text("".join(f"{n}\n" for n in DIGITS))
    assert load_teacher(str(path)).label_names == DIGITS


def test_a_saved_model_of_another_shape_is_resized_for(saved_model):
    path, logits = saved_model({"logits": lambda x: x}, dtype=tf.uint8)
    large = np.random.default_rng(3).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    teacher = load_teacher(str(path), image_shape=(16, 16, 1))
    pixels = tf.image.resize(large, (8, 8), "bicubic", antialias=True).numpy().clip(0, 255)
    np.testing.assert_allclose(
        teacher.logits(large), logits(np.round(pixels).astype(np.uint8)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"outputs": {"a": tf.identity, "b": tf.identity}}, "returns a, b"),
        ({"outputs": {"a": tf.identity}, "inputs": 2}, "takes 2 inputs"),
        ({"outputs": {"a": tf.identity}, "signature": "other"}, "serving_default"),
        ({"outputs": {"a": tf.identity}, "shape": (1, 8, 8, 1)}, "batches of 1 only"),
        ({"outputs": {"a": lambda x: x[:, :7]}}, "7 classes"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_saved_models_that_cannot_teach(saved_model, options, named):
    path, _ = saved_model(dtype=tf.uint8, **options)
    assert named in refused(str(path))


def test_a_damaged_saved_model(saved_model):
    path, _ = saved_model({"logits": lambda x: x}, dtype=tf.uint8)
    (path / "saved_model.pb").write_bytes(b"hello")
    assert "cannot be loaded as a SavedModel" in refused(str(path))


# keras.applications


def test_an_unknown_network():
    message = refused("keras:ResNet999")
    assert "has no ResNet999" in message
    assert "ResNet50" in message
    assert "has no resnet50" in refused("keras:resnet50"), "a module is not a network"


@pytest.fixture
def fake_application(monkeypatch):
    """Puts a function in the place of keras.applications.MobileNetV2."""

    def replace(constructor):
        constructor.__module__ = "keras.src.applications.mobilenet_v2"
        monkeypatch.setattr(keras.applications, "MobileNetV2", constructor)

    return replace


def test_no_network_and_no_weights(fake_application):
    def constructor(**_):
        raise Exception("URL fetch failure on https://storage\nretry")

    fake_application(constructor)
    message = refused("keras:MobileNetV2")
    assert "ImageNet weights" in message and "URL fetch failure" in message
    assert "run it once with network access" in message


def test_a_size_that_the_network_refuses(fake_application):
    def constructor(**_):
        raise ValueError("Input size must be at least 32x32")

    fake_application(constructor)
    assert "teacher=keras:MobileNetV2: Input size must be" in refused("keras:MobileNetV2,size=8")


def test_a_network_with_its_own_preprocessing(fake_application, network, images):
    asked = []

    def constructor(**options):
        asked.append(options)
        return network(shape=options["input_shape"])

    fake_application(constructor)
    teacher = load_teacher("keras:MobileNetV2,size=32")
    assert asked == [
        {"weights": "imagenet", "input_shape": (32, 32, 3), "classifier_activation": None}
    ]
    pixels = tf.image.resize(images, (32, 32), "bicubic", antialias=True).numpy().clip(0, 255)
    expected = network(shape=(32, 32, 3))(np.repeat(pixels, 3, axis=-1) / 127.5 - 1.0)
    np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-3, atol=1e-5)
    load_teacher("keras:MobileNetV2")
    assert asked[-1]["input_shape"] == (224, 224, 3)


def test_imagenet_teachers_have_1000_classes(fake_application, network):
    fake_application(lambda **options: network(shape=options["input_shape"], classes=1000))
    assert "1000 classes, the data set has 10" in refused("keras:MobileNetV2,size=32")


def test_a_range_for_a_network_that_has_its_own():
    assert "input=unit" in refused("keras:MobileNetV2,input=unit")


# Nothing there


def test_a_source_that_does_not_exist(tmp_path):
    message = refused(f"{tmp_path}/nowhere")
    assert f"teacher={tmp_path}/nowhere is not a run directory" in message
    (tmp_path / "some.txt").write_text("")
    assert "not a SavedModel" in refused(f"{tmp_path}/some.txt")
    for name in ("lost.keras", "lost.onnx", "lost.tflite"):
        message = refused(f"{tmp_path}/{name},input=byte")
        assert message == f"teacher={tmp_path}/{name} is not there; name a file that exists"
