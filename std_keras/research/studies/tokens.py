"""What the tokens hold: do they copy what they read, or each other; what is lost without them?"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models, progress
from std_keras.errors import Interrupted
from std_keras.research.analysis import (
    agreement,
    cka,
    token_features,
    token_removal,
    token_similarity,
)
from std_keras.research.analysis.token_features import TokenData
from std_keras.research.analysis.token_information import HeldOutBound, held_out_bound
from std_keras.research.studies import page, tokens_page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study, restored
from std_keras.training import build
from std_keras.training.checkpoints import checkpoint_steps


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """Similarities now and over training, mutual information, and what removal changes."""
    model = chosen.subject.model
    assert model is not None
    found, labels, class_logits = _collect(chosen, model)
    similarity, maps, spreads = _similarity(found)
    between = _between(found)
    removal = _removal(model, found, class_logits, labels)
    history = _history(chosen, parsed["history_examples"])
    information = _information(chosen, found, parsed["critic_steps"])
    return Result(
        section=page.Section(
            name="tokens",
            title="Tokens",
            subject=chosen.described(len(labels)),
            blocks=[
                *tokens_page.similarity_blocks(similarity, maps, spreads, between, history),
                *tokens_page.information_blocks(information),
                *tokens_page.removal_blocks(removal),
            ],
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "examples": len(labels),
            "similarity": similarity,
            "between_sets": between,
            "history": history,
            "information": {
                name: {
                    "held_out_bound": bound.bound if bound else None,
                    "held_out_examples": bound.examples if bound else None,
                    "limit": math.log(bound.examples) if bound else None,
                    "training_bound": bound.training[-1] if bound else None,
                    "logged": logged,
                }
                for name, (bound, logged) in information.items()
            },
            "removal": removal,
        },
    )


def _collect(
    chosen: Study, model: keras.Model
) -> tuple[dict[str, TokenData], np.ndarray, np.ndarray]:
    """Tokens and features by token set, labels (n,), and the class head's logits (n, K)."""
    inner = token_features.token_model(model)
    class_head = models.prediction_model(model, head="classification")
    both = keras.Model(model.input, {**inner.output, "class": class_head.output})
    function = tf.function(lambda images: both(tf.cast(images, tf.float32), training=False))
    parts: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in inner.output}
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for batch in chosen.batches("test"):
        if chosen.stop():
            raise Interrupted("interrupted; nothing was written")
        kept = np.asarray(batch["weights"]) > 0
        outputs = function(batch["images"])
        labels.append(np.asarray(batch["labels"])[kept])
        logits.append(outputs["class"].numpy()[kept])
        for name, part in parts.items():
            for kind, values in outputs[name].items():
                part.setdefault(kind, []).append(values.numpy()[kept])
    found = {
        name: TokenData(
            features=np.concatenate(part["features"]),
            tokens={k: np.concatenate(part[k]) for k in ("spatial", "channel") if k in part},
        )
        for name, part in parts.items()
    }
    return found, np.concatenate(labels), np.concatenate(logits)


def _cosines(data: TokenData) -> dict[str, np.ndarray]:
    """Per kind of token its cosines with what it read: (n, P) or (n, N)."""
    functions = {
        "spatial": token_similarity.to_patches,
        "channel": token_similarity.to_channels,
    }
    return {kind: functions[kind](token, data.features) for kind, token in data.tokens.items()}


