"""The program: its flags, what it says, and its exit codes."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras.programs.convert import LAYOUTS
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights import layouts
from tests import processes


@pytest.fixture
def convert(run_command):
    """Runs the command; returns exit code and what it wrote to standard error."""

    def run(*arguments):
        code, _, said = run_command("convert", *arguments)
        return code, said

    return run


@pytest.fixture
def source(tmp_path):
    """A released Mixer in small: 8 pixels, patches of 4, 6 channels, one block, 3 classes."""
    norms = [f"MixerBlock_0/LayerNorm_{i}" for i in (0, 1)] + ["pre_head_layer_norm"]
    shapes = {f"{norm}/{name}": (6,) for norm in norms for name in ("scale", "bias")}
    shapes |= {"stem/kernel": (4, 4, 3, 6), "stem/bias": (6,)}
    shapes |= {"head/kernel": (6, 3), "head/bias": (3,)}
    for part, size, inner in (("token", 4, 3), ("channel", 6, 24)):
        for number, pair in enumerate(((size, inner), (inner, size))):
            dense = f"MixerBlock_0/{part}_mixing/Dense_{number}"
            shapes |= {f"{dense}/kernel": pair, f"{dense}/bias": pair[1:]}
    arrays = {name: np.full(shape, 0.1, "float32") for name, shape in shapes.items()}
    path = tmp_path / "mixer.npz"
    np.savez(path, **arrays)
    return path


MODEL = ("--model=mixer_b16", "--patch_size=4", "--width=6", "--depth=1")


def test_converts(convert, source, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    output = tmp_path / "run"
    code, said = convert(
        f"--source={source}", f"--output={output}", *MODEL, f"--labels={labels}", "--mean=0.4"
    )
    assert code == 0, said
    assert "npz, the .npz files released with the paper" in said
    assert "18 weights loaded" in said
    run = RunDirectory(output)
    assert run.read_labels() == ("a", "b", "c")
    assert run.read_result()["origin"]["mean"] == [0.4, 0.4, 0.4]
    assert run.read_config().model.gelu == "tanh"


def test_a_contradiction_is_one_sentence_unless_partial_loads_are_allowed(
    convert, source, tmp_path
):
    arguments = (f"--source={source}", f"--output={tmp_path / 'run'}", *MODEL, "--depth=2")
    code, said = convert(*arguments)
    assert code == 2
    last = said.splitlines()[-1]
    assert last.startswith("error: --depth=2 contradicts --source=")
    assert "leave --depth out, or use --allow_partial" in last
    assert not (tmp_path / "run").exists()
    code, said = convert(*arguments, "--allow_partial")
    assert code == 0
    assert len([line for line in said.splitlines() if "missing: block_1/" in line]) == 12
    assert "missing: block_1/token_norm/gamma" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--source is missing"),
        (("--source=/nowhere.pth", "--output=/x", "--model=mixer_s17"), "--model=mixer_s17"),
        (("--source=/nowhere.pth", "--output=/x", *MODEL), "/nowhere.pth cannot be read"),
        (("--source=/nowhere.pth", "--output=/x", *MODEL, "--mean=a"), "--mean=a must be"),
        (("--source=/nowhere.pth", "--output=/x", *MODEL, "--format=zip"), "format"),
    ],
)
def test_bad_flags_exit_2_with_one_sentence(convert, arguments, words):
    code, said = convert(*arguments)
    assert code == 2
    assert words in said.splitlines()[-1]
    assert "Traceback" not in said


def test_the_help_names_every_layout(run_command):
    code, page, _ = run_command("convert", "--help")
    assert code == 0
    assert "--[no]allow_partial" in page
    assert "--stochastic_depth" not in page
    assert sorted(LAYOUTS) == sorted({layout.name for layout in layouts.LAYOUTS})


def test_a_hostile_file_from_the_command_line(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "weights.pth"
    path.write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    given = (f"--source={path}", f"--output={tmp_path / 'run'}", *MODEL)
    done = processes.run("-m", "std_keras", "convert", *given)
    assert done.returncode == 2
    assert "not a PyTorch file" in done.stderr
    assert not marker.exists()
