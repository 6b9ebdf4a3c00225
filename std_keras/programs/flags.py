"""Turns option definitions into absl flags, parses them, and prints help by topic."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags as absl_flags

from std_keras.config.option import Option, check_value
from std_keras.errors import InputError
from std_keras.programs import flag_names, flagfiles

_LARGEST = 2**31  # TensorFlow counts shapes, steps and seeds with 32 bits in places.


class HelpRequested(Exception):
    """`--help` was given; the message is the help to print."""


def parse(
    arguments: Sequence[str],
    *,
    program: str,
    about: str,
    options: Mapping[str, Option],
    defaults: Mapping[str, Any],
    required: Sequence[str] = (),
    words: str = "",
    single: bool = False,
    of_another: bool = False,
) -> dict[str, Any]:
    """Parses command-line arguments, flag files included, and checks every value.

    Args:
        arguments: without the program's name.
        program: name of the program, for the help text.
        about: what it does, for the help text.
        options: the flags.
        defaults: the value of each flag when it is not given.
        required: flags that must be given.
        words: what arguments that are not flags are called, if the program takes any; then at
            least one must be given.
        single: no more than one of them.
        of_another: the arguments are for another program, which this one starts.

    Returns:
        A value for every flag; repeatable ones as tuples, and so the `words`.

    Raises:
        HelpRequested: if help was asked for.
        InputError: for an unknown flag, a value of the wrong kind or outside the option's limits,
            a missing flag, or words that are not flags.
    """
    flag_names.know(options, too=of_another)
    repeated = [name for name, option in options.items() if option.repeated]
    expanded = flagfiles.expand(arguments, repeated=repeated)
    if any(a in ("--help", "-help", "-h", "--helpfull", "--helpshort", "-?") for a in expanded):
        raise HelpRequested(
            help_text(
                program=program,
                about=about,
                options=options,
                defaults=defaults,
                words=words,
                single=single,
            )
        )
    _refuse_empty(expanded, options, words)
    values = absl_flags.FlagValues()
    values.set_gnu_getopt(bool(words))  # Flags may come after the words, too.
    for name, option in options.items():
        _define(values, name, option, defaults.get(name))
    try:
        rest = values([program, *expanded])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, options, n=3)
        hint = f"did you mean --{' or --'.join(near)}?" if near else "--help lists all flags"
        raise InputError(f"--{error.flagname} is not a flag of {program}; {hint}") from error
    except absl_flags.Error as error:
        if isinstance(error.__context__, InputError):  # Of `_Number`.
            raise error.__context__ from None
        raise InputError(" ".join(str(error).split())) from error
    if rest and not words:
        raise InputError(f"{rest[0]!r} is not a flag; write every argument as --name=value")
    parsed = {name: values[name].value for name in options}
    for name in repeated:
        parsed[name] = tuple(parsed[name] or ())
    for name, value in parsed.items():
        _check(name, options[name], value)
    for name in required:
        if parsed[name] in (None, ()):
            raise InputError(f"--{name} is missing; {options[name].help}")
    if words:
        usage = f"usage: {_usage(program, words, single=single)}"
        if not rest:
            raise InputError(f"{words} is missing; {usage}")
        if single and len(rest) > 1:
            raise InputError(f"{rest[1]!r} is unexpected: only one {words} is allowed; {usage}")
        parsed[words] = tuple(rest)
    return parsed


def _refuse_empty(arguments: Sequence[str], options: Mapping[str, Option], words: str) -> None:
    """A shell makes an empty value of a variable that is not set; as a path, it would be the
    working directory."""
    waiting = ""  # The flag whose value comes next.
    for argument in arguments:
        name, equals, value = argument.partition("=")
        flag = name.lstrip("-") if name.startswith("-") else ""
        if not argument.strip() and waiting:
            flag, equals = waiting, "="
        if flag in options and equals and not value.strip():
            raise InputError(f"--{flag} has an empty value; write --{flag}=VALUE or leave it out")
        if not argument.strip() and words:
            raise InputError(f"one {words} is empty; name it, or leave it out")
        takes_next = flag in options and not equals and options[flag].kind is not bool
        waiting = flag if takes_next else ""


def _check(name: str, option: Option, value: Any) -> None:
    """Checks every value against its option's limits; errors name the flag."""
    if value is None:  # Not given, and without a default.
        return
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise InputError(f"--{name}={value} is too large; use at most {_LARGEST - 1}")
    check_value(f"--{name}", option, value)


def _usage(program: str, words: str, *, single: bool) -> str:
    usage = f"{program} --name=value ..."
    return f"{usage} {words}{'' if single else ' ...'}" if words else usage


class _Number(absl_flags.ArgumentParser):
    """A parser of absl's whose errors are ours: it passes on what Python says."""

    def __init__(self, flag: str, parser: absl_flags.ArgumentParser, wanted: str) -> None:
        self._flag, self._parser, self._wanted = flag, parser, wanted

    def parse(self, argument: Any) -> Any:
        try:
            return self._parser.parse(argument)
        except (ValueError, TypeError) as error:
            raise InputError(f"--{self._flag}={argument} {self._wanted}") from error

    def flag_type(self) -> str:
        return self._parser.flag_type()


def _define(values: absl_flags.FlagValues, name: str, option: Option, default: Any) -> None:
    keywords: dict[str, Any] = {"name": name, "default": default, "help": option.help}
    keywords["flag_values"] = values
    if option.repeated:
        keywords["default"] = list(default or ())
        absl_flags.DEFINE_multi_string(**keywords)
    elif option.kind is bool:
        absl_flags.DEFINE_bool(**keywords)
    elif option.kind is int:
        parser = _Number(name, absl_flags.IntegerParser(), "must be a whole number")
        absl_flags.DEFINE(parser, **keywords)
    elif option.kind is float:
        parser = _Number(name, absl_flags.FloatParser(), "must be a number")
        absl_flags.DEFINE(parser, **keywords)
    elif option.choices:
        absl_flags.DEFINE_enum(enum_values=list(option.choices), **keywords)
    else:
        absl_flags.DEFINE_string(**keywords)


def help_text(
    *,
    program: str,
    about: str,
    options: Mapping[str, Option],
    defaults: Mapping[str, Any],
    words: str = "",
    single: bool = False,
) -> str:
    """The help page: flags grouped by topic, each with its choices and default."""
    lines = [*textwrap.wrap(about, 98), "", f"Usage: {_usage(program, words, single=single)}", ""]
    lines.append("--flagfile=FILE reads flags from a file, one a line; later flags override.")
    topics = list(dict.fromkeys(option.topic for option in options.values()))
    for topic in topics:
        lines += ["", topic]
        for name, option in options.items():
            if option.topic != topic:
                continue
            head = f"  --{name}" if option.kind is not bool else f"  --[no]{name}"
            if option.choices:
                head += "=" + "|".join(option.choices)
            default = defaults.get(name)
            text = option.help
            if default not in (None, (), ""):
                shown = str(default).lower() if isinstance(default, bool) else default
                text += f" Default: {shown}."
            lines.append(head)
            lines += textwrap.wrap(text, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
