"""Does the order of patches and pixels matter: Mixer and convnet, trained on shuffled images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from std_keras import models, progress
from std_keras.errors import InputError
from std_keras.research.analysis import permutation
from std_keras.research.analysis.small_training import SmallTraining
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study

_ORIGINAL, _PATCHES, _GLOBAL = "original", "patches and pixels", "all pixels"


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """The exact identity on the trained weights, then trainings from new weights."""
    seed = parsed["shuffle_seed"]
    model = chosen.subject.model
    assert model is not None
    shuffle = permutation.PatchShuffle.draw(
        image_size=chosen.dataset.image_shape[0],
        patch_size=permutation.mixer_patch_size(model),
        seed=seed,
    )
    test_images, test_labels = chosen.source("test").take()
    identity = _identity(chosen, test_images, test_labels, shuffle)
    ways = {
        _ORIGINAL: lambda images: images,
        _PATCHES: lambda images: permutation.shuffle_patches(images, shuffle),
        _GLOBAL: lambda images: permutation.shuffle_pixels(images, seed=seed),
    }
    trained: dict[str, dict[str, float]] = {}
    count = 0
    if parsed["train_epochs"]:
        images, labels = chosen.to_train_on(parsed["train_examples"]).take()
        count = len(labels)
        for name, network in _networks(chosen).items():
            training = SmallTraining(
                network,
                learning_rate=parsed["train_learning_rate"],
                batch_size=chosen.batch_size,
            )
            trained[name] = {}
            for way, change in ways.items():
                progress.say(f"training {name} on images with {way}")
                training.run(
                    change(images), labels, epochs=parsed["train_epochs"], stop=chosen.stop
                )
                trained[name][way] = training.accuracy(change(test_images), test_labels)
    example = test_images[0]
    return Result(
        section=page.Section(
            name="permutation",
            title="Order of patches and pixels",
            subject=chosen.described(len(test_labels))
            + (f"; trained on {count} images" if trained else ""),
            blocks=_blocks(
                identity,
                trained,
                {way: change(example[None])[0] for way, change in ways.items()},
                parsed["train_epochs"],
            ),
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "identity": identity,
            "train_examples": count,
            "epochs": parsed["train_epochs"],
            "trained_top1": trained,
        },
    )


def _networks(chosen: Study) -> dict[str, Any]:
    """The class head of the model and of each other, whose architectures are trained anew."""
    own = chosen.subject.model
    assert own is not None
    networks = {chosen.subject.name: models.prediction_model(own, head=_HEAD)}
    for other in chosen.others:
        if other.model is None or other.model.input_shape != own.input_shape:
            raise InputError(
                f"--against={other.name} cannot be trained here: it must be a Keras model that "
                f"takes images of {own.input_shape[1:]}, such as a run directory "
                "on the same data"
            )
        networks[other.name] = models.prediction_model(other.model, head=_HEAD)
    return networks


_HEAD = "classification"


def _identity(
    chosen: Study, images: np.ndarray, labels: np.ndarray, shuffle: permutation.PatchShuffle
) -> dict[str, float]:
    """Logits of the permuted weights on shuffled images against the original's."""
    model = chosen.subject.model
    assert model is not None
    permuted = permutation.permuted_weights(model, shuffle)
    size = chosen.batch_size

    def logits(network: Any, some: np.ndarray) -> np.ndarray:
        return network.predict(some.astype(np.float32), batch_size=size, verbose=0)

    shuffled = permutation.shuffle_patches(images, shuffle)
    original, undone = logits(model, images), logits(permuted, shuffled)
    lost = logits(model, shuffled)
    return {
        "largest_logit_difference": float(np.abs(original - undone).max()),
        "largest_logit": float(np.abs(original).max()),
        "top1": float(np.mean(original.argmax(1) == labels)),
        "top1_shuffled_images_and_weights": float(np.mean(undone.argmax(1) == labels)),
        "top1_shuffled_images_alone": float(np.mean(lost.argmax(1) == labels)),
    }


def _blocks(
    identity: Mapping[str, float],
    trained: Mapping[str, Mapping[str, float]],
    examples: Mapping[str, np.ndarray],
    epochs: int,
) -> list[page.Block]:
    shown = figures.image_grid(
        [image.squeeze() / 255.0 for image in examples.values()],
        title="One image, three orders",
        columns=3,
        signed=False,
        captions=list(examples),
    )
    pictures = [page.Picture("images", shown, "The same permutations for all images.", 400)]
    blocks: list[page.Block] = [
        page.Text(
            "A Mixer does not know where a patch is: when patches, and the pixels inside of each, "
            "are permuted in the same way in all images, permuted weights give the same logits "
            "(Tolstikhin et al. 2021, arXiv 2105.01601, section 3.4). The difference below is "
            "rounding."
        ),
        page.Table(
            ["on the trained weights", ""],
            [
                ["largest difference of a logit", f"{identity['largest_logit_difference']:.1e}"],
                ["largest logit", identity["largest_logit"]],
                ["top-1", page.percent(identity["top1"])],
                [
                    "top-1, shuffled images and weights",
                    page.percent(identity["top1_shuffled_images_and_weights"]),
                ],
                [
                    "top-1, shuffled images alone",
                    page.percent(identity["top1_shuffled_images_alone"]),
                ],
            ],
        ),
    ]
    if trained:
        groups = {
            name: {way: (top1, 0.0) for way, top1 in found.items()}
            for name, found in trained.items()
        }
        drawn = figures.bars(groups, title="Trained on shuffled images", axis="test top-1")
        pictures.append(page.Picture("trained", drawn, "Test accuracy by the order of the pixels."))
        ways = list(examples)
        blocks += [
            page.Text(
                f"New weights, {epochs} epochs of Adam without augmentation: a comparison of "
                "orders, not a recipe. With a patch shuffle the Mixer should lose nothing but "
                "chance; a shuffle of all pixels takes what its patches hold together.",
                title="Trained on shuffled images",
            ),
            page.Table(
                ["model", *ways],
                [[n, *(page.percent(found[w]) for w in ways)] for n, found in trained.items()],
            ),
        ]
    return [*blocks, page.Pictures(pictures)]
