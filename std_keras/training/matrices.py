"""Which variables of a model are hidden matrices, by what they do in it."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from std_keras.layers import GroupedConv2D


def hidden_matrices(model: keras.Model) -> list[keras.Variable]:
    """Kernels that map hidden features to hidden features, in the order of the model's variables.

    They are the kernels of dense layers and of convolutions over all channels that have a layer
    with a kernel before them and one after them: token and channel mixing, attention, the MLPs of
    token sets, the convolutions of a residual network. So neither the stem nor any head is among
    them; nor are biases, norms, tokens and position embeddings, which are no kernels; nor the
    kernels of depthwise and grouped convolutions, which are many small matrices.

    Args:
        model: functional; one of another kind has none.
    """
    before, after = _with_kernels_around(model)
    found = [
        kernel
        for layer in model.layers
        if id(layer) in before and id(layer) in after
        for kernel in _matrices(layer)
    ]
    wanted = {id(kernel) for kernel in found}
    return [variable for variable in model.trainable_variables if id(variable) in wanted]


def _with_kernels_around(model: keras.Model) -> tuple[set[int], set[int]]:
    """Layers, by identity, that have a layer with a kernel before them, and after them."""
    links = list(_links(model))
    kernels = {id(layer) for layer in model.layers if any(_kernels(layer))}
    return _reached(kernels, links), _reached(kernels, [(b, a) for a, b in links])


def _links(model: keras.Model) -> Iterable[tuple[int, int]]:
    """Which operation's result is read by which, by identity."""
    for operation in getattr(model, "operations", ()):
        for node in operation._inbound_nodes:
            for parent in node.parent_nodes:
                yield id(parent.operation), id(operation)


def _reached(start: set[int], links: list[tuple[int, int]]) -> set[int]:
    """What lies behind any of `start` along the links."""
    reached: set[int] = set()
    new = start
    while new:
        new = {reader for source, reader in links if source in new} - reached
        reached |= new
    return reached


def _kernels(layer: keras.layers.Layer) -> Iterable[tuple[keras.layers.Layer, keras.Variable]]:
    for part in layer._flatten_layers():
        kernel = getattr(part, "kernel", None)
        if isinstance(kernel, keras.Variable):
            yield part, kernel


def _matrices(layer: keras.layers.Layer) -> Iterable[keras.Variable]:
    for part, kernel in _kernels(layer):
        whole = isinstance(part, (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D))
        many = isinstance(part, GroupedConv2D) or getattr(part, "groups", 1) > 1
        if whole and not many and kernel.trainable:
            yield kernel
