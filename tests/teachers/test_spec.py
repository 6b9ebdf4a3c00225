"""The text behind teacher=."""

from __future__ import annotations

import pytest

from std_keras.errors import InputError
from std_keras.teachers import TeacherSpec, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/a", TeacherSpec("runs/a")),
        ("keras:ResNet50", TeacherSpec("keras:ResNet50")),
        ("runs/a,site=both", TeacherSpec("runs/a", site="both")),
        (" runs/a , site = last ", TeacherSpec("runs/a", site="last")),
        ("C=3/x.keras,input=unit", TeacherSpec("C=3/x.keras", input="unit")),
        (
            "x,size=32,output=probabilities,input=imagenet,site=intermediate",
            TeacherSpec("x", "intermediate", "imagenet", "probabilities", 32),
        ),
    ],
)
def test_good(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "names no source"),
        (",site=last", "names no source"),
        ("x,site=middle", "site=middle is not one of last, intermediate, both"),
        ("x,input=float", "input=float is not one of byte, unit, signed, imagenet"),
        ("x,output=classes", "output=classes is not one of logits, probabilities"),
        ("x,size=0", "size=0 is not a number of pixels above 0"),
        ("x,size=-8", "size=-8"),
        ("x,size=8.5", "size=8.5"),
        ("x,size=\N{SUPERSCRIPT TWO}", "size="),
        ("x,colour=red", "'colour=red' is not an option; the options are site=last|inter"),
        ("x,last", "'last' is not an option"),
        ("x,", "'' is not an option"),
        ("runs/a,b", "there is no file or folder of that name, nor of the name runs/a; correct"),
        ("my,net.keras", "there is no file or folder of that name, nor of the name my; correct"),
        ("std_keras:no,net", "'net' is not an option"),
        ("x,site=last,site=both", "site is given twice"),
        ("x,site=", "site= is not one of"),
    ],
)
def test_bad(text, named):
    with pytest.raises(InputError) as info:
        parse(text)
    message = str(info.value)
    assert named in message
    assert message.startswith("teacher=")


def test_a_backbone_has_fewer_options_and_a_near_miss_is_named():
    with pytest.raises(InputError) as info:
        parse("x.keras,inptu=byte", flag="backbone")
    message = str(info.value)
    assert message.startswith("backbone=x.keras,inptu=byte: 'inptu=byte' is not an option")
    assert "did you mean input=?" in message
    assert not any(f"{name}=" in message for name in ("site", "output", "layout", "labels"))
    with pytest.raises(InputError, match="did you mean site=") as info:
        parse("x.keras,sight=last")
    assert "labels=own" in str(info.value)


@pytest.mark.parametrize(
    ("there", "text", "expected"),
    [
        (["a,b"], "a,b", TeacherSpec("a,b")),
        (["a,b"], "a,b,site=both", TeacherSpec("a,b", site="both")),
        (["a", "a,site=both"], "a,site=both", TeacherSpec("a,site=both")),
        (["a"], "a,site=both", TeacherSpec("a", site="both")),
        (["a, b ,c"], "a, b ,c,size=8", TeacherSpec("a, b ,c", size=8)),
        ([" x "], " x ", TeacherSpec(" x ")),
        (["x"], " x ,site=last", TeacherSpec("x")),
    ],
)
def test_the_longest_path_that_is_there_is_the_source(tmp_path, monkeypatch, there, text, expected):
    monkeypatch.chdir(tmp_path)
    for name in there:
        (tmp_path / name).mkdir()
    assert parse(text) == expected
