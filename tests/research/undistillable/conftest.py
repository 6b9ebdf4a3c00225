"""The fixtures of models and of training serve here too."""

from tests.models.conftest import images, reload, rng
from tests.training.conftest import eagerly, plain_graphs, teacher_run

__all__ = ["eagerly", "images", "plain_graphs", "reload", "rng", "teacher_run"]
