"""Packed weights as Keras reads them from a folder, `keras.saving.load_model("hf://ORG/NAME")`.

Keras wants the parts of a `.keras` file beside each other, with a description of the layers in
`config.json`. That name is a run's own too, so one file holds both: neither reads the other's keys.
"""

from __future__ import annotations

import json
import zipfile

from std_keras.config import TrainConfig
from std_keras.runs.run_directory import RunDirectory, write_atomically

WEIGHTS, METADATA = "model.weights.h5", "metadata.json"
_LAYERS = "config.json"


def unpack(packed: RunDirectory, config: TrainConfig) -> None:
    """Writes the parts of `model.keras`, and `config.json` with the run's options beside them."""
    with zipfile.ZipFile(packed.model_file) as archive:
        layers = json.loads(archive.read(_LAYERS))
        for name in (WEIGHTS, METADATA):
            (packed.path / name).write_bytes(archive.read(name))
    both = {**json.loads(config.to_json()), **layers}
    write_atomically(packed.config_file, json.dumps(both, indent=2) + "\n")
