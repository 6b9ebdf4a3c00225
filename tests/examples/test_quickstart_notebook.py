"""The notebook runs from top to bottom, as somebody who opens it would run it."""

from __future__ import annotations

import os
import re

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")


@pytest.fixture(scope="module")
def notebook(root):
    return nbformat.read(root / "examples" / "quickstart.ipynb", as_version=4)


@pytest.fixture(scope="module")
def printed(root, notebook, tmp_path_factory):
    """What each code cell left: its text, and how many pictures it drew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root))  # In place of the install line.
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("notebook")))
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        patch.delenv("MPLBACKEND", raising=False)
        ran = notebook.copy()
        ran.cells = [cell for cell in ran.cells if "install" not in cell.metadata.get("tags", ())]
        folder = tmp_path_factory.mktemp("cwd")
        client = nbclient.NotebookClient(ran, timeout=500, resources={"metadata": {"path": folder}})
        client.execute(env={**os.environ})
    cells = [cell for cell in ran.cells if cell.cell_type == "code"]
    texts = ["".join(map(_text, cell.outputs)) for cell in cells]
    pictures = [sum("image/png" in o.get("data", {}) for o in cell.outputs) for cell in cells]
    return texts, pictures


def _text(output) -> str:
    return output.get("text", "") or output.get("data", {}).get("text/plain", "")


def test_it_is_committed_without_outputs(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None and not cell.outputs for cell in code)
    (install,) = [cell for cell in code if "install" in cell.metadata.get("tags", ())]
    assert install.source.startswith("%pip install")


def test_from_data_to_the_answers_of_the_exported_file(printed):
    texts, pictures = printed
    everything = "\n".join(texts)
    assert "'train': 1437" in texts[1]
    assert re.search(r"teacher': cifar_resnet20 on digits, test top-1 0\.[89]", texts[2])
    assert re.search(r"student': mixer_s16 on digits, test top-1 0\.[89]", texts[3])
    assert re.search(r"average +top-1 0\.[89]", everything)
    assert re.search(r"student_dynamic\.tflite +[\d,]+ +\d+ +0\.[89]", everything)
    assert [index for index, count in enumerate(pictures) if count] == [1, 4, 6, 8]
    assert "Traceback" not in everything
