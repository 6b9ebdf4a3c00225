"""Private names of TensorFlow, Keras and LiteRT: they are where we use them, and listed.

CONTRIBUTING.md has the table. After an upgrade, a test that fails here says which file to change.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
import tensorflow as tf

PRIVATE_MODULES = {
    "tensorflow": ("python", "core", "compiler"),
    "keras": ("src",),
    "keras_cv": ("src",),
    "datasets": ("naming", "packaged_modules"),
}
FOLDERS = ("std_keras", "tools")
# Public, whatever they look like.
PUBLIC = {"_exit"}  # os._exit


def is_private(name: str) -> bool:
    # Python's own names have two underscores too, as `__class__`; TensorFlow's is no such name.
    return name == "__internal__" or (name.startswith("_") and not name.startswith("__"))


def own_names(tree: ast.AST) -> Iterator[str]:
    """What a file defines or assigns, attributes too."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def private_names(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Private names that a file uses and the project does not define."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield from {node.attr} - own
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "hasattr", "setattr") and len(node.args) > 1:
                name = node.args[1]
                if isinstance(name, ast.Constant) and is_private(str(name.value)):
                    yield from {str(name.value)} - own
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if is_private_module(a.name))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if is_private_module(name) or (is_private(alias.name) and alias.name not in own):
                    yield name


def is_private_module(name: str) -> bool:
    package, *parts = name.split(".")
    if package in FOLDERS:
        return False
    private = PRIVATE_MODULES.get(package, ())
    return any(is_private(part) or part in private for part in parts)


def used(root: Path) -> set[tuple[str, str]]:
    """(name, file) of every private name in the project."""
    trees = {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in (root / folder).rglob("*.py")
    }
    own = PUBLIC | {name for tree in trees.values() for name in own_names(tree)}
    return {(name, file) for file, tree in trees.items() for name in private_names(tree, own)}


def listed(root: Path) -> set[tuple[str, str]]:
    """(name, file) of the table in CONTRIBUTING.md."""
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Private APIs\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return {(name.strip(" `"), file.strip(" `")) for cell, file in rows for name in cell.split(",")}


def test_every_private_name_is_listed(root):
    new = used(root) - listed(root)
    assert not new, (
        "; ".join(f"{file} uses {name}, which is private" for name, file in sorted(new))
        + ". Use something public, or list it in CONTRIBUTING.md, Private APIs, and test it here."
    )


def test_every_listed_name_is_used(root):
    gone = listed(root) - used(root)
    assert not gone, f"no longer used, and to be removed from CONTRIBUTING.md: {sorted(gone)}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from tensorflow.python.ops import array_ops", {"tensorflow.python.ops.array_ops"}),
        ("import keras.src.layers", {"keras.src.layers"}),
        ("from keras import _tf_keras", {"keras._tf_keras"}),
        ("layer._inbound_nodes[0]", {"_inbound_nodes"}),
        ("getattr(layer, '_losses', None)", {"_losses"}),
        ("tf.__internal__.distribute.interim", {"__internal__"}),
        ("self._mine\nlayer.__class__\nfrom std_keras.x import _y\nimport keras.ops", set()),
    ],
)
def test_what_counts_as_private(code, found):
    assert set(private_names(ast.parse(code), {"_mine", "_y"})) == found


def moved(name: str, file: str) -> str:
    return (
        f"{name} is not what {file} takes it for in this version; change {file} as the table of "
        "private APIs in CONTRIBUTING.md says"
    )


def test_control_flow_util():
    message = moved("tensorflow.python.ops.control_flow_util", "std_keras/layers/compiled.py")
    try:
        module = importlib.import_module("tensorflow.python.ops.control_flow_util")
        assert callable(module.GraphOrParentsInXlaContext), message
    except (ImportError, AttributeError):
        pytest.fail(message)
    from std_keras.layers.compiled import inside_xla

    answers = []

    def ask(x):
        answers.append(inside_xla())
        # Also in the graph of a branch or a loop inside.
        return tf.while_loop(lambda i: i < 2, lambda i: [i + count()], [x])[0]

    def count():
        answers.append(inside_xla())
        return 1

    for jit_compile in (False, True):
        answers.clear()
        tf.function(ask, jit_compile=jit_compile, autograph=False).get_concrete_function(
            tf.TensorSpec((), tf.int32)
        )
        assert set(answers) == {jit_compile} and len(answers) > 1, message


def test_saved_model_pb2(tmp_path):
    message = moved("tensorflow.core.protobuf.saved_model_pb2", "std_keras/teachers/input_size.py")
    try:
        module = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    except ImportError:
        pytest.fail(message)
    tf.saved_model.save(tf.Module(), str(tmp_path))
    saved = module.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    assert len(saved.meta_graphs) == 1, message


