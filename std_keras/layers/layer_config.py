"""Changes in the serialised configuration of a layer or model."""

from __future__ import annotations

from typing import Any


def with_precision(config: Any, policy: str, *, instead_of: str | None = None) -> Any:
    """A configuration with the dtype policies of the layer and of all inside it replaced.

    Args:
        config: what `get_config` returns.
        policy: name of the new policy.
        instead_of: the only policy to replace; None for all.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            if instead_of not in (None, config["config"].get("name")):
                return config
            return {**config, "config": {"name": policy}}
        return {
            name: with_precision(value, policy, instead_of=instead_of)
            for name, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(with_precision(v, policy, instead_of=instead_of) for v in config)
    return config
