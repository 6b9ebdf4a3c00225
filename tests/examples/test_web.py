"""The web page in a headless Chromium: it shows what the desktop's program computes.

Needs Node.js and Chromium (as `chromium`, or at $CHROMIUM), and the page's packages:
npm ci --prefix examples/web
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from std_keras import exporting, models
from std_keras.exporting.classifying import (
    Classifier,
    ModelCard,
    center_square,
    describe,
    open_picture,
)

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
LABELS = tuple(f"class {i}" for i in range(10))


@pytest.fixture(scope="module")
def web(root):
    folder = root / "examples" / "web"
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if not (folder / "node_modules" / "playwright-core").is_dir():
        pytest.skip("the page's packages are not there; run npm ci --prefix examples/web")
    return folder


@pytest.fixture(scope="module")
def convert():
    """Files of a student with random weights, by quantisation; a model for each channel count."""
    students = {}

    def file(path, *, channels: int, **options):
        if channels not in students:
            keras.utils.set_random_seed(7)
            model = models.create_student(
                "mixer_s16",
                input_shape=(32, 32, channels),
                num_classes=10,
                patch_size=8,
                width=32,
                depth=2,
                teacher_sites=["last"],
            )
            kernel = model.get_layer("classification").kernel  # Starts at zero.
            kernel.assign(np.random.default_rng(7).normal(size=kernel.shape) / 3)
            students[channels] = exporting.inference_model(model, head="average")
        card = ModelCard(
            "mixer_s16",
            "0",
            LABELS,
            image_size=32,
            channels=channels,
            crop_ratio=0.875,
            dataset="photographs",
            top1=0.5,
            examples=8,
        )
        path.write_bytes(describe(exporting.convert(students[channels], **options), card))
        return path

    return file


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Real photographs: whole, upright only by its EXIF note, small; and something else."""
    folder = tmp_path_factory.mktemp("pictures")
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    photograph.save(folder / "china.jpg", quality=92)
    exif = Image.Exif()
    exif[0x0112] = 6
    flower = Image.fromarray(load_sample_image("flower.jpg")).crop((100, 0, 500, 427))
    flower.save(folder / "turned.jpg", quality=85, exif=exif)
    photograph.resize((20, 30)).convert("P").save(folder / "small.png")
    (folder / "broken.png").write_text("not a picture")
    return folder


@pytest.fixture
def serve(web):
    """Starts the page's server on a free port; returns its address."""
    servers: list[subprocess.Popen[str]] = []

    def start(model) -> str:
        server = subprocess.Popen(
            ["node", "server.js", f"--model={model}", "--port=0"],
            cwd=web,
            stdout=subprocess.PIPE,
            text=True,
        )
        servers.append(server)
        assert server.stdout is not None
        return server.stdout.readline().strip()

    yield start
    for server in servers:
        server.kill()
        server.communicate()


def look(web, url: str, *pictures) -> dict:
    done = subprocess.run(
        ["node", "check.js", f"--url={url}", *map(str, pictures)],
        cwd=web,
        env={**os.environ, "CHROMIUM": str(CHROMIUM)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("channels", "options", "tolerance"),
    [
        (3, {"quantization": "float32"}, 1e-4),
        (3, {"quantization": "float16", "input_type": "float32"}, 1e-3),
        # Rounding to integers may fall differently on two processors, and is then carried on.
        (1, {"quantization": "dynamic"}, 0.02),
    ],
)
def test_the_page_says_what_the_program_says(
    web, convert, pictures, serve, tmp_path, channels, options, tolerance
):
    path = convert(tmp_path / "model.tflite", channels=channels, **options)
    files = [pictures / name for name in ("china.jpg", "turned.jpg", "small.png")]
    shown = look(web, serve(path), *files)
    assert shown["problems"] == []
    assert len(shown["hosts"]) == 1  # Nothing but our server was asked for anything.
    assert shown["about"] == (
        "model.tflite: mixer_s16 trained on photographs, 10 classes, "
        "right on 50.0 % of test images."
    )
    assert [(s["picture"], s["way"]) for s in shown["seen"]] == [
        (str(file), way) for file in files for way in ("pick", "paste", "drop")
    ]
    classifier = Classifier(path)
    for seen in shown["seen"]:
        image = open_picture(seen["picture"], channels=channels)
        pixels = np.broadcast_to(center_square(image, 32, crop_ratio=0.875), (32, 32, 3))
        difference = np.abs(np.reshape(seen["pixels"], (32, 32, 3)) - pixels.astype(int))
        assert difference.max() <= 1  # Halves, which are summed in another order.
        assert (difference > 0).mean() < 0.002
        expected = {p.label: p.probability for p in classifier.classify(image, top_k=10)}
        assert len(seen["predictions"]) == 5
        for one in seen["predictions"]:
            assert one["probability"] == pytest.approx(expected[one["label"]], abs=tolerance)
        assert seen["predictions"][0]["probability"] >= max(expected.values()) - tolerance


def test_what_the_page_refuses(web, convert, pictures, serve, tmp_path):
    path = convert(tmp_path / "model.tflite", channels=3, quantization="float32")
    shown = look(web, serve(path), pictures / "broken.png")
    assert {s["error"] for s in shown["seen"]} == {"This is not a picture that can be read."}

    bare = tmp_path / "bare.tflite"
    content = path.read_bytes()
    bare.write_bytes(content[: content.index(b"PK\x03\x04")])
    shown = look(web, serve(bare))
    assert shown["status"] == "There is no model yet."
    assert "no labels; export it again" in shown["error"]


@pytest.fixture
def raw(serve, tmp_path):
    """Sends a path as it is; a library would tidy it up."""
    import http.client

    (tmp_path / "model.tflite").write_bytes(b"a model")
    host = serve(tmp_path / "model.tflite").removeprefix("http://").rstrip("/")

    def get(path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(host, timeout=600)
        connection.putrequest("GET", path, skip_host=False)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()

    return get


def test_the_server_gives_only_its_own_files(raw, web):
    assert raw("/model.tflite") == (200, b"a model")
    assert raw("/") == (200, (web / "index.html").read_bytes())
    for path in (
        "/../../README.md",
        "/../../pyproject.toml",
        "/..%2f..%2fstd_keras/__init__.py",
        "/%2e%2e/%2e%2e/tests/x.js",
        "//etc/passwd",
        "/package.json",
        "/.npmrc",
        "/nothing.js",
        "/%",
        "/index.html%00.js",
    ):
        assert raw(path)[0] == 404, path


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--model=nope.tflite", "--model=nope.tflite: there is no such file"),
        ("--port=x", "--port=x is not a port"),
        ("--modle=x", "usage: node server.js"),
    ],
)
def test_the_server_refuses_bad_flags(web, argument, said):
    done = subprocess.run(
        ["node", "server.js", argument], cwd=web, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_page_and_the_lockfile_name_no_other_host(root):
    web = root / "examples" / "web"
    for name in ("index.html", "app.js", "classifier.js", "picture.js", "style.css"):
        assert not re.search(r"https?://", (web / name).read_text(encoding="utf-8")), name
    lock = json.loads((web / "package-lock.json").read_text(encoding="utf-8"))
    wanted = json.loads((web / "package.json").read_text(encoding="utf-8"))
    for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, package in lock["packages"].items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")
