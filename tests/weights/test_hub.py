"""Models of the Hugging Face hub by name, from a cache that was built by hand."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from std_keras import Run, models, teachers
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import load_trained
from std_keras.weights import ConvertOptions, convert_weights, hub, located
from std_keras.weights.class_names import NUMBERED
from std_keras.weights.initialize import find_start
from tests import processes
from tests.oracles import import_timm
from tests.weights import hub_cache

HALF, ONE = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = {"num_classes": 5, "img_size": 16, "patch_size": 4}
MIXER = {**SMALL, "num_blocks": 2, "embed_dim": 12}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty HF_HOME, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    assets = importlib.import_module("huggingface_hub.utils._cache_assets")
    place = tmp_path / "hf"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr(assets, "HF_ASSETS_CACHE", str(place / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    located._of_hub.cache_clear()
    yield place
    located._of_hub.cache_clear()


def stored(state, *, folder, shard="5GB"):
    """The files that hold a state dict, as timm's exports do."""
    from huggingface_hub import save_torch_state_dict

    folder.mkdir(exist_ok=True)
    save_torch_state_dict(state, folder, max_shard_size=shard)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def put(torch, home, tmp_path):
    """Puts a timm module with random weights into the cache."""
    from tests.weights import torch_models

    def run(
        module, architecture, *, name="ours/model", size=16, mean=MEAN, std=STD, shard="5GB", **more
    ):
        torch_models.randomize(module)
        about = {"num_classes": module.num_classes, "input_size": [3, size, size]}
        about |= {"mean": mean, "std": std, "crop_pct": 0.875, **more}
        about = {key: value for key, value in about.items() if value is not None}
        files = stored(module.state_dict(), folder=tmp_path / "export", shard=shard)
        files |= {"config.json": hub_cache.config(architecture, **about)}
        return hub_cache.put(home, name, {**files, "README.md": hub_cache.CARD})

    return run


def expected(torch, module, pixels, *, mean, std):
    inputs = (np.float32(pixels) / 255 - np.float32(mean)) / np.float32(std)
    with torch.no_grad():
        logits = module.eval()(torch.tensor(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))))
    return logits.numpy()


def mixer(timm):
    return timm.mlp_mixer.MlpMixer(**MIXER)


def resmlp(timm):
    of = timm.mlp_mixer
    return of.MlpMixer(**MIXER, mlp_ratio=4, block_layer=of.ResBlock, norm_layer=of.Affine)


def gmlp(timm):
    of = timm.mlp_mixer
    return of.MlpMixer(
        **MIXER, mlp_ratio=6, block_layer=of.SpatialGatingBlock, mlp_layer=of.GatedMlp
    )


def vit(timm):
    return timm.vision_transformer.VisionTransformer(**SMALL, embed_dim=12, depth=2, num_heads=3)


def deit(timm):
    return timm.deit.VisionTransformerDistilled(**SMALL, embed_dim=12, depth=2, num_heads=3)


def swin(timm):
    return timm.swin_transformer.SwinTransformer(
        img_size=32,
        patch_size=2,
        window_size=2,
        num_classes=5,
        embed_dim=12,
        depths=(2, 2, 2, 2),
        num_heads=(3, 6, 12, 24),
    )


def regnety(timm):
    return timm.regnet.regnety_040(num_classes=5)


