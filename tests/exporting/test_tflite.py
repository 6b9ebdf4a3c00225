"""The interpreter is used bare here, so that nothing of the package judges itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from std_keras.errors import InputError
from std_keras.exporting import convert, count_ops, inference_model, xnnpack_partitions
from std_keras.exporting.flatbuffer import compact, named_ops


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    """Logits by the file's named signature."""
    serve = Interpreter(model_content=content).get_signature_runner("serving_default")
    return np.concatenate([serve(images=image[None])["logits"] for image in images])


def arguments(quantization: str, images: np.ndarray) -> dict:
    extra = {"representative_images": images} if quantization in ("int8", "int4") else {}
    return {"quantization": quantization, **extra}


@pytest.fixture(scope="module")
def average(student):
    return inference_model(student, head="average")


@pytest.fixture(scope="module")
def files(average, images) -> dict[str, bytes]:
    """Each of the same float32 file; what has none at hand is compared below."""
    float32 = convert(average, quantization="float32")
    quantized = {
        q: convert(average, **arguments(q, images), float32_content=float32)
        for q in ("float16", "dynamic", "int8", "int4")
    }
    return {"float32": float32, **quantized}


# Relative to the largest logit: half precision keeps 11 bits; int8 weights and activations 8 each,
# through four mixing MLPs and the token MLPs; of int4 weights, 4.
@pytest.mark.parametrize(
    ("quantization", "tolerance"),
    [("float32", 1e-5), ("float16", 2e-3), ("dynamic", 0.05), ("int8", 0.15), ("int4", 0.5)],
)
def test_a_file_equals_the_keras_model(files, average, images, quantization, tolerance):
    expected = np.asarray(average(images.astype(np.float32)))
    got = run(files[quantization], images)
    difference = np.abs(got - expected).max() / np.abs(expected).max()
    assert difference < tolerance
    assert expected.std(axis=0).min() > 1e-3  # The images are told apart at all.
    if quantization != "float32":
        assert difference > 1e-6  # It was quantised.


