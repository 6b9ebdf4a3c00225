"""One line of a flag file: what a shell would do about quotes and comments, and nothing else.

A value may hold blanks without quotes, and a backslash is a character like any other, so that a
line says what it says when it is read.
"""

from __future__ import annotations

import re

from std_keras.errors import InputError

_TYPOGRAPHIC = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
_NAME = re.compile(r"--?\w[\w.-]*(?==|$)")


def read(line: str, *, where: str) -> str:
    """The flag of a line: without quotes, and without a comment behind it.

    Quotes go where a word begins (`--a="x y"`, `"--a=x y"`, `--a='x',b=1`); one that follows a
    letter or digit is an apostrophe. A comment begins with ` #`; `#` inside a word is part of it.

    Args:
        line: stripped, neither empty nor a comment.
        where: the file and the line's number, for errors.

    Raises:
        InputError: for what is not a flag, blanks around `=`, an open quote, or a second flag.
    """
    text, is_quoted = _unquoted(line, where=where)
    if not text.startswith("-"):
        raise InputError(f"{where}: {line!r} is not a flag; write --name=value or # comment")
    name = _NAME.match(text)
    if name is None:
        raise InputError(f"{where}: {line!r} is not a flag; write --name=value without blanks")
    begin = name.end() + 1
    for position in range(begin, len(text)):
        if is_quoted[position] or not text[position].isspace():
            continue
        if position == begin:
            raise InputError(f"{where}: {line!r} has a blank after =; write --name=value")
        if re.match(r"\s--\w", text[position:]):
            raise InputError(f"{where}: {line!r} has two flags; write one a line")
    return text


def _unquoted(line: str, *, where: str) -> tuple[str, list[bool]]:
    """The line without quotes and comment, and which of its characters were in quotes."""
    text: list[str] = []
    is_quoted: list[bool] = []
    position = 0
    while position < len(line):
        character, before = line[position], line[position - 1 : position]
        if character == "#" and before.isspace():
            break
        if character in "\"'" and not before.isalnum():
            end = line.find(character, position + 1)
            if end < 0:
                raise InputError(f"{where}: {line!r} has a quote that is not closed")
            text += line[position + 1 : end]
            is_quoted += [True] * (end - position - 1)
            position = end + 1
            continue
        if character in _TYPOGRAPHIC and before in ("=", ""):
            raise InputError(
                f"{where}: {line!r} has the quote {character}, as a word processor writes it; "
                'write " or nothing'
            )
        text.append(character)
        is_quoted.append(False)
        position += 1
    while text and text[-1].isspace() and not is_quoted[-1]:
        text.pop(), is_quoted.pop()
    return "".join(text), is_quoted
