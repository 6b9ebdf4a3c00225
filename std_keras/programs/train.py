"""`std-keras train`: trains a student, a baseline or a teacher."""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config import TrainConfig, defaults
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags and trains."""
    parsed = flags.parse(
        arguments,
        program="std-keras train",
        about="Trains a student with teachers, a baseline without, or a teacher. Run the same "
        "command again to continue an interrupted run.",
        options=shared_options.training(),
        defaults=defaults(),
        required=("model_dir",),
    )
    model_dir = parsed.pop("model_dir")
    config = TrainConfig(**parsed)

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training import train

    train(config, model_dir=model_dir, stop=lambda: bool(stop))


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()
