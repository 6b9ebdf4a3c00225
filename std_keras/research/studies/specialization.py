"""Which nodes of the student are nodes of the teacher; and the two-layer experiment behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models
from std_keras.errors import InputError, Interrupted
from std_keras.research.analysis import specialization
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study, restored
from std_keras.training import build
from std_keras.training.checkpoints import checkpoint_steps

_FINAL = "model.keras"


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """Correlations of the last blocks, over training; then the synthetic experiment."""
    other = chosen.others[0]
    if other.model is None:
        raise InputError(
            f"--against={other.name} is a SavedModel, whose layers cannot be reached; name a run "
            "directory, a .keras file or keras:NAME"
        )
    teacher_nodes = _nodes(other.model)
    images = chosen.source("test").take()[0]
    taught = _activations(chosen, teacher_nodes, images, other.inputs)
    best: dict[str, np.ndarray] = {}
    final: dict[str, Any] = {}
    for name, model in _moments(chosen):
        if chosen.stop():
            raise Interrupted("interrupted; nothing was written")
        rho = specialization.correlation(
            taught, _activations(chosen, _nodes(model), images, chosen.subject.inputs)
        )
        best[name] = specialization.best_matches(rho)
        final = {"specialized": specialization.specialized(rho), "student_nodes": rho.shape[1]}
    synthetic = None
    if parsed["synthetic_steps"]:
        options = specialization.SyntheticOptions(steps=parsed["synthetic_steps"])
        synthetic = specialization.synthetic_two_layer(options)
    return Result(
        section=page.Section(
            name="specialization",
            title="Specialization of nodes",
            subject=chosen.described(len(images)),
            blocks=[*_real_blocks(best, final, other.name), *_synthetic_blocks(synthetic)],
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "against": other.name,
            "examples": len(images),
            "mean_best_correlation": {name: float(b.mean()) for name, b in best.items()},
            "best_correlation": best,
            **final,
            "synthetic": None
            if synthetic is None
            else {
                "steps": synthetic.steps,
                "best": synthetic.best,
                "first_step": synthetic.first_step(),
                "loss": synthetic.loss,
            },
        },
    )


def _nodes(model: keras.Model) -> keras.Model:
    """The channels of the last block, their mean over places: images to (B, N)."""
    try:
        layer = models.sites(model)["last"]
    except ValueError as error:
        raise InputError(
            f"{model.name} has no layers called block_0, block_1, ..., whose channels are the "
            "nodes that are compared; name a run directory of this project"
        ) from error
    features = model.get_layer(layer).output
    axes = tuple(range(1, len(features.shape) - 1))
    return keras.Model(model.input, keras.ops.mean(features, axis=axes))


def _activations(chosen: Study, nodes: keras.Model, images: np.ndarray, inputs: Any) -> np.ndarray:
    function = tf.function(lambda some: nodes(inputs(some), training=False))
    size = chosen.batch_size
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return np.concatenate([function(tf.constant(part)).numpy() for part in parts])


def _moments(chosen: Study) -> Any:
    """Models by name: the start, every kept checkpoint (raw weights), and the model itself."""
    if not chosen.config.optimization.initialize_from:
        yield "step 0", build.build_model(chosen.config, chosen.dataset)
    architecture = chosen.run.architecture_file.read_text(encoding="utf-8")
    model = keras.models.model_from_json(architecture)
    for step in checkpoint_steps(chosen.run.checkpoints):
        if restored(chosen, model, step):
            yield f"step {step}", model
    yield _FINAL, chosen.subject.model


def _real_blocks(
    best: Mapping[str, np.ndarray], final: Mapping[str, Any], teacher: str
) -> list[page.Block]:
    drawn = figures.histogram(
        best, title="Best match of each teacher node", x="largest correlation", bins=20
    )
    counts = final["specialized"]
    return [
        page.Text(
            "For every channel of the last block of the teacher the most correlated channel of the "
            "last block of the student, over the images, each channel by its mean over places "
            "(Tian 2020, arXiv 1909.13458). Wide students match by chance too: compare with "
            "step 0, whose weights are random."
        ),
        page.Pictures(
            [page.Picture("histogram", drawn, f"Largest correlation of each channel of {teacher}.")]
        ),
        page.Table(
            ["weights", "mean of the largest correlation", "smallest", "largest"],
            [[n, float(b.mean()), float(b.min()), float(b.max())] for n, b in best.items()],
        ),
        page.Text(f"At the end, of {final['student_nodes']} student channels:"),
        page.Table(["correlation of at least", *counts], [["channels", *counts.values()]]),
    ]


def _synthetic_blocks(run: specialization.SyntheticRun | None) -> list[page.Block]:
    if run is None:
        return []
    nodes = {
        f"node {j + 1}": (run.steps, run.best[:, j].tolist()) for j in range(run.best.shape[1])
    }
    curves = dict(list(nodes.items())[:8])
    drawn = figures.lines(
        curves, title="Two layers: strong nodes first", x="step", y="largest correlation"
    )
    points = {
        "student nodes": [
            ("", float(m), float(v)) for m, v in zip(run.matched, run.outgoing, strict=True)
        ]
    }
    cloud = figures.scatter(
        points, title="Who does the work", x="largest correlation", y="norm of outgoing weights"
    )
    first = [f"{step}" if step is not None else "not reached" for step in run.first_step()]
    return [
        page.Text(
            "The experiment of the paper in NumPy: a student five times as wide learns the outputs "
            "of a two-layer ReLU network whose node j has outgoing weights of norm 1/j. Nodes of "
            "the student align with those of the teacher, the strong ones first; what does not "
            "align keeps small outgoing weights.",
            title="The two-layer experiment",
        ),
        page.Pictures(
            [
                page.Picture("synthetic", drawn, "Best match of the strongest teacher nodes."),
                page.Picture("outgoing", cloud, "Each student node at the end."),
            ]
        ),
        page.Table(
            ["teacher node", *(str(j + 1) for j in range(len(first)))],
            [["first step with a correlation of 0.9", *first]],
        ),
    ]
