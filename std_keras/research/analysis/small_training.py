"""Trains a model on arrays, from the same start again and again, for comparisons inside analyses.

It is not a recipe: Adam with a cosine down to zero, no augmentation, cross-entropy with the labels
unless another loss is given.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from std_keras.errors import Interrupted

Network = Callable[[tf.Tensor], tf.Tensor]
Loss = Callable[[Network, Network, tf.Tensor, tf.Tensor], tf.Tensor]


class SmallTraining:
    """A model with new weights that can be trained many times, compiled once.

    Args:
        model: gives the architecture: pixels of 0..255 to logits; its weights are not used.
        learning_rate: of Adam, at the start.
        batch_size: examples a step.
        seed: of the new weights.
        loss: the network in training, the same in inference, images (B, H, W, C) float32 and
            labels (B,) to losses (B,).
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        learning_rate: float,
        batch_size: int,
        seed: int = 0,
        loss: Loss | None = None,
    ) -> None:
        keras.utils.set_random_seed(seed)
        self.model = keras.models.clone_model(model)
        self._loss = loss or _label_loss
        self._rate = learning_rate
        self._batch_size = batch_size
        self._optimizer = keras.optimizers.Adam(learning_rate)
        self._optimizer.build(self.model.trainable_variables)
        self._variables = [*self.model.variables, *self._optimizer.variables]
        self._start = [v.numpy() for v in self._variables]
        self._step = tf.function(self._train_step)
        self._predict = tf.function(lambda images: self.model(images, training=False))

    def run(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        epochs: int,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Trains from the start on images (n, H, W, C) uint8 and labels (n,).

        Args:
            images: pixels of 0..255.
            labels: classes.
            epochs: passes; examples that fill no batch are left out of each.
            seed: of the order.
            stop: asked between epochs.

        Raises:
            Interrupted: because of `stop`.
        """
        for variable, value in zip(self._variables, self._start, strict=True):
            variable.assign(value)
        rng = np.random.default_rng(seed)
        size = min(self._batch_size, len(images))
        steps = len(images) // size
        for epoch in range(epochs):
            if stop():
                raise Interrupted("interrupted; nothing was written")
            order = rng.permutation(len(images))[: steps * size].reshape(steps, size)
            for number, rows in enumerate(order):
                done = (epoch * steps + number) / (epochs * steps)
                self._optimizer.learning_rate = self._rate * 0.5 * (1.0 + np.cos(np.pi * done))
                self._step(tf.constant(images[rows]), tf.constant(labels[rows]))

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Fraction of the images whose top class is their label."""
        right = 0
        for start in range(0, len(images), self._batch_size):
            part = slice(start, start + self._batch_size)
            logits = self._predict(tf.cast(images[part], tf.float32))
            right += int(np.sum(np.argmax(logits, axis=1) == labels[part]))
        return right / len(images)

    def _train_step(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            per_example = self._loss(
                lambda x: self.model(x, training=True),
                lambda x: self.model(x, training=False),
                tf.cast(images, tf.float32),
                labels,
            )
            loss = tf.reduce_mean(per_example)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self._optimizer.apply(gradients)


def _label_loss(train: Network, _: Network, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=train(images))