HEADS = {"model_args": {"num_heads": 3}}
CASES = {
    "mixer": (mixer, "mixer_b16_224", 16, HALF, HALF, {"model_args": MIXER}),
    "miil": (mixer, "mixer_b16_224", 16, (0.0, 0.0, 0.0), ONE, {}),
    "resmlp": (resmlp, "resmlp_12_224", 16, MEAN, STD, {}),
    "gmlp": (gmlp, "gmlp_s16_224", 16, HALF, HALF, {}),
    "vit": (vit, "vit_tiny_patch16_224", 16, HALF, HALF, HEADS),
    "deit": (deit, "deit_small_distilled_patch16_224", 16, MEAN, STD, HEADS),
    "swin": (swin, "swin_tiny_patch4_window7_224", 32, MEAN, STD, {}),
    "regnety": (regnety, "regnety_040", 64, MEAN, STD, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_timm(torch, home, put, case):
    make, architecture, size, mean, std, more = CASES[case]
    module = make(import_timm())
    put(module, architecture, size=size, mean=mean, std=std, **more)
    run = RunDirectory(located.located("hf-hub:ours/model", flag="teacher"))
    converted = load_trained(run.path)
    assert converted.input_shape == (None, size, size, 3)
    pixels = np.random.default_rng(5).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    logits = expected(torch, module, pixels, mean=mean, std=std)
    assert logits.std() > 0.04
    np.testing.assert_allclose(converted(pixels), logits, atol=1e-4, rtol=1e-4)
    config = run.read_config()
    # What the configuration names is the same model, but for its weights and the size of an
    # attention head, which published networks share.
    head = {"head_dim": 4} if case in ("vit", "deit", "swin") else {}
    again = models.create(
        config.model.name,
        input_shape=converted.input_shape[1:],
        num_classes=5,
        mean=mean,
        std=std,
        **config.model.architecture(),
        **head,
    )
    again.set_weights(converted.get_weights())
    np.testing.assert_allclose(again(pixels), logits, atol=1e-4, rtol=1e-4)
    assert config.augmentation.eval_crop_ratio == 0.875
    origin = run.read_result()["origin"]
    assert origin["source"] == "hf-hub:ours/model"
    assert (origin["commit"], origin["license"]) == (hub_cache.COMMIT, "apache-2.0")


def test_the_published_sizes_are_found(torch, put, home):
    module = import_timm().deit.deit_tiny_patch16_224()
    put(module, "deit_tiny_patch16_224", size=224, name="timm/deit_tiny_patch16_224.fb_in1k")
    run = Run("hf-hub:timm/deit_tiny_patch16_224.fb_in1k")
    assert (run.config.model.name, run.config.data.image_size) == ("deit_ti16", 224)
    assert run.config.model.architecture() == {"gelu": "exact", "layer_norm_epsilon": 1e-6}
    # ImageNet's classes in TFDS' order, which is timm's.
    assert run.labels[:2] == ("n01440764", "n01443537")
    pixels = np.random.default_rng(5).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    logits = expected(torch, module, pixels, mean=MEAN, std=STD)
    np.testing.assert_allclose(run.model()(pixels), logits, atol=1e-4, rtol=1e-4)


@pytest.fixture
def small(put):
    """A Mixer in the cache, in several files, whose classes have names."""
    module = mixer(import_timm())
    names = ["ant", "bee", "cat", "dog", "emu"]
    put(module, "mixer_b16_224", mean=HALF, std=HALF, label_names=names, shard="2KB")
    return module


def test_it_teaches_and_starts_a_run(torch, small, home, monkeypatch):
    spec = teachers.parse("hf-hub:ours/model,site=both")
    labels = ("ant", "bee", "cat", "dog", "emu")
    teacher = teachers.load(spec, image_shape=(16, 16, 3), label_names=labels)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3))
    logits = expected(torch, small, pixels, mean=HALF, std=HALF)
    np.testing.assert_allclose(teacher.logits(pixels), logits, atol=1e-4)
    start = find_start("hf-hub:ours/model").load()
    np.testing.assert_allclose(start(pixels), logits, atol=1e-4)
    with pytest.raises(InputError, match="^teacher=hf-hub:ours/model names class 1 'bee'"):
        teachers.load(spec, image_shape=(16, 16, 3), label_names=("ant", "bug", *labels[2:]))
    origin = RunDirectory(spec.source).read_result()["origin"]
    folder = hub.find("hf-hub:ours/model").path
    assert {origin["file"]: origin["sha256"], **origin["parts"]} == {
        file.name: file.resolve().name  # As the cache has them.
        for file in folder.glob("model*.safetensors*")
    }
    # It is converted once: from here on no weights are read.
    monkeypatch.setattr(located, "_convert", None)
    located._of_hub.cache_clear()
    assert teachers.parse("hf-hub:ours/model").source == spec.source
    # What it is called is what the user wrote, not a folder of a cache.
    assert teacher.name == spec.name == "hf-hub:ours/model"


