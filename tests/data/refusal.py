"""How a data set is refused."""

from __future__ import annotations

from typing import Any

import pytest

from std_keras.data import load
from std_keras.errors import InputError


def refusal(name: str, **options: Any) -> str:
    """The one sentence with which `load` refuses."""
    with pytest.raises(InputError) as caught:
        load(name, **{"image_size": 8, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message
