"""What `TF_CONFIG` may hold, as people and operators write it."""

from __future__ import annotations

import json

import pytest

from std_keras.errors import InputError
from std_keras.training import cluster

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def config(jobs, task_type="worker", index=0, **more):
    return json.dumps({"cluster": jobs, "task": {"type": task_type, "index": index}, **more})


def test_workers():
    read = cluster.parse(config({"worker": TWO}, index=1))
    assert read == cluster.Cluster({"worker": tuple(TWO)}, "worker", 1)
    assert read.address == "10.0.0.2:2222"
    assert read.others() == {"worker 0": "10.0.0.1:2222"}
    assert not read.evaluates


def test_a_chief_comes_first_wherever_it_stands():
    read = cluster.parse(config({"worker": TWO, "chief": ["h:1"]}, "chief"))
    assert list(read.jobs) == ["chief", "worker"]
    assert read.address == "h:1"
    assert list(read.others()) == ["worker 0", "worker 1"]


@pytest.mark.parametrize("index", [1, "1"])
def test_numbers_of_templates_may_be_text(index):
    assert cluster.parse(config({"worker": TWO}, index=index)).task_index == 1


def test_what_operators_add_is_ignored():
    """As Vertex AI writes it for a single machine."""
    added = {"environment": "cloud", "job": {"image_uri": "x"}}
    read = cluster.parse(config({"chief": ["workerpool0-0:2222"]}, "chief", **added))
    assert read.jobs == {"chief": ("workerpool0-0:2222",)}
    assert read.others() == {}


@pytest.mark.parametrize("listed", [{}, {"evaluator": ["e:2222"]}])
def test_an_evaluator_is_none_of_those_that_train(listed):
    read = cluster.parse(config({"chief": ["c:1"], "worker": TWO, **listed}, "evaluator"))
    assert read.evaluates
    assert "evaluator" not in read.jobs
    assert len(read.others()) == 3


@pytest.mark.parametrize("address", ["[::1]:2222", "std-0.std:2222", "a_b:1", "h:65535"])
def test_addresses(address):
    assert cluster.parse(config({"worker": [address]})).address == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "it is not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "its cluster, null"),
        ('{"cluster": 3}', "its cluster, 3"),
        (config({"worker": ["h:1"]}, rpc_layer="http"), 'its rpc_layer is "http"'),
        (config({}), "names no workers"),
        (config({"worker": []}), "names no workers"),
        (config({"evaluator": ["e:1"]}, "evaluator"), "names no workers"),
        (config({"worker": "h:1"}), 'its worker is "h:1", not a list'),
        (config({"worker": {"0": "h:1"}}), "not a list"),
        (config({"worker": [["h:1"]]}), "is not text"),
        (config({"worker": ["h"]}), '"h" of its worker has no port'),
        (config({"worker": ["[::1]"]}), "has no port"),
        (config({"worker": [":1"]}), "has no host"),
        (config({"worker": ["::1:2222"]}), "more than one colon"),
        (config({"worker": ["http://h:1"]}), '"http://h:1" of its worker is a URL'),
        (config({"worker": ["grpc://h:1"]}), "is a URL"),
        (config({"worker": ["h:65536"]}), "has the port '65536'"),
        (config({"worker": ["h:0"]}), "has the port '0'"),
        (config({"worker": ["h:-1"]}), "has the port '-1'"),
        (config({"worker": ["h:"]}), "has the port ''"),
        (config({"worker": ["h:http"]}), "has the port 'http'"),
        (config({"worker": ["h: 1"]}), "not one host and one port"),
        (config({"worker": ["h/x:1"]}), "not one host and one port"),
        (config({"worker": ["h:1", "h:1"]}), "h:1 stands in it more than once"),
        (config({"chief": ["h:1"], "worker": ["h:1"]}), "more than once"),
        (config({"chief": ["h:1", "h:2"]}, "chief"), "names 2 chiefs"),
        (config({"worker": TWO, "ps": ["p:1"]}), "parameter servers"),
        (config({"worker": TWO}, "ps"), "parameter servers"),
        (config({"worker": TWO, "master": ["m:1"]}), "task type 'master'"),
        (config({"worker": TWO}, "Worker"), "task type 'Worker'"),
        (config({"worker": TWO}, 3), "its task's type, 3"),
        (config({"worker": TWO}, index=2), "task is worker 2, and the cluster has 2"),
        (config({"worker": TWO}, "chief"), "task is chief 0, and the cluster has 0"),
        (config({"worker": TWO}, index=-1), "its task's index, -1"),
        (config({"worker": TWO}, index="x"), 'its task\'s index, "x"'),
        (config({"worker": TWO}, index=True), "its task's index, true"),
        (config({"worker": TWO}, index=None), "its task's index, null"),
        ('{"cluster": {"worker": ["h:1"], "worker": ["h:2"]}}', '"worker" stands twice'),
        ('{"task": {"type": "worker", "index": 0, "index": 1}}', '"index" stands twice'),
        (json.dumps({"cluster": {"worker": TWO}}), "does not say which process"),
        (json.dumps({"cluster": {"worker": TWO}, "task": "worker"}), "does not say which process"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(InputError) as caught:
        cluster.parse(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("TF_CONFIG ")
