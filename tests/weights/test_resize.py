from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import load_trained
from std_keras.weights import resize_run
from std_keras.weights.initialize import input_normalization
from std_keras.weights.run import write_run

SMALL = {"patch_size": 4, "width": 6, "depth": 3, "layer_norm_epsilon": 1e-5}
TINY = {"input_shape": (8, 8, 3), "num_classes": 5, "mean": 0.4, "std": 0.3}


def fill(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(7)
    for weight in model.weights:
        values = rng.normal(size=weight.shape) / max(np.prod(weight.shape[:-1]), 4) ** 0.5
        weight.assign(values + (1.0 if "gamma" in weight.path else 0.0))
    return model


@pytest.fixture
def trained(tmp_path):
    """Writes a run of a small Mixer or of a student around it."""

    def write(*, sites=(), **student):
        config = TrainConfig(
            dataset="digits",
            image_size=8,
            ema_decay=0.9,
            **SMALL,
            **(
                {
                    "distillation": "hard",
                    "teacher": tuple(f"x,site={site}" for site in sites),
                    **student,
                }
                if sites
                else {}
            ),
        )
        if sites:
            model = models.create_student(
                "mixer_s16", **TINY, **SMALL, teacher_sites=sites, **student
            )
        else:
            model = models.create("mixer_s16", **TINY, **SMALL)
        run = RunDirectory(tmp_path / "old")
        write_run(
            run, model=fill(model), config=config, label_names=tuple("abcde"), origin={"kind": "x"}
        )
        return run.path

    return write


def images(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def tiles_of(pixels, side):
    """(B, H, W, C) -> (tiles, B, side, side, C)."""
    k = pixels.shape[1] // side
    cut = pixels.reshape(len(pixels), k, side, k, side, 3).transpose(1, 3, 0, 2, 4, 5)
    return cut.reshape(k * k, len(pixels), side, side, 3)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_class_logits_are_the_mean_over_the_tiles(trained, tmp_path, times):
    old = load_trained(trained())
    done = resize_run(tmp_path / "old", output=tmp_path / "new", image_size=8 * times)
    assert done.exact
    new = load_trained(tmp_path / "new")
    pixels = images(4, 8 * times)
    expected = np.mean([old(tile) for tile in tiles_of(pixels, 8)], axis=0)
    assert expected.std() > 0.05
    np.testing.assert_allclose(new(pixels), expected, atol=1e-5)
    assert done.run.read_config().model.token_mlp_dim == 3 * times**2


@pytest.mark.parametrize(
    ("sites", "student"),
    [
        (("last",), {}),
        (("intermediate", "last"), {"token_mlps": 2}),
        (("both",), {"propagate_tokens": True}),
        (("last",), {"tokens": "spatial"}),
        (("last",), {"tokens": "channel"}),
        (("last",), {"tokens": "none"}),
    ],
)
def test_every_head_is_equal_on_tiled_images(trained, tmp_path, sites, student):
    old = load_trained(trained(sites=sites, **student))
    done = resize_run(tmp_path / "old", output=tmp_path / "new", image_size=24)
    new = load_trained(tmp_path / "new")
    assert models.head_names(new) == models.head_names(old)
    pixels = images(3, 8)
    expected = models.heads_model(old)(pixels)
    heads = models.heads_model(new)(np.tile(pixels, (1, 3, 3, 1)))
    for name, logits in expected.items():
        assert np.std(logits) > 0.05
        np.testing.assert_allclose(heads[name], logits, atol=1e-5, err_msg=name)
    assert ("T_S" in " ".join(done.notes)) is (student.get("tokens") != "none")


def test_the_channel_token_alone_is_the_mean_on_any_image(trained, tmp_path):
    old = load_trained(trained(sites=("last",), tokens="channel"))
    resize_run(tmp_path / "old", output=tmp_path / "new", image_size=16)
    pixels = images(3, 16)
    expected = [
        models.heads_model(old)(tile)["distillation_0_last"] for tile in tiles_of(pixels, 8)
    ]
    heads = models.heads_model(load_trained(tmp_path / "new"))(pixels)
    np.testing.assert_allclose(heads["distillation_0_last"], np.mean(expected, 0), atol=1e-5)


def test_interpolation_says_that_it_is_an_approximation(trained, tmp_path):
    old = load_trained(trained(sites=("last",)))
    done = resize_run(tmp_path / "old", output=tmp_path / "new", image_size=12)
    assert not done.exact
    assert "approximation" in done.notes[0]
    assert done.run.read_result()["origin"]["token_mixing"] == "interpolated"
    new = load_trained(tmp_path / "new")
    assert done.run.read_config().model.token_mlp_dim == 3
    # An image of one colour has equal features everywhere in the stem.
    colour = images(5, 1)
    small, large = np.tile(colour, (1, 8, 8, 1)), np.tile(colour, (1, 12, 12, 1))
    stems = [keras.Model(m.input, m.get_layer("patches").output) for m in (old, new)]
    np.testing.assert_allclose(stems[0](small)[:, 0], stems[1](large)[:, 0], atol=1e-5)
    assert new(large).shape == (5, 5)


def test_interpolation_to_the_same_size_changes_nothing(trained, tmp_path):
    old = load_trained(trained(sites=("both",)))
    resize_run(tmp_path / "old", output=tmp_path / "new", image_size=8, token_mixing="interpolated")
    pixels = images(3, 8)
    np.testing.assert_allclose(load_trained(tmp_path / "new")(pixels), old(pixels), atol=1e-5)


def test_packed_weights_and_other_families(tmp_path):
    done = resize_run("std_keras:cifar100_cpu_student", output=tmp_path / "new", image_size=64)
    assert done.exact
    assert done.run.read_config().model.token_mlp_dim == 4 * 64
    model = fill(models.create("gmlp_s16", **TINY, **SMALL))
    run = RunDirectory(tmp_path / "gmlp")
    config = TrainConfig(model="gmlp_s16", **SMALL)
    write_run(run, model=model, config=config, label_names=tuple("abcde"), origin={})
    done = resize_run(run.path, output=tmp_path / "large", image_size=16)
    pixels = images(2, 16)
    expected = np.mean([model(tile) for tile in tiles_of(pixels, 8)], axis=0)
    assert done.exact
    np.testing.assert_allclose(load_trained(done.run.path)(pixels), expected, atol=1e-4)


def test_the_run_directory(trained, tmp_path):
    done = resize_run(trained(), output=tmp_path / "new", image_size=16)
    config = done.run.read_config()
    assert (config.data.image_size, config.data.dataset, config.optimization.ema_decay) == (
        16,
        "digits",
        0.0,
    )
    assert done.run.read_labels() == tuple("abcde")
    origin = done.run.read_result()["origin"]
    assert (origin["kind"], origin["image_size_before"], origin["image_size"]) == ("resized", 8, 16)
    mean, std = input_normalization(load_trained(done.run.path).to_json())
    assert mean == pytest.approx([0.4] * 3)
    assert std == pytest.approx([0.3] * 3)


def test_a_new_head(trained, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    old = load_trained(trained(sites=("last",)))
    done = resize_run(
        tmp_path / "old", output=tmp_path / "new", image_size=8, num_classes=2, labels=labels
    )
    new = load_trained(tmp_path / "new")
    assert new.output_shape == (None, 2)
    assert done.run.read_labels() == ("cat", "dog")
    assert done.run.read_config().data.dataset == ""
    assert "not trained" in done.notes[-1]
    for name in ("block_2", "tokens_0_last", "final_norm"):
        for a, b in zip(old.get_layer(name).weights, new.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"image_size": 18}, "not divisible by the model's patches of 4 pixels"),
        ({"image_size": 12, "token_mixing": "block_diagonal"}, "not an integer multiple of 2x2"),
        ({"image_size": 100_000}, r"^image_size=100000 is 25000x25000 patches, .* weights, more"),
        ({"image_size": 10**6, "token_mixing": "interpolated"}, "^image_size=1000000 is"),
        ({"image_size": 16, "token_mixing": "best"}, "token_mixing=best"),
    ],
)
def test_sizes_that_do_not_fit(trained, tmp_path, more, words):
    with pytest.raises(InputError, match=words):
        resize_run(trained(), output=tmp_path / "new", **more)
    assert not (tmp_path / "new").exists()


def test_other_models_are_refused(trained, tmp_path):
    with pytest.raises(InputError, match="source=.*not a run directory"):
        resize_run(tmp_path / "none", output=tmp_path / "new", image_size=16)
    model = models.create("cifar_resnet20", **TINY, depth=8)
    run = RunDirectory(tmp_path / "resnet")
    config = TrainConfig(model="cifar_resnet20", depth=8)
    write_run(run, model=model, config=config, label_names=tuple("abcde"), origin={})
    with pytest.raises(InputError, match="is a cifar_resnet20; only the weights of a Mixer"):
        resize_run(run.path, output=tmp_path / "new", image_size=16)
    trained(sites=("last",), tokens="deit")
    with pytest.raises(InputError, match="tokens=deit"):
        resize_run(tmp_path / "old", output=tmp_path / "new", image_size=16)