def test_pywrap_util_port():
    message = moved("tensorflow.python.util._pywrap_util_port", "std_keras/kernels.py")
    try:
        module = importlib.import_module("tensorflow.python.util._pywrap_util_port")
        assert module.IsMklEnabled() in (True, False), message
    except (ImportError, AttributeError):
        pytest.fail(message)


def test_the_service_of_a_cluster():
    """In a context of its own, which is never started."""
    message = moved("tensorflow.python.eager.context", "std_keras/training/strategy.py")
    try:
        module = importlib.import_module("tensorflow.python.eager.context")
        own = module.Context()
        own.configure_coordination_service("standalone", cluster_register_timeout_in_ms=7)
        service = own.coordination_service
        service.cluster_register_with_barrier = True
        service.coordinated_job_list.add(name="worker", num_tasks=2)
        assert service.cluster_register_timeout_in_ms == 7
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise AssertionError(message) from error


def test_eager_context():
    message = moved("tensorflow.python.eager.context", "std_keras/graph_optimizer.py")
    try:
        module = importlib.import_module("tensorflow.python.eager.context")
        config = module.context().config
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{message} ({error})")
    rewrites = config.graph_options.rewrite_options  # conftest.py chose them.
    assert rewrites.meta_optimizer_iterations == type(rewrites).ONE, message
    assert rewrites.memory_optimization == type(rewrites).NO_MEM_OPT, message


def test_a_cancelled_call():
    """`tests/test_background.py` has what it is for."""
    message = moved("tensorflow.python.eager.cancellation", "std_keras/background.py")
    from std_keras import background

    try:
        background.optimize_graph(
            tf.function(lambda x: x + 1.0).get_concrete_function(tf.TensorSpec(()))
        ).result()
    except (ImportError, AttributeError, TypeError) as error:
        pytest.fail(f"{message} ({error})")


def test_the_table_of_gradients():
    message = moved("tensorflow.python.framework.ops", "std_keras/custom_gradients.py")
    from std_keras import custom_gradients

    @tf.custom_gradient
    def kept(x):
        return x * 1.0, lambda upstream: upstream

    graph = tf.function(kept).get_concrete_function(tf.TensorSpec(())).graph
    try:
        custom_gradients.leave_to_their_graphs()
    except (ImportError, AttributeError, KeyError) as error:
        pytest.fail(f"{message} ({error})")
    (call,) = [op for op in graph.get_operations() if op.type == "IdentityN"]
    ops = importlib.import_module("tensorflow.python.framework.ops")
    name = call.get_attr("_gradient_op_type").decode()
    assert isinstance(ops.gradient_registry.lookup(name), custom_gradients._Weakly), message


def test_get_function():
    message = moved("tf.Graph._get_function", "std_keras/models/macs.py")
    inner = tf.function(lambda x: tf.matmul(x, x), autograph=False)
    spec = tf.TensorSpec((3, 3))
    graph = tf.function(inner, autograph=False).get_concrete_function(spec).graph
    (call,) = [op for op in graph.get_operations() if "Call" in op.type]
    name = call.get_attr("f").name
    assert hasattr(graph, "_get_function"), message
    operations = graph._get_function(name).graph.get_operations()
    products = [op for op in operations if op.type == "MatMul"]
    assert [op.outputs[0].shape for op in products] == [(3, 3)], message


def test_keras_history():
    message = moved("KerasTensor._keras_history", "std_keras/models/student.py")
    layer = keras.layers.Dense(2)
    output = layer(keras.Input((3,)))
    history = getattr(output, "_keras_history", None)
    assert history is not None and getattr(history, "operation", None) is layer, message


@pytest.fixture(scope="module")
def interpreter():
    """Of a file that multiplies (1, 4) with (4, 2)."""
    from ai_edge_litert.interpreter import Interpreter

    from std_keras import quiet

    kernel = tf.constant([[1.0, 2.0]] * 4)
    multiply = tf.function(lambda x: tf.matmul(x, kernel), autograph=False)
    function = multiply.get_concrete_function(tf.TensorSpec((1, 4)))
    with quiet.muted_stderr():
        content = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
        made = Interpreter(model_content=content, num_threads=1)
        made.allocate_tensors()
    return made


@pytest.mark.parametrize("file", ["std_keras/exporting/verify.py", "tools/benchmarks/exported.py"])
def test_get_ops_details(interpreter, file):
    message = moved("Interpreter._get_ops_details", file)
    assert hasattr(interpreter, "_get_ops_details"), message
    details = interpreter._get_ops_details()
    names = [op.get("op_name") for op in details]
    assert names.count("FULLY_CONNECTED") == names.count("DELEGATE") == 1, message
    product = details[names.index("FULLY_CONNECTED")]
    shapes = {
        tensor["index"]: tuple(tensor["shape"]) for tensor in interpreter.get_tensor_details()
    }
    assert [shapes[index] for index in product["inputs"][:2]] == [(1, 4), (2, 4)], message


