"""The runs of a sweep, in the order in which they are made, each with its full configuration."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from std_keras.config import TrainConfig, defaults, options
from std_keras.errors import InputError
from std_keras.files.described_source import split_source
from std_keras.programs import flags
from std_keras.research.sweeps.spec import Spec

TEACHER = "teacher-"
_TRIAL_TEST_PART = 5  # A trial tests on a fifth of the examples that it trains on.


@dataclass(frozen=True)
class Choices:
    """What the command says about the runs of a sweep.

    Attributes:
        runs_dir: where the run directories, logs and records are put.
        only: arms to make; all if empty.
        validation_fraction: part of train on which the arms are compared; 0 for the test split.
        trial_examples: train every run for one epoch on this many examples; 0 for the real runs.
        extra_flags: on top of every run, the teachers' too.
    """

    runs_dir: Path
    only: tuple[str, ...] = ()
    validation_fraction: float = 0.0
    trial_examples: int = 0
    extra_flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One training run of a sweep.

    Attributes:
        arm: its name; `teacher-NAME` for a teacher.
        seed: of initialisation and dropout.
        config: every flag.
        model_dir: its run directory.
        files: path of its log and record, without their suffixes.
        teachers: the sweep's names of the teachers that it learns from.
    """

    arm: str
    seed: int
    config: TrainConfig
    model_dir: Path
    files: Path
    teachers: tuple[str, ...] = ()

    @property
    def is_teacher(self) -> bool:
        """Whether it is made for the arms to learn from."""
        return self.arm.startswith(TEACHER)

    @property
    def name(self) -> str:
        """What the run is called in lines for a person."""
        return self.arm if self.is_teacher else f"{self.arm} seed {self.seed}"

    @property
    def flags(self) -> str:
        """The flags that shape the result and differ from their defaults, as a string."""
        return shlex.join(arguments_of(self.config, shaping=True))

    @property
    def log(self) -> Path:
        """What the training program says."""
        return self.files.with_name(self.files.name + ".log")

    @property
    def record(self) -> Path:
        """What the sweep knows of the run."""
        return self.files.with_name(self.files.name + ".json")


def runs(spec: Spec, choices: Choices) -> list[Run]:
    """Teachers that the arms need, then all arms with the first seed, then with the second, ...

    Raises:
        InputError: for an arm that does not exist, or a run whose flags do not agree.
    """
    unknown = [name for name in choices.only if name not in spec.arms]
    if unknown:
        raise InputError(
            f"only={unknown[0]} is not an arm of {spec.path}; the arms are {', '.join(spec.arms)}"
        )
    sources = {name: str(_source(spec, name, choices)) for name in spec.teachers}
    arms = [
        _arm(spec, arm, seed, sources, choices)
        for seed in spec.seeds
        for arm in spec.arms
        if not choices.only or arm in choices.only
    ]
    needed = {source for run in arms for source in _sources(run.config, sources.values())}
    teachers: list[Run] = []
    for name in reversed(list(spec.teachers)):  # A teacher's own teachers stand before it.
        if spec.teachers[name].flags is not None and sources[name] in needed:
            run = _teacher(spec, name, sources, choices)
            teachers.insert(0, run)
            needed |= _sources(run.config, sources.values())
    return [*teachers, *arms]


def next_ready(waiting: Sequence[Run], *, running: Sequence[Run]) -> Run | None:
    """The first run that needs nothing of one that is still to be made; None if all must wait.

    Args:
        waiting: runs that were not started, in order.
        running: those that are being made.
    """
    unfinished = {str(run.model_dir) for run in (*waiting, *running)}
    ready = next((run for run in waiting if not _needs(run.config, unfinished) & unfinished), None)
    # If they wait for each other, the training program says what is wrong.
    return ready or (waiting[0] if waiting and not running else None)


def arguments_of(config: TrainConfig, *, shaping: bool = False) -> list[str]:
    """The shortest command line that gives this configuration.

    Args:
        config: the configuration.
        shaping: leave out the flags that do not shape the result.
    """
    arguments = []
    usual = defaults()
    for name, value in config.flat().items():
        option = options()[name]
        if value == usual[name] or (shaping and not option.shapes_result):
            continue
        if option.kind is bool:
            arguments.append(f"--{name}" if value else f"--no{name}")
            continue
        for item in value if option.repeated else (value,):
            arguments.append(f"--{name}={item}")
    return arguments


def _teachers(config: TrainConfig) -> tuple[str, ...]:
    return config.distillation.teachers if config.distillation.uses_teachers else ()


def _needs(config: TrainConfig, planned: Collection[str]) -> set[str]:
    """The run directories, or other sources, that a run begins with, each written one way."""
    start = {config.optimization.initialize_from} if config.optimization.initialize_from else set()
    return {str(Path(source)) for source in _sources(config, planned) | start}


def _sources(config: TrainConfig, planned: Collection[str]) -> set[str]:
    return {split_source(text, planned=planned)[0] for text in _teachers(config)}


def _source(spec: Spec, name: str, choices: Choices) -> str | Path:
    """A trial also trains its own teachers."""
    teacher = spec.teachers[name]
    if teacher.flags is not None and choices.trial_examples:
        return choices.runs_dir / (TEACHER + name)
    return teacher.source


def _teacher(spec: Spec, name: str, sources: dict[str, str], choices: Choices) -> Run:
    own = spec.teacher_flags(name, sources=sources)
    given = [*own, *_trial(choices), *choices.extra_flags]
    config = _config(given, where=f"{spec.path}, teacher {name}")
    return Run(
        arm=TEACHER + name,
        seed=config.optimization.seed,
        config=config,
        model_dir=Path(_source(spec, name, choices)),
        files=choices.runs_dir / (TEACHER + name),
    )


def _arm(spec: Spec, arm: str, seed: int, sources: dict[str, str], choices: Choices) -> Run:
    given = [*spec.arm_flags(arm, seed=seed, sources=sources), *_trial(choices)]
    if choices.validation_fraction:
        given.append(f"--validation_fraction={choices.validation_fraction}")
    given += [*choices.extra_flags, f"--seed={seed}"]
    where = f"{spec.path}, arm {arm}"
    config = _config(given, where=where)
    if spec.teacher_cache and _teachers(config):
        given.append(f"--teacher_cache={choices.runs_dir / 'teacher_cache'}")
        config = _config(given, where=where)
    path = choices.runs_dir / f"{arm}-seed{seed}"
    named = _sources(config, sources.values())
    teachers = tuple(name for name, source in sources.items() if source in named)
    return Run(arm=arm, seed=seed, config=config, model_dir=path, files=path, teachers=teachers)


def _trial(choices: Choices) -> list[str]:
    examples = choices.trial_examples
    if not examples:
        return []
    return [
        "--epochs=1",
        "--warmup_epochs=0",
        f"--max_train_examples={examples}",
        f"--max_test_examples={max(examples // _TRIAL_TEST_PART, 1)}",
        "--log_every_steps=1",
    ]


def _config(arguments: Sequence[str], *, where: str) -> TrainConfig:
    try:
        parsed = flags.parse(
            arguments,
            program="std-keras train",
            about="",
            options=options(),
            defaults=defaults(),
            of_another=True,
        )
        return TrainConfig(**parsed)
    except flags.HelpRequested as error:
        raise InputError(f"{where}: --help is not a flag of a run") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
