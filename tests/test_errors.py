"""One line of another library's error, for a sentence of ours."""

from __future__ import annotations

import pytest
import tensorflow as tf

from std_keras.errors import reason_of


@pytest.mark.parametrize("compiled", [False, True])
def test_the_reason_of_an_error_is_what_the_operation_said(compiled):
    """Not where TensorFlow says that it was defined, which comes first."""

    @tf.function
    def failing(value):
        tf.debugging.assert_positive(value, message="the worker 2 is gone")
        return value

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        failing(tf.constant(-1.0)) if compiled else failing.python_function(tf.constant(-1.0))
    assert "the worker 2 is gone" in reason_of(caught.value)


def test_the_reason_of_a_lost_collective():
    text = (
        "Graph execution error:\n\nDetected at node AllReduce defined at (most recent call last):\n"
        "<stack traces unavailable>\n2 root error(s) found.\n"
        "  (0) INTERNAL:  Collective ops is aborted by: Socket closed\n"
        "\t [[{{node AllReduce}}]] [Op:__inference_call_7]"
    )
    error = tf.errors.InternalError(None, None, text)
    assert reason_of(error) == "(0) INTERNAL:  Collective ops is aborted by: Socket closed"
    assert reason_of(tf.errors.InternalError(None, None, "")) == "InternalError"


def test_where_an_operation_was_defined_is_not_said():
    text = (
        "{{function_node __wrapped__SaveV2_dtypes_119_device_/job:localhost/replica:0}} /run/x; "
        "No space left on device [Op:SaveV2]"
    )
    error = tf.errors.ResourceExhaustedError(None, None, text)
    assert reason_of(error) == "/run/x; No space left on device"


def test_a_damaged_record_as_a_data_set_tells_it(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "f")) as file:
        file.write(b"a" * 100)
    content = bytearray((tmp_path / "f").read_bytes())
    content[50] ^= 1
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(tf.errors.DataLossError) as caught:
        list(tf.data.TFRecordDataset(str(tmp_path / "f")).as_numpy_iterator())
    assert reason_of(caught.value) == "corrupted record at 12"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (ValueError("\n\n  two"), "two"),
        (KeyError("name"), "'name'"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("x" * 1000), "x" * 300),
    ],
)
def test_any_error_has_one_line(error, said):
    assert reason_of(error) == said