def test_a_convolutional_model_converts(resnet, images):
    expected = np.asarray(resnet(images.astype(np.float32)))
    content = convert(inference_model(resnet, head="classification"), quantization="float32")
    np.testing.assert_allclose(run(content, images), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("head", ["confidence", "distillation", "distillation_0_intermediate"])
def test_other_heads_convert(student, images, head):
    model = inference_model(student, head=head)
    content = convert(model, quantization="float32")
    np.testing.assert_allclose(run(content, images), model(images.astype(np.float32)), atol=1e-4)


def test_float_input_takes_the_same_pixels(average, files, images):
    content = convert(average, quantization="float32", input_type="float32")
    details = Interpreter(model_content=content).get_input_details()[0]
    assert details["dtype"] is np.float32
    got = run(content, images.astype(np.float32))
    np.testing.assert_allclose(got, run(files["float32"], images), atol=1e-5)
    assert "CAST" in count_ops(files["float32"])
    assert "CAST" not in count_ops(content)


def test_names_shapes_and_types(files):
    for content in files.values():
        interpreter = Interpreter(model_content=content)
        assert interpreter.get_signature_list() == {
            "serving_default": {"inputs": ["images"], "outputs": ["logits"]}
        }
        (image,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert image["dtype"] is np.uint8
        assert logits["dtype"] is np.float32
        assert list(image["shape_signature"]) == [1, 8, 8, 1]
        assert list(logits["shape_signature"]) == [1, 10]


def test_only_static_shapes(files):
    for content in files.values():
        graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
        tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        assert len(tensors) > 50
        assert not [t.Name() for t in tensors if not t.ShapeSignatureIsNone()]


def test_ops_are_builtin_and_as_many_as_the_architecture_says(files):
    ops = count_ops(files["float32"])
    # Two MLPs per block and two per token set, all with an exact GELU that stays one operator.
    assert ops["GELU"] == 2 * 2 + 2 * 2
    # Two dense layers in each of them, and three heads.
    assert ops["FULLY_CONNECTED"] == 2 * 8 + 3
    # To token mixing and back in each block; into the spatial MLP of each token set.
    assert ops["TRANSPOSE"] == 2 * 2 + 2
    assert "CUSTOM" not in str(ops)
    names = Interpreter(model_content=files["float32"])._get_ops_details()
    assert sum(ops.values()) == sum(op["op_name"] != "DELEGATE" for op in names)


def test_an_unused_token_set_is_not_in_the_file(student, files):
    alone = convert(inference_model(student, head="classification"), quantization="float32")
    assert len(alone) < 0.7 * len(files["float32"])
    assert count_ops(alone)["GELU"] == 2 * 2
    assert count_ops(alone)["FULLY_CONNECTED"] == 2 * 4 + 1


def test_quantised_files_are_smaller_by_what_their_weights_save(average, files):
    parameters = average.count_params()
    kernels = sum(w.numpy().size for w in average.weights if w.path.endswith("kernel"))
    float32 = len(compact(files["float32"]))
    saved = {q: float32 - len(content) for q, content in files.items()}
    # Less than 2 and 3 bytes a weight: operators that expand halves, and scales, take some back.
    assert 1.5 * parameters < saved["float16"] < 2 * parameters
    assert 2.2 * kernels < saved["dynamic"] < 3 * kernels
    assert 2 * kernels < saved["int8"] < saved["dynamic"]


def test_an_operator_that_tflite_lacks_is_named():
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Lambda(_bicubic, output_shape=(4, 4, 1))(image)
    x = keras.layers.Flatten()(x)
    model = keras.Model(image, keras.layers.Dense(10)(x), name="odd")
    with pytest.raises(InputError, match=r"model odd .*ResizeBicubic.*not a builtin"):
        convert(model, quantization="float32")


def _bicubic(x):
    import tensorflow as tf

    return tf.image.resize(x, (4, 4), "bicubic")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int2"}, "quantization='int2'"),
        ({"quantization": "float32", "input_type": "int8"}, "input_type='int8'"),
        ({"quantization": "int8"}, "representative_images"),
        ({"quantization": "int4"}, "representative_images"),
    ],
)
def test_bad_arguments(average, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(average, **arguments)


def details(content: bytes) -> dict[str, tuple[str, type]]:
    """Operator and type of what it reads first, by the name of what it returns."""
    interpreter = Interpreter(model_content=content)
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    return {
        tensors[op["outputs"][0]]["name"]: (op["op_name"], tensors[op["inputs"][0]]["dtype"])
        for op in interpreter._get_ops_details()
        if op["op_name"] != "DELEGATE" and len(op["inputs"])
    }


def test_int8_measures_ranges_along_the_patches_and_leaves_norms_in_float(files):
    for name, (op, reads) in details(files["int8"]).items():
        if op == "FULLY_CONNECTED":
            along_patches = "token_mlp" in name or "spatial_mlp" in name
            assert reads is (np.int8 if along_patches else np.float32), name
        elif op in ("MEAN", "RSQRT", "SUB", "ADD", "MUL", "GELU"):
            assert reads is np.float32, name


@pytest.mark.parametrize("quantization", ["dynamic", "int8"])
def test_weights_are_int8_per_output_channel(files, quantization):
    interpreter = Interpreter(model_content=files[quantization])
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    kernels = [
        tensors[op["inputs"][1]]
        for op in interpreter._get_ops_details()
        if op["op_name"] in ("FULLY_CONNECTED", "CONV_2D")
    ]
    assert len(kernels) == 2 * 8 + 3 + 1
    for kernel in kernels:
        assert kernel["dtype"] is np.int8
        assert len(kernel["quantization_parameters"]["scales"]) == kernel["shape"][0]


def test_int4_is_for_matmuls_along_the_channels_with_an_even_number_of_inputs(files):
    """XNNPACK takes no others with 4 bits; along the patches there are few weights."""
    graph = schema.Model.GetRootAs(files["int4"], 0).Subgraphs(0)
    kinds = [kind for _, kind in named_ops(files["int4"])]
    four = 0
    for number, kind in enumerate(kinds):
        if kind in ("FULLY_CONNECTED", "CONV_2D"):
            op = graph.Operators(number)
            name = (graph.Tensors(op.Outputs(0)).Name() or b"").decode()
            kernel = graph.Tensors(op.Inputs(1))
            along_patches = "token_mlp" in name or "spatial_mlp" in name
            other = along_patches or kernel.Shape(1) % 2 or kind == "CONV_2D"
            assert kernel.Type() == (schema.TensorType.INT8 if other else schema.TensorType.INT4)
            four += not other
    # Of two blocks both layers; of two token sets the second, for the first reads a channel more;
    # and three heads.
    assert four == 2 * 2 + 2 + 3


def test_one_partition(files):
    for quantization, content in files.items():
        assert xnnpack_partitions(content) == 1, quantization


def test_without_a_float32_file_at_hand_it_is_the_same(average, files, images):
    assert convert(average, **arguments("int4", images)) == files["int4"]


def test_a_network_of_convolutions_has_its_head_alone_in_4_bits(resnet, images):
    model = inference_model(resnet, head="classification")
    float32 = convert(model, quantization="float32")
    content = convert(model, **arguments("int4", images), float32_content=float32)
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    kinds = [graph.Tensors(i).Type() for i in range(graph.TensorsLength())]
    assert kinds.count(schema.TensorType.INT4) == 1
    expected = run(float32, images)
    assert np.abs(run(content, images) - expected).max() < 0.3 * np.abs(expected).max()
