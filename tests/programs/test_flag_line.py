from __future__ import annotations

import pytest

from std_keras.errors import InputError
from std_keras.programs import flag_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--epochs=1", "--epochs=1"),
        ("--nojit_compile", "--nojit_compile"),
        ("--epochs=1 # a comment", "--epochs=1"),
        ("--nojit_compile\t# a comment", "--nojit_compile"),
        ("--model_dir=runs/a#1", "--model_dir=runs/a#1"),
        ('--model_dir="runs/a b"', "--model_dir=runs/a b"),
        ("--model_dir='runs/a b'  # why", "--model_dir=runs/a b"),
        ("--model_dir=' a # b '", "--model_dir= a # b "),
        ("--model_dir=''", "--model_dir="),
        ("--model_dir=", "--model_dir="),
        ('"--model_dir=runs/a b"', "--model_dir=runs/a b"),
        ('--teacher="runs/a b",site=last', "--teacher=runs/a b,site=last"),
        ("--dataset=folder:'/my pictures'", "--dataset=folder:/my pictures"),
        (
            "--dataset=folder:/Bob's and Ann's pictures",
            "--dataset=folder:/Bob's and Ann's pictures",
        ),
        ('--model_dir="it\'s"', "--model_dir=it's"),
        ("--model_dir=runs/a b", "--model_dir=runs/a b"),
        (r"--model_dir=a\b", r"--model_dir=a\b"),
        ("--model_dir='a --b=1'", "--model_dir=a --b=1"),
        ("--model_dir=a - b", "--model_dir=a - b"),
        ("--dataset=folder:/Bob\u2019s pictures", "--dataset=folder:/Bob\u2019s pictures"),
        ("--model_dir=lr=[1e-3] run", "--model_dir=lr=[1e-3] run"),
    ],
)
def test_what_a_line_says(line, expected):
    assert flag_line.read(line, where="a.flags, line 1") == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--epochs = 1", "write --name=value"),
        ("--epochs= 1", "blank after ="),
        ("--epochs =1", "without blanks"),
        ("--epochs 1", "without blanks"),
        ("--model_dir=a --seed=1", "two flags"),
        ("--model_dir='a", "not closed"),
        ("--model_dir=\"a' # b", "not closed"),
        ("epochs=1", "is not a flag"),
        ("'epochs=1'", "is not a flag"),
        ("--", "is not a flag"),
        ("--model_dir=\u201ca b\u201d", 'write " or nothing'),
        ("--model_dir=\u2018a\u2019", 'write " or nothing'),
        ("\u00ab--model_dir=a\u00bb", 'write " or nothing'),
        ("\u2013epochs=1", "is not a flag"),
    ],
)
def test_what_is_refused(line, words):
    with pytest.raises(InputError) as info:
        flag_line.read(line, where="a.flags, line 1")
    assert words in str(info.value)
    assert str(info.value).startswith(f"a.flags, line 1: {line!r}")
