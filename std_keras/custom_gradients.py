"""Custom gradients that are forgotten with the graph that they belong to.

In a graph, `tf.custom_gradient` (GELU, norms and biases in training; TensorFlow's own `silu` and
`recompute_grad`) enters its gradient under a new name into a table of the process and never takes
it out. The gradient knows its tensors, and they know their graph: so every step that was ever
traced, with its constants, would stay in memory until the process ends.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

_NAMED = "CustomGradient-"  # By TensorFlow, with a number behind it.
_KEPT = "custom_gradients"  # The attribute of a graph that holds its gradients.


def leave_to_their_graphs() -> None:
    """Gives the custom gradients in TensorFlow's table to the graphs that they belong to.

    From then on the table knows them as long as something else needs their graph. Gradients of
    these graphs can be asked for as before. Call it when graphs have been made and may go.
    """
    import tensorflow as tf

    # There is no public way to take something out.
    from tensorflow.python.framework import ops

    table = ops.gradient_registry._registry
    for name in [name for name in list(table) if name.startswith(_NAMED)]:
        entry = table.get(name)  # Graphs may go while this loop runs, and their entries with them.
        if entry is None or isinstance(entry["type"], _Weakly):
            continue
        gradient = entry["type"]
        wrapped = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
        if wrapped is None:  # Of a SavedModel: a function of its own, without the graph.
            continue
        results = tf.nest.flatten(inspect.getclosurevars(wrapped).nonlocals["result"])
        graph = next((r.graph for r in results if isinstance(r, tf.Tensor)), None)
        if graph is None:  # Not all results need be tensors.
            continue
        setattr(graph, _KEPT, [*getattr(graph, _KEPT, []), gradient])
        table[name]["type"] = _Weakly(gradient)
        weakref.finalize(graph, table.pop, name, None).atexit = False


class _Weakly:
    """Calls a function that something else holds."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = weakref.ref(function)

    def __call__(self, *arguments: Any) -> Any:
        function = self._function()
        assert function is not None  # The table forgets it with its graph.
        return function(*arguments)
