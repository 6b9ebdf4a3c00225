from __future__ import annotations

import dataclasses
import json

import pytest

from std_keras.exporting.classifying import ModelCard


def test_it_survives_json(card):
    for one in (card, dataclasses.replace(card, top1=None, examples=0)):
        assert ModelCard.from_json(one.to_json(), labels=card.labels) == one


def test_what_other_programs_read(card):
    content = json.loads(card.to_json())
    assert content["input"]["range"] == [0, 255]
    assert content["input"]["size"] == 16
    assert content["input"]["resize"]["short_side"] == 18  # int(16 / 0.875)
    assert content["output"] == {
        "name": "logits",
        "probabilities": "softmax",
        "labels": "labels.txt",
    }
    assert content["accuracy"] == {"top1": 0.75, "examples": 40, "of": "the Keras model"}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "format 2"),
        (("input", "size"), 10**6, "1000000"),
        (("input", "size"), 0, "0 is not"),
        (("input", "size"), "16", "'16'"),
        (("input", "channels"), 2, "2 channels"),
        (("input", "crop_ratio"), 0.0, "crop_ratio 0.0"),
        (("input", "crop_ratio"), float("nan"), "crop_ratio nan"),
        (("input",), None, "wrong kind"),
        (("name",), ..., "name"),
    ],
)
def test_refused_cards(card, path, value, said):
    content = json.loads(card.to_json())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(ValueError, match=said):
        ModelCard.from_json(json.dumps(content), labels=card.labels)


def test_a_list_is_no_card(card):
    with pytest.raises(ValueError):
        ModelCard.from_json("[]", labels=card.labels)
