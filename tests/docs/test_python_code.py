"""The Python code in the documentation runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from std_keras.runtimes.trial import tried
from tests import processes

# A heading and, up to the next heading of the same level, the blocks below it.
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[str]:
    return _BLOCK.findall(text)


def section(text: str, heading: str) -> str:
    """The part of a Markdown text under a second-level heading."""
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"there is no heading {heading!r}"
    return rest.partition("\n## ")[0]


def execute(blocks: list[str], *, folder: Path) -> str:
    """Runs the blocks as one program in a process of its own, as a reader would."""
    done = processes.run("-c", "\n".join(blocks), cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def own_backbone(root, tmp_path_factory):
    """What docs/own_backbone.md prints, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("own_backbone")
    text = (root / "docs" / "own_backbone.md").read_text(encoding="utf-8")
    blocks = python_blocks(text)
    assert len(blocks) == 5
    return execute(blocks, folder=folder).splitlines(), folder


def test_own_backbone_prints_what_it_says(root, own_backbone):
    printed, _ = own_backbone
    text = (root / "docs" / "own_backbone.md").read_text(encoding="utf-8")
    assert f"print(models.head_names(student))\n# {printed[0]}\n" in text
    assert float(printed[1]) > 0
    assert "distillation_0_intermediate" in printed[2]
    assert "distillation_0_last" in printed[2]


@pytest.mark.parametrize(
    "file",
    [
        "student.keras",
        "student_dynamic.tflite",
        "runs/tiny_teacher/model.keras",
        "runs/tiny_student/result.json",
    ],
)
def test_own_backbone_leaves_its_files(own_backbone, file):
    assert (own_backbone[1] / file).stat().st_size > 0


def test_readme_python_api(root, tmp_path):
    blocks = python_blocks(section((root / "README.md").read_text(encoding="utf-8"), "In Python"))
    assert len(blocks) == 1
    execute(blocks, folder=tmp_path)


def test_fit_page(root, tmp_path):
    blocks = python_blocks((root / "docs" / "fit.md").read_text(encoding="utf-8"))
    assert len(blocks) == 2
    by_name, by_class, ours, metrics = execute(blocks, folder=tmp_path).splitlines()
    assert float(by_class) == pytest.approx(float(ours), rel=1e-5)
    assert float(by_name) != pytest.approx(float(ours), rel=0.5), "Keras was repaired: say so"
    assert "loss" in metrics
    assert (tmp_path / "student.keras").stat().st_size > 0


def test_teachers_page(root, tmp_path):
    blocks = python_blocks((root / "docs" / "teachers.md").read_text(encoding="utf-8"))
    assert len(blocks) == 1
    execute(blocks, folder=tmp_path)
    found = tried(tmp_path / "teacher.onnx", name="teacher.onnx", size=(160, 160, 3))
    assert (found.input.layout, found.input.shape) == ("nchw", (3, 160, 160))
    assert (found.input.batch, found.output_shape) == (None, (found.batch, 10))
    assert (tmp_path / "teacher.onnx.data").is_file()


@pytest.mark.parametrize("page", ["python", "export"])
def test_other_pages(root, tmp_path, page):
    blocks = python_blocks((root / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert blocks
    execute(blocks, folder=tmp_path)
