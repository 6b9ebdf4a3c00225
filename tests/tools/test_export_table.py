"""The table of exported students and the benchmark beside it, on small networks."""

from __future__ import annotations

import csv
import importlib
import json
import re
from pathlib import Path

import pytest

from std_keras.errors import InputError
from std_keras.programs.program import StopRequest
from tests import processes


@pytest.fixture(scope="module")
def export_table(root):
    yield importlib.import_module("tools.export_table")


def test_the_table_says_what_the_files_are(export_table, tmp_path, monkeypatch):
    small = {"tiny": ("mixer_s16", 32, {"patch_size": 8, "width": 32, "depth": 2})}
    monkeypatch.setattr(export_table, "_STUDENTS", small)
    output, files = tmp_path / "table.csv", tmp_path / "files"
    export_table.main([f"--output={output}", f"--files_dir={files}"], StopRequest())
    with output.open() as file:
        rows = list(csv.DictReader(file))
    kinds = ["float32", "float16", "dynamic", "int8", "int4"]
    assert [row["quantization"] for row in rows] == kinds
    for row in rows:
        assert int(row["bytes"]) == (files / f"tiny_{row['quantization']}.tflite").stat().st_size
        assert row["xnnpack_partitions"] == "1"
        assert row["top1"] == ""
        assert float(row["latency_ms_2_threads"]) > 0
    assert rows[0]["same_predictions"] == "1.0000"
    assert float(rows[0]["max_logit_difference"]) < 1e-4 < float(rows[2]["max_logit_difference"])
    # Without students of its own a call keeps the rows that are there.
    before = output.read_text()
    export_table.main([f"--output={output}", f"--files_dir={files}", "--only=none"], StopRequest())
    assert output.read_text() == before
    export_table.main([f"--output={output}", f"--files_dir={files}"], StopRequest())
    with output.open() as file:
        again = list(csv.DictReader(file))
    assert [row["bytes"] for row in again] == [row["bytes"] for row in rows]
    # One kind alone leaves the rows of the others as they are, and the machine of their times.
    page = output.with_suffix(".md")
    machine = re.compile("Latencies on .*; batch 1")
    page.write_text(machine.sub("Latencies on another machine; batch 1", page.read_text()))
    only = ["--quantizations=int4", "--nolatency"]
    export_table.main([f"--output={output}", f"--files_dir={files}", *only], StopRequest())
    with output.open() as file:
        *others, four = csv.DictReader(file)
    assert others == again[:-1]
    assert four == {**again[-1], "latency_ms_1_thread": "", "latency_ms_2_threads": ""}
    text = page.read_text()
    assert "\nLatencies on another machine; batch 1" in text
    assert "python -m tools.export_table --output=" in text
    assert all(row["bytes"] in text for row in rows)


def test_bad_flags(export_table, tmp_path):
    with pytest.raises(InputError, match=r"--output=.*\.txt must end in \.csv"):
        export_table.main([f"--output={tmp_path}/a.txt", f"--files_dir={tmp_path}"], StopRequest())
    flags = [f"--output={tmp_path}/a.csv", f"--files_dir={tmp_path}", "--only=nobody"]
    wrong = [*flags[:2], "--quantizations=int4,int2"]
    with pytest.raises(InputError, match="--quantizations=int2 is not one of float32, "):
        export_table.main(wrong, StopRequest())
    with pytest.raises(InputError, match="--only=nobody is not one of mixer_s4_32px"):
        export_table.main(flags, StopRequest())


def test_the_benchmark_measures_the_matmuls_of_the_file(tmp_path: Path):
    done = processes.run(
        *("-m", "tools.benchmark", "export"),
        *("--image_size=8", "--patch_size=4", "--width=32", "--depth=1", "--runs=3"),
        "--against=pytorch",
        f"--json={tmp_path}/export.json",
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "export.json").read_text())
    kinds = {"float32", "float16", "dynamic", "int8", "int4"}
    assert set(found["ms"]) == kinds | {"pytorch float32"}
    assert found["best_file"] in kinds
    ideal = found["ms"][found["best_file"]] / found["matmul_ms"]["fastest int8"]
    assert found["best_to_matmul"] == pytest.approx(ideal)
    assert found["matmul_ms"]["fastest int8"] <= found["matmul_ms"]["dynamic"]
    assert found["bytes"]["dynamic"] < found["bytes"]["float32"]


def test_shapes_are_compared_by_the_arithmetic_of_their_matmuls(tmp_path: Path):
    done = processes.run(
        *("-m", "tools.benchmark", "shapes"),
        *("--widths=8,16", "--sides=2", "--depth=1", "--runs=3", f"--json={tmp_path}/shapes.json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "shapes.json").read_text())["variants"]
    assert set(found) == {"width 8, 4 patches", "width 16, 4 patches"}
    for width, row in ((8, found["width 8, 4 patches"]), (16, found["width 16, 4 patches"])):
        # Token and channel mixing, the token set's two MLPs, two heads in one; not the stem.
        mixing = 2 * width * 4 * (width // 2) + 2 * 4 * width * 4 * width
        spatial = width * 5 * (width // 2) + width * (width // 2)
        channel = 4 * (width + 1) * 4 * width + 4 * 4 * width
        heads = 100 * (2 * width + 4)
        assert row["mmac"] * 1e6 == pytest.approx(mixing + spatial + channel + heads, rel=0.1)
        assert row["gmac_per_s"]["int8"] == pytest.approx(row["mmac"] / row["ms"]["int8"])
