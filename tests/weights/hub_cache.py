"""A cache of the Hugging Face hub, built by hand in the layout that `huggingface_hub` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(
    home: Path,
    name: str,
    files: Mapping[str, bytes],
    *,
    commit: str = COMMIT,
    revision: str = "main",
) -> Path:
    """Puts a repository into a cache: blobs by their checksum, links to them, and the revision.

    Args:
        home: what HF_HOME is to name.
        name: ORG/NAME.
        files: content by name.
        commit: the snapshot's.
        revision: the branch that points to it.

    Returns:
        The snapshot's folder.
    """
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for place in (folder / "blobs", folder / "refs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / digest).write_bytes(content)
        (snapshot / file).symlink_to(Path("../../blobs") / digest)
    (folder / "refs" / revision).write_text(commit)
    return snapshot


def config(architecture: str, **about: object) -> bytes:
    """A `config.json` as timm writes it today."""
    outer = {name: about.pop(name) for name in ("model_args", "label_names") if name in about}
    content = {
        "architecture": architecture,
        "num_classes": about.get("num_classes"),
        "num_features": 12,
        **outer,
        "pretrained_cfg": {
            "tag": "ours",
            "custom_load": False,
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_mode": "center",
            "pool_size": None,
            "first_conv": "stem.proj",
            "classifier": "head",
            **about,
        },
    }
    return json.dumps(content, indent=2).encode()


CARD = b"""---
tags:
- image-classification
- timm
library_name: timm
license: apache-2.0
---
# Model card

license: not this line
"""
