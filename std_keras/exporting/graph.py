"""The graph that a phone runs: equal to the Keras model, with as few operators as it takes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from std_keras.exporting.deferred import Graph
from std_keras.exporting.rewrites import rule_of


class InferenceGraph:
    """A functional Keras model, computed with its linear parts put together.

    - Scale and shift of LayerNorm and Affine are in the kernel of the dense layer that follows on
      the same axis; those before token mixing are not, since that runs along the other axis.
    - The normalisation of pixels is in the stem, if that pads nothing.
    - Heads that are averaged are one matmul.
    - What does not depend on the image is a constant, computed in float64.
    - A LayerNorm that two readers of the same features need is computed once.

    Layers that are not known here are called as they are.

    Args:
        model: as `inference_model` returns it; images (B, H, W, C) to logits (B, num_classes).
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.input_shape = model.input_shape
        self.name = model.name

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        graph = Graph()

        def operation(layer: Any) -> Any:
            rule = rule_of(layer)

            def run(*args: Any, **kwargs: Any) -> Any:
                if rule is None:
                    return _call(layer, graph, args, kwargs)
                with tf.name_scope(layer.name):
                    return rule(layer, graph, *args, **_without_training(kwargs))

            return run

        output = self.model._run_through_graph(images, operation_fn=operation)
        return graph.compute(output)


def _call(layer: Any, graph: Graph, args: Any, kwargs: Any) -> Any:
    args, kwargs = keras.tree.map_structure(graph.compute, (args, kwargs))
    return layer(*args, **kwargs)


def _without_training(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in ("training", "mask")}
