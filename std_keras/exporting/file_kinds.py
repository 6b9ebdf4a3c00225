"""The kinds of TFLite files by name, for what loads no TensorFlow too."""

from __future__ import annotations

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "int4")
INPUT_TYPES = ("uint8", "float32")
