"""What an analysis says about a model that it cannot look into."""

from __future__ import annotations

from std_keras.errors import InputError


class UnsuitableModelError(InputError):
    """The model of the run has not what is analyzed; `analyze` puts the run in front of it."""
