"""From a configuration to a model: what train, evaluate and export must do alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from std_keras import data, models, teachers
from std_keras.config import TrainConfig
from std_keras.data import DataSet
from std_keras.data.limit import limited
from std_keras.data.source import Progress


def load_data(config: TrainConfig, *, progress: Progress | None = None) -> DataSet:
    """Loads the data set that the configuration names, cut to the examples it asks for."""
    dataset = data.load(
        config.dataset,
        data_dir=config.data_dir,
        image_size=config.image_size,
        validation_fraction=config.validation_fraction,
        data_seed=config.data_seed,
        cache_gb=config.cache_gb,
        corrupt_images=config.corrupt_images,
        progress=progress,
    )
    return limited(dataset, train=config.max_train_examples, test=config.max_test_examples)


def build_model(config: TrainConfig, dataset: DataSet) -> keras.Model:
    """Creates the model with new weights, seeded by `config.seed`.

    With distillation it is a student with a token set per teacher and site; without, it is the
    named model alone, whatever teachers are listed.
    """
    keras.utils.set_random_seed(config.seed)
    common = {
        "input_shape": dataset.image_shape,
        "num_classes": dataset.num_classes,
        "mean": dataset.mean,
        "std": dataset.std,
        **config.model_options(),
    }
    with dtype_policy("mixed_bfloat16" if config.mixed_precision else "float32"):
        if config.distillation == "none":
            return models.create(config.model, **common)
        return models.create_student(
            config.model,
            teacher_sites=[teachers.parse(text).site for text in config.teacher],
            tokens=config.tokens,
            token_mlps=config.token_mlps,
            propagate_tokens=config.propagate_tokens,
            **common,
        )


def default_head(model: keras.Model) -> str:
    """The head that the model itself returns: a student's average, else its only one."""
    return "average" if len(models.head_names(model)) > 1 else "classification"


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras' global dtype policy for the length of the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
