"""The Kotlin and Swift code of the documentation says what an exported file says of itself.

Neither language is compiled here. Names, numbers and the order of bytes are read out of the code
and tried on a file; Swift's reading of the archive is run, with its numbers, in Python.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from std_keras import exporting, models
from std_keras.exporting.classifying import ModelCard, describe
from tests.docs.markdown import read

PAGE = read("docs/export.md")
LABELS = ("red", "große Zwei", "three, four", "a b")
SIZE = 8


def code(language: str) -> str:
    """All blocks of a language, without their comments."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return re.sub(r"/\*[^/]*\*/|//.*", "", "\n".join(blocks))


KOTLIN, SWIFT = code("kotlin"), code("swift")


@pytest.fixture(scope="module")
def file() -> bytes:
    """An RGB student that sees seven eighths of a picture, as people export it."""
    model = models.create(
        "mixer_s16", input_shape=(SIZE, SIZE, 3), num_classes=len(LABELS), patch_size=4, width=8
    )
    content = exporting.convert(
        exporting.inference_model(model, head="classification"), quantization="float32"
    )
    return describe(content, ModelCard("mixer_s16", "0", LABELS, SIZE, 3, crop_ratio=0.875))


@pytest.fixture(scope="module")
def archive(file) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(file))


def test_what_the_page_shows_is_a_card():
    (shown,) = re.findall(r"^```json\n(\{\n  \"format\".*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    card = ModelCard.from_json(shown, labels=tuple("0123456789"))
    assert json.loads(card.to_json()) == json.loads(shown)


def test_the_order_of_the_steps_is_that_of_the_card(archive):
    (section,) = re.findall(r"## How a picture is prepared\n(.*?)\n## ", PAGE, re.DOTALL)
    first, second, third = re.findall(r"^\d\. (.*?)(?=^\d\. |\n\n)", section + "\n", re.M | re.S)
    assert "upright (EXIF)" in first and "8-bit RGB" in first and "over white" in first
    resize = json.loads(archive.read("std_keras.json"))["input"]["resize"]
    assert "`short_side`" in second and resize["short_side"] == int(SIZE / 0.875)
    assert "`size` from the centre" in third and resize["crop"] == "center"


def test_kotlin_reads_files_and_fields_that_are_there(archive):
    names = set(re.findall(r'\btext\("([\w.]+)"\)', KOTLIN))
    assert names == {"labels.txt", "std_keras.json"} <= set(archive.namelist())
    assert 'text("labels.txt").removeSuffix("\\n").split("\\n")' in KOTLIN
    text = archive.read("labels.txt").decode("utf-8")
    assert tuple(text.removesuffix("\n").split("\n")) == LABELS
    (root,) = re.findall(r'val input = JSONObject\(.*\)\.getJSONObject\("(\w+)"\)', KOTLIN)
    fields = json.loads(archive.read("std_keras.json"))[root]
    found = {}
    for name, inner, field in re.findall(
        r'val (\w+): Int = input(?:\.getJSONObject\("(\w+)"\))?\.getInt\("(\w+)"\)', KOTLIN
    ):
        found[name] = (fields[inner] if inner else fields)[field]
    assert found == {"size": SIZE, "shortSide": int(SIZE / 0.875)}


def test_kotlin_calls_a_signature_that_is_there(file):
    call = r'runSignature\(mapOf\("(\w+)" to pixels\), mapOf\("(\w+)" to logits\), "(\w+)"\)'
    ((given, answer, name),) = re.findall(call, KOTLIN)
    signatures = Interpreter(model_content=file).get_signature_list()
    assert signatures == {name: {"inputs": [given], "outputs": [answer]}}


def test_kotlin_s_bytes_are_those_of_the_picture(file):
    """Android's colours are whole numbers, alpha, red, green, blue from the highest byte down."""
    rgb = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    argb = np.array(Image.fromarray(rgb).convert("RGBA"))[..., [3, 0, 1, 2]]
    colors = argb.reshape(-1, 4).copy().view(">u4")[:, 0].astype(np.int64)
    (put,) = re.findall(r"^ *(pixels\.put\(.*)$", KOTLIN, re.MULTILINE)
    assert re.sub(r"\(color( shr \d+)?\)\.toByte\(\)|color\.toByte\(\)", "_", put) == (
        "pixels.put(_).put(_).put(_)"
    )
    shifts = [int(shift or 0) for shift in re.findall(r"color(?: shr (\d+))?\)?\.toByte", put)]
    written = np.stack([colors >> shift & 255 for shift in shifts], axis=1).astype(np.uint8)
    np.testing.assert_array_equal(written, rgb.reshape(-1, 3))
    assert "square.getPixels(argb, 0, size, 0, 0, size, size)" in KOTLIN  # All, from the top.
    (wanted,) = Interpreter(model_content=file).get_input_details()
    assert "ByteBuffer.allocateDirect(size * size * 3)" in KOTLIN
    assert (wanted["dtype"], math.prod(wanted["shape"])) == (np.uint8, written.size)
    assert not re.search(r"255|127\.5|NormalizeOp", KOTLIN + SWIFT)  # It is inside of the model.


@pytest.mark.parametrize("wanted", ["labels.txt", "std_keras.json", "none"])
def test_swift_finds_files_in_the_archive(file, archive, wanted):
    """The function of the page in Python, with the numbers that stand there."""
    numbers = {}
    for name, text in re.findall(r"let (\w+) = (.*number\(.*)", SWIFT):
        numbers[name] = [
            tuple(map(int, n)) for n in re.findall(r"number\(\w+ \+ (\d+), (\d)\)", text)
        ]
    signature = bytes(eval(re.search(r"Data\((\[0x50.*?\])\)", SWIFT)[1]))
    first, count = (
        tuple(map(int, re.search(rf"{pattern} *number\(end \+ (\d+), (\d)\)", SWIFT).groups()))
        for pattern in (r"var at =", r"in 0\.\.<")
    )
    fixed, step = (
        int(re.search(pattern, SWIFT)[1])
        for pattern in (r"file\[\(at \+ (\d+)\)", r"at \+= (\d+) \+ nameLength")
    )
    more = re.search(r"at \+= .*", SWIFT)[0]
    extra = [tuple(map(int, n)) for n in re.findall(r"number\(at \+ (\d+), (\d)\)", more)]
    (length,) = re.findall(r"start \+ number\(at \+ (\d+), (\d)\)", SWIFT)
    local = int(re.search(r"let start = header \+ (\d+)", SWIFT)[1])

    def number(at: int, size: int) -> int:
        return int.from_bytes(file[at : at + size], "little")

    def associated() -> bytes | None:
        end = file.rindex(signature)
        at = number(end + first[0], first[1])
        for _ in range(number(end + count[0], count[1])):
            ((place, size),) = numbers["nameLength"]
            name_length = number(at + place, size)
            if file[at + fixed : at + fixed + name_length].decode() == wanted:
                ((place, size),) = numbers["header"]
                header = number(at + place, size)
                start = header + local + sum(number(header + p, s) for p, s in numbers["start"])
                return file[start : start + number(at + int(length[0]), int(length[1]))]
            at += step + name_length + sum(number(at + p, s) for p, s in extra)
        return None

    assert associated() == (archive.read(wanted) if wanted != "none" else None)


def test_swift_reads_names_and_the_only_tensors(file, archive):
    assert 'associatedFile("labels.txt", in: file)' in SWIFT
    assert 'split(separator: "\\n")' in SWIFT  # Which leaves out what is empty: the last line.
    text = archive.read("labels.txt").decode("utf-8")
    assert tuple(filter(None, text.split("\n"))) == LABELS
    assert "copy(rgb, toInputAt: 0)" in SWIFT and "output(at: 0)" in SWIFT
    interpreter = Interpreter(model_content=file)
    assert len(interpreter.get_input_details()) == len(interpreter.get_output_details()) == 1
    assert interpreter.get_output_details()[0]["dtype"] == np.float32
    assert "bindMemory(to: Float32.self)" in SWIFT


def test_both_turn_pictures_upright_and_lay_them_over_white():
    """What their platforms do not do by themselves, which the text behind the code says."""
    android, ios = (
        re.search(rf"## {title}.*?\n## ", PAGE, re.DOTALL)[0]
        for title in (r"Android \(Kotlin\)", r"iOS \(Swift\)")
    )
    assert "ExifInterface" in android and "eraseColor(Color.WHITE)" in android
    assert "imageOrientation" in ios and "fill a context with white" in ios