@pytest.mark.parametrize("whole", [True, False])
def test_a_place_that_another_process_took_meanwhile(small, home, monkeypatch, whole):
    rename, taken = os.rename, []

    def late(source, target):
        if os.path.basename(source) == "run" and not taken:
            taken.append(target)
            target.mkdir()
            (target / ("config.json" if whole else "labels.txt")).write_text("")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    if whole:
        assert located.located("hf-hub:ours/model", flag="teacher") == str(taken[0])
    else:
        with pytest.raises(OSError, match="not empty"):
            located.located("hf-hub:ours/model", flag="teacher")
    assert not list(taken[0].parent.glob(".part*"))


def test_of_what_is_in_the_cache_the_hub_is_not_asked(small, home, monkeypatch):
    """A machine without a network would wait for the answer at every start of a training."""
    cached_or_not = hub._Hub._file

    def here(self, name, *, cached):
        assert cached, f"the hub is asked for {name}"
        return cached_or_not(self, name, cached=cached)

    monkeypatch.setattr(hub._Hub, "_file", here)
    assert hub.find("hf-hub:ours/model").license == "apache-2.0"


def test_what_is_fetched_comes_with_the_text_of_its_licence(small, home, monkeypatch):
    folder = home / "hub" / "models--ours--model" / "snapshots" / hub_cache.COMMIT
    (folder / "README.md").unlink()
    (folder / "config.json").rename(folder / "kept")
    cached_or_not, asked = hub._Hub._file, []

    def of_the_hub(self, name, *, cached):
        if not cached:
            asked.append(name)
            content = (folder / "kept").read_bytes() if name == "config.json" else hub_cache.CARD
            (folder / name).write_bytes(content)
        return cached_or_not(self, name, cached=True)

    monkeypatch.setattr(hub._Hub, "_file", of_the_hub)
    assert hub.find("hf-hub:ours/model").license == "apache-2.0"
    assert asked == ["config.json", "README.md", "LICENSE"]


@pytest.mark.parametrize("stated", ["mit", None, 3, "two\nlines"])
def test_what_another_program_fetched_without_a_card(put, home, monkeypatch, stated):
    """timm gets `config.json` and the weights alone; at no start is the hub asked for the rest."""
    put(mixer(import_timm()), "mixer_b16_224", license=stated)
    folder = home / "hub" / "models--ours--model" / "snapshots" / hub_cache.COMMIT
    (folder / "README.md").unlink()
    cached_or_not = hub._Hub._file

    def here(self, name, *, cached):
        assert cached, f"the hub is asked for {name}"
        return cached_or_not(self, name, cached=cached)

    monkeypatch.setattr(hub._Hub, "_file", here)
    assert hub.find("hf-hub:ours/model").license == (stated if stated == "mit" else None)
    assert hub.find(folder).license == (stated if stated == "mit" else None)


def test_a_revision(put, small, home):
    folder = home / "hub" / "models--ours--model"
    (folder / "refs" / "main").unlink()
    with pytest.raises(InputError, match=r"config\.json is not in .*HF_HUB_OFFLINE"):
        located.located("hf-hub:ours/model", flag="teacher")
    run = located.located(f"hf-hub:ours/model@{hub_cache.COMMIT}", flag="teacher")
    assert RunDirectory(run).read_labels()[0] == "ant"


def test_without_names_the_classes_are_only_counted(put, home):
    put(mixer(import_timm()), "mixer_b16_224")
    spec = teachers.parse("hf-hub:ours/model")
    assert RunDirectory(spec.source).read_result()["origin"]["labels"] == NUMBERED
    teachers.load(spec, image_shape=(16, 16, 3), label_names=tuple("abcde"))
    with pytest.raises(InputError, match="has 5 classes, the data set has 4"):
        teachers.load(spec, image_shape=(16, 16, 3), label_names=tuple("abcd"))


