from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.errors import InputError
from tests.models import torch_state
from tests.oracles import import_timm

OPTIONS = {"patch_size": 4, "width": 12, "depth": 3, "head_dim": 4}
IMAGE = {"input_shape": (16, 16, 3), "num_classes": 5}


@pytest.fixture
def distilled(randomize) -> keras.Model:
    return randomize(models.create("deit_s16_distilled", **IMAGE, **OPTIONS))


@pytest.mark.parametrize("name", ["deit_s16", "deit_s16_distilled"])
@pytest.mark.parametrize("shape", [(16, 16, 3), (8, 12, 1)])
def test_equals_timm(rng, randomize, name, shape):
    timm = import_timm()
    torch = pytest.importorskip("torch")
    model = randomize(models.create(name, input_shape=shape, num_classes=5, **OPTIONS))
    state = torch_state.TorchState(torch)
    state.put_array("cls_token", model.get_layer("class_token").token[None])
    state.put_array("pos_embed", model.get_layer("position_embedding").position_embedding[None])
    state.put("patch_embed.proj", model.get_layer("stem"))
    for i in range(3):
        torch_state.transformer_block(state, f"blocks.{i}", model.get_layer(f"block_{i}"))
    state.put("norm", model.get_layer("final_norm"))
    state.put("head", model.get_layer("classification"))
    reference_class = timm.vision_transformer.VisionTransformer
    if name.endswith("distilled"):
        reference_class = timm.deit.VisionTransformerDistilled
        state.put_array("dist_token", model.get_layer("distillation_token").token[None])
        state.put("head_dist", model.get_layer("distillation_0_last"))
    reference = reference_class(
        img_size=shape[:2],
        patch_size=4,
        in_chans=shape[2],
        embed_dim=12,
        depth=3,
        num_heads=3,
        num_classes=5,
    )
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    expected = torch_state.logits(torch, reference, state, pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


def test_layer_names_are_a_contract():
    model = models.create("deit_s16", **IMAGE, **OPTIONS)
    layer_names = [layer.name for layer in model.layers]
    blocks = [f"block_{i}" for i in range(3)]
    for name in ("normalization", "stem", *blocks, "final_norm", "pool", "classification"):
        assert name in layer_names
    assert models.head_names(model) == ("classification",)
    assert models.sites(model) == {"last": "block_2", "intermediate": "block_1"}


def test_a_distilled_model_has_two_heads_and_returns_their_mean(distilled, images, reload):
    for model in (distilled, reload(distilled)):
        assert models.head_names(model) == ("classification", "distillation_0_last")
        heads = models.heads_model(model)(images)
        mean = (heads["classification"] + heads["distillation_0_last"]) / 2
        np.testing.assert_allclose(model(images), mean, atol=1e-6)
        assert np.abs(heads["classification"] - heads["distillation_0_last"]).max() > 0.05


def test_the_heads_read_their_own_tokens(distilled, images):
    layers = ("final_norm", "pool", "distillation_token_features")
    outputs = keras.Model(distilled.input, [distilled.get_layer(name).output for name in layers])
    tokens, class_token, distillation_token = outputs(images)
    np.testing.assert_array_equal(tokens[:, 0], class_token)
    np.testing.assert_array_equal(tokens[:, 1], distillation_token)


@pytest.mark.parametrize("name", ["deit_s16", "deit_s16_distilled"])
def test_a_student_with_a_distillation_token_is_the_distilled_model(distilled, images, name):
    student = models.create_student(name, **IMAGE, **OPTIONS, teacher_sites=["last"], tokens="deit")
    assert models.head_names(student) == models.head_names(distilled)
    student.set_weights(distilled.get_weights())
    heads = models.heads_model(distilled)(images)
    for head, logits in models.heads_model(student)(images).items():
        np.testing.assert_array_equal(logits, heads[head])


def test_a_student_with_a_second_head_reads_the_class_token(images, randomize):
    student = models.create_student(
        "deit_s16", **IMAGE, **OPTIONS, teacher_sites=["last"], tokens="none"
    )
    outputs = models.heads_model(randomize(student))(images)
    head = student.get_layer("distillation_0_last")
    features = keras.Model(student.input, student.get_layer("pool").output)(images)
    expected = np.asarray(features) @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(outputs[head.name], expected, atol=1e-5)


@pytest.mark.parametrize("tokens", ["both", "spatial"])
def test_token_sets_read_the_patches_and_not_the_class_token(images, randomize, reload, tokens):
    student = models.create_student(
        "deit_s16", **IMAGE, **OPTIONS, teacher_sites=["last"], tokens=tokens
    )
    randomize(student)
    for model in (student, reload(student)):
        block = keras.Model(model.input, model.get_layer("block_2").output)
        features = np.asarray(block(images))
        assert features.shape == (4, 17, 12)
        token_set = model.get_layer("tokens_0_last")
        outputs = models.training_model(model)(images)["tokens_0_last"]
        for name, token in token_set(features[:, 1:]).items():
            np.testing.assert_allclose(outputs[name], token, atol=1e-5)


@pytest.mark.parametrize("tokens", ["both", "none"])
def test_a_distilled_model_is_a_student_by_its_token_alone(tokens):
    message = f"tokens={tokens}: deit_s16_distilled .* tokens=deit, or model=deit_s16$"
    with pytest.raises(InputError, match=message):
        models.create_student(
            "deit_s16_distilled", **IMAGE, **OPTIONS, teacher_sites=["last"], tokens=tokens
        )


def test_a_distilled_model_learns_from_labels_with_both_heads(distilled, images):
    training = models.training_model(distilled, with_teachers=False)
    assert set(training.output) == {"classification"}
    with tf.GradientTape() as tape:
        logits = training(images)["classification"]
        loss = tf.reduce_sum(logits**2)
    np.testing.assert_array_equal(logits, distilled(images))
    heads = [distilled.get_layer(name).kernel for name in models.head_names(distilled)]
    for gradient in tape.gradient(loss, [kernel.value for kernel in heads]):
        assert np.any(gradient)


def test_stochastic_depth_ramps():
    model = models.create("deit_s16", **IMAGE, **OPTIONS, stochastic_depth=0.3)
    rates = [model.get_layer(f"block_{i}").stochastic_depth for i in range(3)]
    assert rates == pytest.approx([0.0, 0.15, 0.3])


def test_initialisation():
    model = models.create("deit_s16", **IMAGE, **{**OPTIONS, "width": 128})
    block = model.get_layer("block_1")
    denses = [block.attention.qkv, block.mlp.hidden_dense, block.mlp.output_dense]
    for dense in [*denses, model.get_layer("classification")]:
        # Keras cuts at two standard deviations, which leaves 0.88 of them.
        assert dense.kernel.numpy().std() == pytest.approx(0.88 * 0.02, rel=0.06)
        assert not np.any(dense.bias.numpy())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deit_s16", {"width": 100}, "width=100: must be a multiple of 64"),
        ("deit_s16", {"patch_size": 5}, "patch_size=5: image size 16 is not divisible by it"),
        ("deit_s16", {"depth": 0}, "depth=0: must be at least 1"),
        ("deit_s16", {"shortcut": "identity"}, "`shortcut` does not apply to deit_s16"),
        ("deit_s16_distilled", {"token_mlp_dim": 4}, "`token_mlp_dim` does not apply"),
    ],
)
def test_bad_input_gets_a_sentence(name, options, message):
    with pytest.raises(InputError, match=message):
        models.create(name, **IMAGE, **options)
