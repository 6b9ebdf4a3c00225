from __future__ import annotations

import pytest

from std_keras.config import TrainConfig, defaults, options
from std_keras.config.option import Option
from std_keras.config.train_config import GROUPS
from std_keras.errors import InputError
from std_keras.programs import flags

DEFAULTS = defaults()


def parse(*arguments, required=()):
    return flags.parse(
        arguments,
        program="prog",
        about="About.",
        options=options(),
        defaults=DEFAULTS,
        required=required,
    )


def test_without_flags_every_default_is_returned():
    assert TrainConfig(**parse()) == TrainConfig()


def test_every_kind_of_value():
    parsed = parse(
        "--epochs=7",
        "--learning_rate=1e-2",
        "--mixed_precision",
        "--nojit_compile",
        "--tokens=spatial",
        "--teacher=a,site=last",
        "--teacher=b",
        "--dataset=cifar100",
    )
    assert parsed["epochs"] == 7
    assert parsed["learning_rate"] == 0.01
    assert parsed["mixed_precision"] is True
    assert parsed["jit_compile"] is False
    assert parsed["tokens"] == "spatial"
    assert parsed["teacher"] == ("a,site=last", "b")
    assert parsed["dataset"] == "cifar100"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch=3"], r"--epoch is not a flag of prog; did you mean --epochs"),
        (["--xyzzy=3"], r"--xyzzy is not a flag of prog; --help lists all flags"),
        (["--epochs=three"], r"^--epochs=three must be a whole number$"),
        (["--epochs=1.5"], r"^--epochs=1\.5 must be a whole number$"),
        (["--learning_rate=abc"], r"^--learning_rate=abc must be a number$"),
        (["--tokens=all"], r"tokens"),
        (["train"], r"'train' is not a flag"),
        (["--epochs"], r"epochs"),
    ],
)
def test_bad_flags_get_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)


def test_a_required_flag_is_asked_for():
    with pytest.raises(InputError, match="--data_dir is missing"):
        parse(required=("data_dir",))


@pytest.mark.parametrize("argument", ["--help", "-h", "--helpfull"])
def test_help_lists_every_flag_under_its_topic(argument):
    with pytest.raises(flags.HelpRequested) as caught:
        parse(argument)
    text = str(caught.value)
    position = [text.index(f"\n{topic}\n") for topic in [group.topic for group in GROUPS.values()]]
    assert position == sorted(position)
    for name, option in options().items():
        start = text.index(f"\n{option.topic}\n")
        later = [p for p in position if p > start]
        section = text[start : later[0] if later else None]
        assert f"--{name}" in section or f"--[no]{name}" in section
        for choice in option.choices:
            assert choice in section


def test_defaults_do_not_leak_between_calls():
    assert parse("--epochs=7")["epochs"] == 7
    assert parse()["epochs"] == DEFAULTS["epochs"]


def test_flags_of_other_libraries_are_not_flags_of_ours():
    from absl import flags as absl_flags

    known = {"own": Option(topic="T", help="Own.", kind=int)}
    absl_flags.DEFINE_integer("foreign_flag_of_a_library", 1, "Foreign.")
    with pytest.raises(InputError, match="foreign_flag_of_a_library"):
        flags.parse(
            ["--foreign_flag_of_a_library=2"],
            program="p",
            about="",
            options=known,
            defaults={"own": 1},
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dataset="],
        ["--dataset= "],
        ["--dataset", ""],
        ["-dataset="],
        ["--epochs="],
        ["--epochs", ""],
        ["--alpha="],
        ["--tokens="],
        ["--mixed_precision="],
        ["--teacher=a", "--teacher="],
        ["--data_dir=", "--data_dir=x"],
    ],
)
def test_an_empty_value_is_refused_whatever_the_flag_takes(arguments):
    name = next(a for a in arguments if a.strip().endswith("=") or not arguments[-1]).strip(" -=")
    with pytest.raises(InputError) as info:
        parse(*arguments)
    assert str(info.value) == f"--{name} has an empty value; write --{name}=VALUE or leave it out"


def test_an_empty_value_in_a_flag_file(tmp_path):
    (tmp_path / "a.flags").write_text("--epochs=3\n--data_dir=\n")
    with pytest.raises(InputError, match="^--data_dir has an empty value"):
        parse(f"--flagfile={tmp_path / 'a.flags'}")
    with pytest.raises(InputError, match="^--flagfile has an empty value"):
        parse("--flagfile=")


@pytest.mark.parametrize("arguments", [["a", ""], ["", "--epochs=3"], ["--mixed_precision", " "]])
def test_an_empty_word_is_refused(arguments):
    with pytest.raises(InputError, match="^one RUN is empty; name it, or leave it out$"):
        flags.parse(
            arguments,
            program="prog",
            about="About.",
            options=options(),
            defaults=DEFAULTS,
            words="RUN",
        )


def test_an_equals_sign_in_a_value_is_not_an_empty_one():
    assert parse("--dataset=csv:a=")["dataset"] == "csv:a="