def test_a_folder_with_the_same_files(torch, put, small, tmp_path, home):
    folder = hub.find("hf-hub:ours/model").path
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3))
    logits = expected(torch, small, pixels, mean=HALF, std=HALF)
    done = convert_weights(folder, output=tmp_path / "run", options=ConvertOptions())
    assert done.architecture == "mixer_s32 with patch_size=4, width=12, depth=2"
    np.testing.assert_allclose(load_trained(done.run.path)(pixels), logits, atol=1e-4)
    found = Run(folder)
    assert found.path != folder
    np.testing.assert_allclose(found.model()(pixels), logits, atol=1e-4)


def test_what_timm_itself_writes(torch, home, tmp_path):
    timm = import_timm()
    from tests.weights import torch_models

    module = timm.create_model("deit_tiny_patch16_224", img_size=32, num_classes=5)
    torch_models.randomize(module)
    about = {"label_names": ["ant", "bee", "cat", "dog", "emu"]}
    timm.save_for_hf(module, tmp_path / "export", model_config=about, safe_serialization=True)
    run = Run(tmp_path / "export")
    assert (run.config.model.name, run.config.data.image_size) == ("deit_ti16", 32)
    assert run.labels == tuple(about["label_names"])
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3))
    logits = expected(torch, module, pixels, mean=MEAN, std=STD)
    np.testing.assert_allclose(run.model()(pixels), logits, atol=1e-4, rtol=1e-4)


def test_what_is_given_overrides_what_is_said(small, home, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    options = ConvertOptions(
        mean=(0.1,), std=(0.9,), labels=labels, crop_ratio=0.5, license="mit", dataset="cifar10"
    )
    done = convert_weights("hf-hub:ours/model", output=tmp_path / "run", options=options)
    assert (done.mean, done.std, done.license) == ((0.1,) * 3, (0.9,) * 3, "mit")
    assert done.run.read_labels() == tuple("abcde")
    assert done.run.read_config().augmentation.eval_crop_ratio == 0.5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf-hub:model", r"teacher=hf-hub:model must be hf-hub:ORG/NAME"),
        ("hf-hub:a/b/c", "must be hf-hub:ORG/NAME"),
        ("hf-hub:../../etc", "must be hf-hub:ORG/NAME"),
        ("hf-hub:ours/..", "hf-hub:ours/.."),
        ("hf-hub:ours/other", r"config\.json is not in .*hf download ours/other"),
    ],
)
def test_names_that_lead_nowhere(home, name, words):
    with pytest.raises(InputError, match=words):
        located.located(name, flag="teacher")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b"{", "cannot be read"),
        (b"[]", "does not hold a JSON object"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"model_type": "vit"}', "transformers library .model_type=vit"),
        (b"{}", "not timm's"),
        (
            hub_cache.config("convnext_tiny", num_classes=5),
            "a convnext_tiny, which is not among",
        ),
        (hub_cache.config("swin_s3_tiny_224", num_classes=5), "swin_s3_tiny_224"),
        (hub_cache.config("mixer_b16_224", num_classes=0), "without classes"),
        (hub_cache.config("mixer_b16_224", num_classes=5, mean=["x"]), "is damaged"),
        (hub_cache.config("mixer_b16_224", num_classes=5, mean=[1e999] * 3), "is damaged"),
        (hub_cache.config("mixer_b16_224", num_classes=5, mean=[0.5] * 9), "has 9 numbers where"),
        (
            json.dumps(
                {"architecture": "mixer_b16_224", "label_names": {"1000000000": "a"}}
            ).encode(),
            "has names for 1,000,000,001 classes",
        ),
        (
            json.dumps(
                {"architecture": "mixer_b16_224", "label_names": {"1": "a"}, "num_classes": 10**12}
            ).encode(),
            "has names for 1,000,000,000,000 classes",
        ),
        (json.dumps({"architecture": "mixer\n\x1b[31m" * 1000}).encode(), r"is a 'mixer\\n\\x1b"),
        (hub_cache.config("mixer_b16_224", num_classes=5, input_size=[3, 16, 32]), "not a square"),
        (
            hub_cache.config("mixer_b16_224", num_classes=5, label_names=["a", "b"]),
            "2 label_names for 5 classes",
        ),
        (
            hub_cache.config("mixer_b16_224", num_classes=1, label_names=["a\nb"]),
            "line break",
        ),
        (
            hub_cache.config("mixer_b16_224", num_classes=5, model_args={"act_layer": "relu"}),
            "with act_layer=relu, which no model here has",
        ),
        (
            hub_cache.config("mixer_b16_224", num_classes=5, model_args={"global_pool": "max"}),
            "with global_pool=max",
        ),
        (hub_cache.config("mixer_b16_224", num_classes=5, model_args=[1]), "model_args is no"),
        (hub_cache.config("gmlp_s16_224", num_classes=5), "none of the known layouts of a gmlp"),
    ],
)
def test_a_config_that_does_not_fit(small, home, config, words):
    path = hub.find("hf-hub:ours/model").path / "config.json"
    path.unlink()
    path.write_bytes(config)
    with pytest.raises(InputError, match=words):
        located.located("hf-hub:ours/model", flag="teacher")
    assert not list((home / "assets").rglob("run_*"))


