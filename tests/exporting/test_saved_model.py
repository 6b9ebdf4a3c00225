from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.data.graph_decoder import decode_rgb
from std_keras.data.images import resize_and_crop
from std_keras.exporting import inference_model, write_saved_model
from std_keras.exporting import saved_model as module
from tests import processes

READER = """
import json, sys
import numpy as np
import tensorflow as tf
images = np.load("images.npy")
serve = tf.saved_model.load("saved_model").signatures["serving_default"]
_, inputs = serve.structured_input_signature
out = {"inputs": {k: [v.dtype.name, v.shape.as_list()] for k, v in inputs.items()}}
for n in (1, 5):
    got = serve(images=tf.constant(images[:n]))
    out[str(n)] = {k: v.numpy().tolist() for k, v in got.items()}
    out["dtypes"] = {k: v.dtype.name for k, v in got.items()}
contents = [open(name, "rb").read() for name in sys.argv[1:]]
bytes_of = tf.saved_model.load("saved_model").signatures["serving_bytes"]
_, inputs = bytes_of.structured_input_signature
out["bytes_inputs"] = {k: [v.dtype.name, v.shape.as_list()] for k, v in inputs.items()}
out["bytes"] = bytes_of(image_bytes=tf.constant(contents))["logits"].numpy().tolist()
out["foreign"] = [m for m in sys.modules if m.split(".")[0] == "std_keras"]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def small(create_student):
    return create_student(depth=1, tokens="none")


@pytest.mark.parametrize("name", ["out[1]", "back\\slash *", os.fsdecode(b"caf\xe9")])
def test_a_folder_whose_name_tensorflow_takes_for_a_pattern(small, images, tmp_path, name):
    folder = tmp_path / name / "saved_model"
    for path in (folder, folder.with_name(name)):
        write_saved_model(inference_model(small, head="classification"), path)
        logits = module.run_saved_model(path, images[:2])
        assert logits.shape == (2, 10)
    assert sorted(os.listdir(tmp_path / name)) == sorted(["saved_model", name])


def test_tensorflow_alone_serves_it(student, images, tmp_path):
    model = inference_model(student, head="average")
    write_saved_model(model, tmp_path / "saved_model")
    np.save(tmp_path / "images.npy", images)
    # Stored without loss, so that decoding gives the very pixels.
    files = [tmp_path / f"{i}.{kind}" for i, kind in enumerate(("png", "bmp", "png"))]
    for file, image in zip(files, images[:3, ..., 0], strict=True):
        Image.fromarray(image).save(file)
    done = subprocess.run(  # -I: neither PYTHONPATH nor the working directory offers std_keras.
        [sys.executable, "-I", "-c", READER, *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["inputs"] == {"images": ["uint8", [None, 8, 8, 1]]}
    assert out["dtypes"] == {"logits": "float32", "probabilities": "float32"}
    assert out["foreign"] == []
    expected = np.asarray(model(images.astype(np.float32)))
    for n in (1, 5):
        np.testing.assert_allclose(out[str(n)]["logits"], expected[:n], atol=1e-5)
        e = np.exp(expected[:n] - expected[:n].max(axis=1, keepdims=True))
        probabilities = e / e.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(out[str(n)]["probabilities"], probabilities, atol=1e-6)
    assert out["bytes_inputs"] == {"image_bytes": ["string", [None]]}
    np.testing.assert_allclose(out["bytes"], expected[:3], atol=1e-5)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.fixture(scope="module")
def colour(create_student):
    return inference_model(
        create_student(depth=1, tokens="none", input_shape=(8, 8, 3)), head="average"
    )


def test_bytes_are_prepared_as_in_evaluation(colour, tmp_path):
    """Pictures of several sizes and formats in one batch."""
    write_saved_model(colour, tmp_path / "saved_model", crop_ratio=0.8)
    contents, squares = [], []
    rng = np.random.default_rng(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    for shape, kind in (
        ((30, 40, 3), "JPEG"),
        ((9, 25), "PNG"),
        ((20, 20, 4), "PNG"),
        ((20, 27, 4), "WEBP"),
        ((20, 20), "GIF"),
        ((20, 21, 3), "BMP"),
    ):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(file, kind, exif=exif)
        contents.append(file.getvalue())
        squares.append(resize_and_crop(decode_rgb(contents[-1]), 8, crop_ratio=0.8))
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_bytes"]
    expected = colour(tf.cast(tf.stack(squares), tf.float32))
    np.testing.assert_allclose(
        serve(image_bytes=tf.constant(contents))["logits"], expected, atol=1e-5
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        serve(image_bytes=tf.constant([contents[0], b"not a picture"]))


def test_saved_model_cli_names_inputs_and_outputs(small, tmp_path):
    write_saved_model(inference_model(small, head="average"), tmp_path / "saved_model")
    command = ("tensorflow.python.tools.saved_model_cli", "show", "--dir=saved_model", "--all")
    done = processes.run("-m", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    for named in (
        "signature_def['serving_default']: The given SavedModel SignatureDef contains the "
        "following input(s): inputs['images'] tensor_info: dtype: DT_UINT8 shape: (-1, 8, 8, 1)",
        "signature_def['serving_bytes']: The given SavedModel SignatureDef contains the "
        "following input(s): inputs['image_bytes'] tensor_info: dtype: DT_STRING shape: (-1)",
    ):
        assert named in text
    for output in ("logits", "probabilities"):
        assert text.count(f"outputs['{output}'] tensor_info: dtype: DT_FLOAT shape: (-1, 10)") == 2
    assert text.count("Method name is: tensorflow/serving/predict") == 2


def test_no_class_of_keras_is_written(small, tmp_path):
    write_saved_model(inference_model(small, head="average"), tmp_path / "saved_model")
    assert not (tmp_path / "saved_model" / "keras_metadata.pb").exists()
    assert b"std_keras" not in (tmp_path / "saved_model" / "saved_model.pb").read_bytes()


def test_a_failed_write_leaves_the_former_one(small, images, tmp_path, monkeypatch):
    path = tmp_path / "saved_model"
    write_saved_model(inference_model(small, head="classification"), path)
    before = module.run_saved_model(path, images)

    def fail(self, folder, signatures):
        (tmp_path / ".saved_model.part").mkdir(exist_ok=True)
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        write_saved_model(inference_model(small, head="distillation_0_last"), path)
    assert [p.name for p in tmp_path.iterdir()] == ["saved_model"]
    np.testing.assert_array_equal(module.run_saved_model(path, images), before)


def test_it_replaces_the_former_one(small, images, tmp_path):
    path = tmp_path / "saved_model"
    for head in ("classification", "distillation_0_last"):
        model = inference_model(small, head=head)
        write_saved_model(model, path)
        got = module.run_saved_model(path, images, batch_size=7)
        np.testing.assert_allclose(got, model(images.astype(np.float32)), atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["saved_model"]
