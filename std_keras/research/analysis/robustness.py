"""Labels against a teacher's classes and logits, on clean and on adversarial images.

Two adversarial images are told apart (Tian 2020, talk "Understanding Deep Models with
Teacher-Student Setting"): data adversarial x' = argmax L[f(x'), y] keeps the label of the image it
came from; oracle adversarial x' = argmax L[f(x'), f*(x')] is where student f and oracle f* disagree
most, both asked at x'. A student can learn from either, by classes or by logits (squared error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from std_keras import losses
from std_keras.research.analysis import ccat, pgd
from std_keras.research.analysis.small_training import Loss, Network


@dataclass(frozen=True)
class RobustTraining:
    """The trainings that are compared.

    Attributes:
        teacher: the oracle f*, images of 0..255 to logits, through which gradients reach images.
        attack: on training images.
        rho: ρ of CCAT.
    """

    teacher: Network
    attack: pgd.Attack
    rho: float = 10.0

    def losses(self) -> dict[str, Loss]:
        """By name, what `SmallTraining` takes: (network in training, in inference, x, y) to (B,).

        Adversarial images are made with the network in inference mode.
        """
        return {
            "labels": lambda train, _, x, y: _label_loss(train(x), y),
            "classes": lambda train, _, x, y: losses.hard_distillation(train(x), self.teacher(x)),
            "logits": lambda train, _, x, y: squared_error(train(x), self.teacher(x)),
            "labels, data adversarial": self._data_adversarial,
            "classes, oracle adversarial": self._oracle_classes,
            "logits, oracle adversarial": self._oracle_logits,
            "labels, CCAT": self._ccat,
        }

    def _data_adversarial(
        self, train: Network, infer: Network, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        worst = pgd.maximize(lambda x: _label_loss(infer(x), labels), images, self.attack)
        return _label_loss(train(worst), labels)

    def _oracle_classes(
        self, train: Network, infer: Network, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        worst = pgd.maximize(lambda x: disagreement(infer(x), self.teacher(x)), images, self.attack)
        return losses.hard_distillation(train(worst), self.teacher(worst))

    def _oracle_logits(
        self, train: Network, infer: Network, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        worst = pgd.maximize(
            lambda x: squared_error(infer(x), self.teacher(x)), images, self.attack
        )
        return squared_error(train(worst), self.teacher(worst))

    def _ccat(
        self, train: Network, infer: Network, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """The first half of the batch stays clean, the second half is attacked."""
        half = images.shape[0] // 2
        clean, attacked = images[:half], images[half:]
        own = labels[half:]
        worst = pgd.maximize(lambda x: ccat.wrong_confidence(infer(x), own), attacked, self.attack)
        logits = train(tf.concat([clean, worst], axis=0))
        share = ccat.share_of_label(worst - attacked, epsilon=self.attack.epsilon, rho=self.rho)
        targets = ccat.smoothed_targets(own, share, num_classes=logits.shape[-1])
        return tf.concat(
            [
                _label_loss(logits[:half], labels[:half]),
                losses.cross_entropy(logits[half:], targets),
            ],
            axis=0,
        )


def squared_error(logits: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """Mean over classes of the squared difference of logits: (B,)."""
    return tf.reduce_mean((logits - teacher_logits) ** 2, axis=-1)


def disagreement(logits: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """KL(softmax(teacher) ‖ softmax(student)), (B,), in nats; gradients flow into both."""
    log_p, log_q = tf.nn.log_softmax(teacher_logits), tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


@dataclass(frozen=True)
class Robustness:
    """What a network does on n images; fractions.

    Attributes:
        top1: right on clean images.
        agreement: decides as the oracle does on clean images.
        top1_linf: right on data adversarial images in the L∞ ball.
        top1_l2: top-1 under attack in the L2 ball.
        judged_linf: of the data adversarial images in the L∞ ball, those that the judge still
            gives the label: what remains recognisable to another network.
        agreement_oracle: decides as the oracle does at the same oracle adversarial image.
        threshold: confidence that 99 % of the right decisions on clean images reach.
        error_confident: robust error at that threshold under the attack on confidence.
        error_all: the same without rejection.
    """

    top1: float
    agreement: float
    top1_linf: float
    top1_l2: float
    judged_linf: float
    agreement_oracle: float
    threshold: float
    error_confident: float
    error_all: float


@dataclass(frozen=True)
class Judgement:
    """How networks are attacked and by whom they are judged.

    Attributes:
        teacher: the oracle f*.
        judge: an independent network, or the oracle itself.
        linf: the attack in the L∞ ball.
        l2: the attack in the L2 ball.
    """

    teacher: Network
    judge: Network
    linf: pgd.Attack
    l2: pgd.Attack

    def adversarial(
        self, network: Network, images: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The four kinds of adversarial images of a batch by name."""

        def wrong(x: tf.Tensor) -> tf.Tensor:
            return _label_loss(network(x), labels)

        return {
            "linf": pgd.maximize(wrong, images, self.linf),
            "l2": pgd.maximize(wrong, images, self.l2),
            "oracle": pgd.maximize(
                lambda x: disagreement(network(x), self.teacher(x)), images, self.linf
            ),
            "confidence": pgd.maximize(
                lambda x: ccat.wrong_confidence(network(x), labels), images, self.linf
            ),
        }

    def logits(
        self, network: Network, images: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """What everybody says about a batch and its adversarial images, by name."""
        clean = tf.cast(images, tf.float32)
        found = self.adversarial(network, clean, labels)
        return {
            "clean": network(clean),
            "teacher": self.teacher(clean),
            **{name: network(x) for name, x in found.items()},
            "teacher_oracle": self.teacher(found["oracle"]),
            "judge_linf": self.judge(found["linf"]),
        }


def summarize(logits: dict[str, np.ndarray], labels: np.ndarray) -> Robustness:
    """The metrics of n images from their logits, as `Judgement.logits` names them."""
    decided = {name: values.argmax(axis=1) for name, values in logits.items()}
    sure = {name: _confidence(logits[name]) for name in ("clean", "confidence")}
    wrong = {name: decided[name] != labels for name in ("clean", "confidence")}
    threshold = ccat.acceptance_threshold(sure["clean"], ~wrong["clean"])

    def error(limit: float) -> float:
        return ccat.thresholded_error(
            clean_wrong=wrong["clean"],
            clean_confidence=sure["clean"],
            adversarial_wrong=wrong["confidence"],
            adversarial_confidence=sure["confidence"],
            threshold=limit,
        )

    return Robustness(
        top1=float(np.mean(decided["clean"] == labels)),
        agreement=float(np.mean(decided["clean"] == decided["teacher"])),
        top1_linf=float(np.mean(decided["linf"] == labels)),
        top1_l2=float(np.mean(decided["l2"] == labels)),
        judged_linf=float(np.mean(decided["judge_linf"] == labels)),
        agreement_oracle=float(np.mean(decided["oracle"] == decided["teacher_oracle"])),
        threshold=threshold,
        error_confident=error(threshold),
        error_all=error(0.0),
    )


def _confidence(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return 1.0 / np.exp(shifted).sum(axis=1)


def _label_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