def test_get_variable_index():
    message = moved("keras.Optimizer._get_variable_index", "tools/equality/cases.py")
    variables = [keras.Variable([float(i)]) for i in range(3)]
    optimizer = keras.optimizers.SGD()
    optimizer.build(variables)
    assert hasattr(optimizer, "_get_variable_index"), message
    assert [optimizer._get_variable_index(v) for v in variables] == [0, 1, 2], message


def test_the_links_of_a_functional_model():
    message = moved("_inbound_nodes of an operation", "std_keras/training/matrices.py")
    first, second = keras.layers.Dense(2), keras.layers.Dense(3)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, second(first(inputs)))
    assert hasattr(model, "operations") and hasattr(second, "_inbound_nodes"), message
    parents = [p.operation for node in second._inbound_nodes for p in node.parent_nodes]
    assert parents == [first], message


def test_flatten_layers():
    message = moved("Layer._flatten_layers", "std_keras/training/matrices.py")
    inner = keras.layers.Dense(2)
    outer = keras.layers.TimeDistributed(inner)
    assert hasattr(outer, "_flatten_layers"), message
    assert inner in list(outer._flatten_layers()), message


@pytest.mark.parametrize("file", ["std_keras/training/adamw.py", "std_keras/training/muon.py"])
def test_maybe_merge_call(file):
    """Once for all devices with the values of each, where a strategy asks for that."""
    message = moved("tf.__internal__.distribute.interim.maybe_merge_call", file)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        variable = tf.Variable(1.0)

    def everywhere(distribution, variables, addend):
        update = distribution.extended.update
        for one in variables:
            update(one, lambda v, a: v.assign_add(a), args=(addend,), group=False)

    def on_a_replica():
        merge_call = tf.__internal__.distribute.interim.maybe_merge_call
        merge_call(everywhere, tf.distribute.get_strategy(), [variable], 2.0)

    try:
        tf.function(lambda: strategy.run(on_a_replica))()
    except (AttributeError, TypeError) as error:
        pytest.fail(f"{message} ({error})")
    assert variable.numpy() == 3.0, message


def test_muon():
    message = moved("keras.optimizers.Muon", "std_keras/training/muon.py")
    overridden = ("_should_use_adamw", "_distributed_tf_update_step", "_apply_weight_decay")
    used = ("_var_key", "_use_weight_decay", "_get_variable_index")
    for name in (*overridden, *used):
        assert callable(getattr(keras.optimizers.Muon, name, None)), f"{name}: {message}"
    first, second = (keras.Variable([[1.0]], name="kernel") for _ in range(2))
    optimizer = keras.optimizers.Muon(0.1, weight_decay=0.1)
    optimizer.build([first, second])
    assert optimizer._var_key(first) != optimizer._var_key(second), message
    optimizer.exclude_from_weight_decay(var_list=[second])
    decays = [optimizer._use_weight_decay(v) for v in (first, second)]
    assert decays == [True, False], message
    assert hasattr(optimizer, "_distribution_strategy"), message


def test_adamw():
    message = moved("keras.optimizers.AdamW", "std_keras/training/adamw.py")
    overridden = ("_apply_weight_decay", "_backend_update_step")
    used = ("_all_reduce_sum_gradients", "_get_variable_index", "_use_weight_decay")
    for name in (*overridden, *used):
        assert callable(getattr(keras.optimizers.AdamW, name, None)), f"{name}: {message}"
    variables = [keras.Variable([float(i)]) for i in range(2)]
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build(variables)
    for name in ("_momentums", "_velocities"):
        assert len(getattr(optimizer, name, ())) == 2, f"{name}: {message}"
    assert hasattr(optimizer, "_distribution_strategy"), message


def test_the_cache_of_hf_datasets():
    pytest.importorskip("datasets", reason="the extra [datasets] is not installed")
    message = moved("datasets.packaged_modules and datasets.naming", "std_keras/data/hf_list.py")
    try:
        naming = importlib.import_module("datasets.naming")
        cache = importlib.import_module("datasets.packaged_modules.cache.cache")
        assert naming.camelcase_to_snakecase("MyPets2") == "my_pets2", message
        parameters = inspect.signature(cache.Cache.__init__).parameters
    except (ImportError, AttributeError):
        pytest.fail(message)
    named = {"cache_dir", "repo_id", "dataset_name", "config_name", "version", "hash"}
    assert named <= set(parameters), message