def _similarity(
    found: Mapping[str, TokenData],
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Summaries, mean cosine of T_S with each patch as an image, and all cosines by token."""
    summaries: dict[str, dict[str, Any]] = {}
    maps: dict[str, np.ndarray] = {}
    spreads: dict[str, np.ndarray] = {}
    for name, data in found.items():
        cosines = _cosines(data)
        summaries[name] = {kind: token_similarity.summary(c) for kind, c in cosines.items()}
        spreads |= {f"{name} {kind}": c.ravel() for kind, c in cosines.items()}
        if "spatial" in cosines:
            side = math.isqrt(cosines["spatial"].shape[1])
            if side * side == cosines["spatial"].shape[1]:
                maps[name] = cosines["spatial"].mean(axis=0).reshape(side, side)
        if len(data.tokens) == 2:
            summaries[name]["cka_spatial_channel"] = _unbiased_cka(*data.tokens.values())
    return summaries, maps, spreads


def _unbiased_cka(first: np.ndarray, second: np.ndarray) -> float:
    sums = cka.MinibatchCKA(1, 1)
    for start in range(0, len(first) - 3, 256):
        part = slice(start, start + 256)
        if len(first[part]) >= 4:
            sums.add([first[part]], [second[part]])
    return float(sums.result()[0, 0])


def _between(found: Mapping[str, TokenData]) -> list[dict[str, Any]]:
    """Mean cosine and CKA of the tokens of one kind of every two token sets."""
    rows = []
    for (first, a), (second, b) in itertools.combinations(found.items(), 2):
        for kind in a.tokens:
            one, two = a.tokens[kind], b.tokens[kind]
            same_space = one.shape == two.shape
            cosine = token_similarity.cosine(one, two).mean() if same_space else math.nan
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "kind": kind,
                    "cosine": float(cosine),
                    "cka": _unbiased_cka(one, two),
                }
            )
    return rows


def _removal(
    model: keras.Model,
    found: Mapping[str, TokenData],
    class_logits: np.ndarray,
    labels: np.ndarray,
) -> list[dict[str, Any]]:
    """Accuracy, changed decisions and KL without a token or a whole token set."""
    heads, tokens = {}, {}
    for name, data in found.items():
        head = token_features.head_of(model, name)
        if head is not None:
            heads[name], tokens[name] = head, list(data.tokens.values())
    full = {n: token_removal.head_logits(tokens[n], *heads[n]) for n in heads}
    names = list(heads)
    fused = (class_logits + np.mean(list(full.values()), axis=0)) / 2
    rows = [_effect("average", "nothing", fused, fused, labels)]
    for index, name in enumerate(names):
        without = token_removal.average_without(
            class_logits, [full[n] for n in names], removed=index
        )
        rows.append(_effect("average", f"{name}, the whole set", fused, without, labels))
    for name in names:
        reader = name.replace("tokens", "distillation")
        rows.append(_effect(reader, "nothing", full[name], full[name], labels))
        for index, kind in enumerate(found[name].tokens):
            without = token_removal.without_token(tokens[name], *heads[name], removed=index)
            rows.append(_effect(reader, f"{name}, {kind} token", full[name], without, labels))
    return rows


def _effect(
    head: str, removed: str, before: np.ndarray, after: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    return {
        "head": head,
        "removed": removed,
        "top1": agreement.accuracy(after, labels),
        "changed": 1.0 - agreement.top1_agreement(before, after),
        "kl": agreement.predictive_kl(before, after),
    }


def _history(chosen: Study, examples: int) -> list[dict[str, Any]]:
    """Mean cosines at the start and at every checkpoint that the run kept (raw weights)."""
    steps = checkpoint_steps(chosen.run.checkpoints)
    if not examples or not steps:
        return []
    source = chosen.source("test")
    images = source.take(examples)[0].astype(np.float32)
    architecture = chosen.run.architecture_file.read_text(encoding="utf-8")
    model = keras.models.model_from_json(architecture)
    moments: list[tuple[int, keras.Model]] = []
    if not chosen.config.optimization.initialize_from:
        moments.append((0, build.build_model(chosen.config, chosen.dataset)))
    moments += [(step, model) for step in steps]
    rows: list[dict[str, Any]] = []
    for step, candidate in moments:
        if candidate is model and not restored(chosen, model, step):
            continue
        rows += _moment(token_features.token_model(candidate), step, images, chosen.batch_size)
    assert chosen.subject.model is not None
    done = steps[-1] if steps else 0
    if all(row["step"] != done for row in rows):  # The weights that count, then.
        final = token_features.token_model(chosen.subject.model)
        rows += _moment(final, done, images, chosen.batch_size)
    return rows


def _moment(
    inner: keras.Model, step: int, images: np.ndarray, batch_size: int
) -> list[dict[str, Any]]:
    """Mean magnitudes of the cosines of every token at one step."""
    rows = []
    for name, values in inner.predict(images, batch_size=batch_size, verbose=0).items():
        tokens = {kind: values[kind] for kind in ("spatial", "channel") if kind in values}
        for kind, cosines in _cosines(TokenData(values["features"], tokens)).items():
            mean = token_similarity.summary(cosines)["mean_magnitude"]
            rows.append({"step": step, "token_set": name, "kind": kind, "mean_magnitude": mean})
    return rows


def _information(
    chosen: Study, found: Mapping[str, TokenData], steps: int
) -> dict[str, tuple[HeldOutBound | None, float | None]]:
    """Per token set with both tokens the held-out bound, and the last value of training."""
    logged = _logged(chosen)
    done: dict[str, tuple[HeldOutBound | None, float | None]] = {}
    for name, data in found.items():
        if len(data.tokens) != 2:
            continue
        if chosen.stop():
            raise Interrupted("interrupted; nothing was written")
        bound = None
        if steps and len(data.features) >= 40:
            progress.say(f"{name}: training a critic for {steps} steps")
            bound = held_out_bound(data.tokens["spatial"], data.tokens["channel"], steps=steps)
        done[name] = (bound, logged.get(f"mine/{name}"))
    return done


def _logged(chosen: Study) -> dict[str, float]:
    """The last value of each figure of the training log."""
    last: dict[str, float] = {}
    if chosen.run.metrics_file.is_file():
        for line in chosen.run.metrics_file.read_text(encoding="utf-8").splitlines():
            try:
                last |= {k: v for k, v in json.loads(line).items() if k.startswith("mine/")}
            except (ValueError, AttributeError):
                continue  # The last line of a killed run may be half a line.
    return last