def test_the_older_form_of_config(small, home):
    path = hub.find("hf-hub:ours/model").path / "config.json"
    content = {"architecture": "mixer_b16_224", "num_classes": 5, "mean": HALF, "std": HALF}
    content |= {"input_size": [3, 16, 16], "labels": {"0": "ant", "4": "emu"}}
    path.unlink()
    path.write_text(json.dumps(content))
    run = RunDirectory(located.located("hf-hub:ours/model", flag="teacher"))
    assert run.read_labels() == ("ant", "1", "2", "3", "emu")


def test_a_damaged_file_of_weights(small, home):
    folder = hub.find("hf-hub:ours/model").path
    part = min(folder.glob("*.safetensors"))
    part.resolve().write_bytes(part.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged or cut-off safetensors file"):
        located.located("hf-hub:ours/model", flag="teacher")
    assert not list((home / "assets").rglob("run_*"))


def test_a_pickle_from_the_hub_is_read_without_running_it(torch, home, tmp_path):
    module = mixer(import_timm())
    torch.save(module.state_dict(), tmp_path / "weights.bin")
    config = hub_cache.config("mixer_b16_224", num_classes=5, input_size=[3, 16, 16])
    files = {"pytorch_model.bin": (tmp_path / "weights.bin").read_bytes(), "config.json": config}
    hub_cache.put(home, "ours/model", files)
    run = located.located("hf-hub:ours/model", flag="teacher")
    assert RunDirectory(run).read_result()["origin"]["format"] == "torch zip"
    marker = tmp_path / "executed"
    hostile = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    hub_cache.put(home, "ours/hostile", {"pytorch_model.bin": hostile, "config.json": config})
    with pytest.raises(InputError, match="not a PyTorch file"):
        located.located("hf-hub:ours/hostile", flag="teacher")
    assert not marker.exists()


def test_from_the_command_line(small, home, root, tmp_path):
    """A process of its own: the variables of the hub are read when Keras is loaded."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "std_keras", "convert"),
            *("--source=hf-hub:ours/model", f"--output={tmp_path / 'run'}"),
        ],
        cwd=root,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "model: mixer_s32 with --patch_size=4, --width=12, --depth=2",
        "images: 16 x 16 pixels, of which 0.875 is looked at; mean 0.5, 0.5, 0.5",
        "classes: 5, named by the source's config.json",
        "licence: apache-2.0",
    ):
        assert words in done.stderr


def test_a_hub_that_cannot_be_reached_from_the_command_line(home, tmp_path):
    prelude = (
        "import time\n"
        "time.sleep = lambda seconds: None  # Their library asks again, for half a minute.\n"
        "from huggingface_hub import constants\n"
        f"constants.HF_HUB_CACHE, constants.ENDPOINT = {str(home / 'hub')!r}, 'http://127.0.0.1:9'\n"
        "from std_keras.programs.main import console\n"
        "console()"
    )
    done = processes.run(
        *("-c", prelude, "train", "--dataset=digits", "--distillation=hard"),
        *("--teacher=hf-hub:ours/none", f"--model_dir={tmp_path / 'student'}"),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: --teacher=hf-hub:ours/none: config.json is not in")
    assert "the hub cannot be reached; run hf download ours/none where there is a network" in last
