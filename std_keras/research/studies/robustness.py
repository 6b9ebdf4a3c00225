"""Labels or logits: the same student trained from either, on clean and on adversarial images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models, progress
from std_keras.errors import InputError, Interrupted
from std_keras.research.analysis import predictions
from std_keras.research.analysis.pgd import Attack
from std_keras.research.analysis.robustness import Judgement, Robustness, RobustTraining, summarize
from std_keras.research.analysis.small_training import Network, SmallTraining
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study

_AS_TRAINED = "model.keras"
_BARS = {
    "clean": "top1",
    "data adversarial, L∞": "top1_linf",
    "data adversarial, L2": "top1_l2",
    "agrees, clean": "agreement",
    "agrees, oracle adversarial": "agreement_oracle",
}


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """The trained model as it is, then a new student for each way of training."""
    own = chosen.subject.model
    assert own is not None
    oracle = chosen.others[0]
    judge = chosen.others[1] if len(chosen.others) > 1 else oracle
    example = chosen.source("test").take()[0][:2]
    networks = {c.name: _network(c, example) for c in (oracle, judge)}
    judgement = Judgement(
        teacher=networks[oracle.name],
        judge=networks[judge.name],
        linf=Attack(parsed["epsilon"], parsed["attack_steps"]),
        l2=Attack(parsed["epsilon_l2"], parsed["attack_steps"], norm="l2"),
    )
    images, labels = chosen.source("test").take()
    found = {
        _AS_TRAINED: _measured(chosen, judgement, _network(chosen.subject, example), images, labels)
    }
    student = models.prediction_model(own, head="classification")
    count = 0
    if parsed["train_epochs"]:
        train_images, train_labels = chosen.to_train_on(parsed["train_examples"]).take()
        count = len(train_labels)
        ways = RobustTraining(
            teacher=judgement.teacher,
            attack=Attack(parsed["epsilon"], parsed["train_attack_steps"]),
            rho=parsed["rho"],
        ).losses()
        for name, loss in ways.items():
            progress.say(f"training from {name}")
            training = SmallTraining(
                student,
                learning_rate=parsed["train_learning_rate"],
                batch_size=chosen.batch_size,
                loss=loss,
            )
            training.run(
                train_images, train_labels, epochs=parsed["train_epochs"], stop=chosen.stop
            )
            found[name] = _measured(chosen, judgement, _inference(training.model), images, labels)
    shown = _pictures(judgement, _network(chosen.subject, example), images, labels, parsed)
    return Result(
        section=page.Section(
            name="robustness",
            title="Labels or logits, clean or adversarial",
            subject=chosen.described(len(labels))
            + (f"; trained on {count} images" if count else ""),
            blocks=_blocks(found, shown, oracle.name, judge.name, parsed),
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "oracle": oracle.name,
            "judge": judge.name,
            "examples": len(labels),
            "train_examples": count,
            "epochs": parsed["train_epochs"],
            "epsilon": parsed["epsilon"],
            "epsilon_l2": parsed["epsilon_l2"],
            "attack_steps": parsed["attack_steps"],
            "train_attack_steps": parsed["train_attack_steps"],
            "rho": parsed["rho"],
            "found": {name: dataclasses.asdict(measured) for name, measured in found.items()},
        },
    )


def _network(classifier: predictions.Classifier, example: np.ndarray) -> Network:
    """Images of 0..255 to logits, with gradients; `Classifier.predict` has none for teachers."""
    model = classifier.model
    if model is not None:
        # A student decides with the average of its heads; any other model by what it returns.
        decide = _inference(models.prediction_model(model, head=_decides(model)))

        def network(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(decide(classifier.inputs(images)), tf.float32)

        said = classifier.predict(classifier.inputs(tf.constant(example)))[classifier.main_head]
        if np.allclose(said, network(tf.constant(example)), rtol=1e-3, atol=1e-3):
            return network
    raise InputError(
        f"--against={classifier.name} cannot be attacked: that needs the gradient of a Keras "
        "model that returns logits; name a run directory"
    )


def _decides(model: keras.Model) -> str:
    return "average" if len(models.head_names(model)) > 1 else "classification"


def _inference(model: keras.Model) -> Network:
    return lambda images: model(images, training=False)


def _measured(
    chosen: Study, judgement: Judgement, network: Network, images: np.ndarray, labels: np.ndarray
) -> Robustness:
    function = tf.function(lambda x, y: judgement.logits(network, x, y))
    size = chosen.batch_size
    parts: list[dict[str, np.ndarray]] = []
    batches = range(0, len(labels), size)
    for start in progress.track(batches, total=len(batches), what="attacked images"):
        if chosen.stop():
            raise Interrupted("interrupted; nothing was written")
        part = slice(start, start + size)
        said = function(tf.constant(images[part]), tf.constant(labels[part]))
        parts.append({name: values.numpy() for name, values in said.items()})
    return summarize({n: np.concatenate([p[n] for p in parts]) for n in parts[0]}, labels)


def _pictures(
    judgement: Judgement,
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    parsed: Mapping[str, Any],
) -> bytes | None:
    """Some images with what the attacks on the trained model make of them, row by row."""
    count = min(parsed["images"], len(labels))
    if not count:
        return None
    clean = tf.cast(images[:count], tf.float32)
    found = judgement.adversarial(network, clean, tf.constant(labels[:count]))
    rows = [clean, found["linf"], found["l2"], found["oracle"]]
    return figures.image_grid(
        [image.squeeze() / 255.0 for row in rows for image in np.asarray(row)],
        title="Clean; data adversarial L∞, L2; oracle adversarial",
        columns=count,
        signed=False,
    )


def _blocks(
    found: Mapping[str, Robustness],
    shown: bytes | None,
    oracle: str,
    judge: str,
    parsed: Mapping[str, Any],
) -> list[page.Block]:
    groups = {
        name: {bar: (getattr(measured, field), 0.0) for bar, field in _BARS.items()}
        for name, measured in found.items()
    }
    drawn = figures.bars(groups, title="Right, or as the oracle", axis="fraction of test images")
    pictures = [page.Picture("accuracy", drawn, "By way of training.")]
    if shown is not None:
        pictures.append(
            page.Picture(
                "images", shown, f"The attacks on {_AS_TRAINED}: what is seen hardly changes."
            )
        )
    percent = page.percent
    return [
        page.Text(
            f"{_AS_TRAINED} is the model as it was trained. The others are its class head's "
            f"architecture with new weights, {parsed['train_epochs']} epochs of Adam without "
            f"augmentation, from labels, from the classes of {oracle} (the oracle), or from its "
            "logits by squared error: a comparison of targets, not a recipe. Data adversarial "
            "images make the student wrong about the label; oracle adversarial ones make it differ "
            "from the oracle, both asked at the changed image (Tian 2020, arXiv 1909.13458, and "
            f"its talk). Projected gradient ascent, {parsed['attack_steps']} steps, radius "
            f"{parsed['epsilon']:g} of 255 for L∞ and {parsed['epsilon_l2']:g} for L2. "
            f"Last column: how often {judge} gives the data adversarial images (L∞) their label."
        ),
        page.Table(
            ["trained from", *_BARS, "judge sees label"],
            [
                [n, *(percent(getattr(f, b)) for b in _BARS.values()), percent(f.judged_linf)]
                for n, f in found.items()
            ],
        ),
        page.Text(
            "CCAT (Stutz et al. 2020, arXiv 1910.06259) teaches to be unsure near an image: the "
            "farther the adversarial image, the nearer its target to the uniform distribution. "
            "What is less sure than 99 % of the right decisions on clean images is rejected; the "
            "attack maximises the confidence in a wrong class.",
            title="With rejection",
        ),
        page.Table(
            ["trained from", "threshold", "robust error of what is accepted", "without rejection"],
            [
                [n, f.threshold, percent(f.error_confident), percent(f.error_all)]
                for n, f in found.items()
            ],
        ),
        page.Pictures(pictures),
    ]
