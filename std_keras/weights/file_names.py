"""What files of weights are called by the tools that write them."""

from __future__ import annotations

# In a folder, in the order of preference.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
