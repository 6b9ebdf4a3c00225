"""Image sets of the `datasets` library: saved ones, and those in its cache."""

from __future__ import annotations

import io
import json
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from std_keras.data import folder_content, load
from std_keras.data.class_names import class_names
from std_keras.data.hf_list import parse
from std_keras.errors import InputError, MachineError
from tests.data.refusal import refusal

NAMES = ["zebra", "ant"]  # Not the order of the alphabet.
COMMIT, OTHER = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """The library's cache, and where pictures are unpacked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    datasets.disable_progress_bars()
    return tmp_path / "hf" / "datasets"


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FEATURES = datasets.Features(img=datasets.Image(), label=datasets.ClassLabel(names=NAMES))


def rows(seeds, labels):
    return [
        {"img": {"bytes": picture(seed), "path": f"{seed}.png"}, "label": label}
        for seed, label in zip(seeds, labels, strict=True)
    ]


def part(seeds, labels, features=FEATURES):
    return datasets.Dataset.from_list(rows(seeds, labels), features=features)


PARTS = {
    "train": rows(range(4), [0, 1, 1, 0]),
    "validation": rows([4, 5], [1, 0]),
    "test": rows([6, 7], [-1, -1]),  # As in ImageNet.
}


class Pets(datasets.GeneratorBasedBuilder):
    """Prepares a cache as `load_dataset` does."""

    BUILDER_CONFIG_CLASS = datasets.BuilderConfig
    parts = PARTS

    def _info(self):
        return datasets.DatasetInfo(features=FEATURES)

    def _split_generators(self, dl_manager):
        return [datasets.SplitGenerator(name=n, gen_kwargs={"part": n}) for n in self.parts]

    def _generate_examples(self, part):
        yield from enumerate(self.parts[part])


def prepare(cache, *, repo="an-org/MyPets", config="plain", commit=COMMIT, parts=PARTS):
    builder = Pets(
        cache_dir=str(cache),
        repo_id=repo,
        dataset_name=repo.split("/")[-1],
        config_name=config,
        version="0.0.0",
        hash=commit,
    )
    builder.parts = parts
    builder.download_and_prepare()
    return builder.cache_dir


def images_of(source):
    (images, _), labels = source.decode(np.arange(source.size)), source.labels()
    return np.asarray(images), labels


def expected(seeds):
    """The centre of the pictures, 8 of 12 pixels wide."""
    return np.stack([np.asarray(Image.open(io.BytesIO(picture(s))))[:, 2:10] for s in seeds])


def check(found):
    assert found.label_names == tuple(NAMES)
    assert found.sizes == {"train": 4, "validation": 0, "test": 2}
    for source, seeds, labels in (
        (found.train, range(4), [0, 1, 1, 0]),
        (found.test, [4, 5], [1, 0]),  # Without labelled test rows, validation is the test part.
    ):
        images, own = images_of(source)
        np.testing.assert_array_equal(images, expected(seeds))
        np.testing.assert_array_equal(own, labels)


def test_a_name_is_what_the_library_has_in_its_cache(caches):
    folder = prepare(caches)
    assert folder == str(caches / "an-org___my_pets" / "plain" / "0.0.0" / COMMIT)
    for name in ("an-org/MyPets", "an-org/MyPets@aaaaaaa", "an-org/MyPets,config=plain"):
        check(load(f"hf:{name}", image_size=8))
    assert class_names("hf:an-org/MyPets") == tuple(NAMES)


def test_a_saved_set_is_the_same(tmp_path):
    saved = tmp_path / "a, folder"
    parts = {name: datasets.Dataset.from_list(p, features=FEATURES) for name, p in PARTS.items()}
    datasets.DatasetDict(parts).save_to_disk(saved)
    check(load(f"hf:{saved}", image_size=8))
    facts = folder_content.facts(f"hf:{saved}")
    moved = saved.rename(tmp_path / "moved")
    assert facts["folder"] == str(saved)
    assert folder_content.has_content_of(f"hf:{moved},image=img", facts)


def test_pictures_that_are_files_stay_there(tmp_path):
    """As in the cache of a repository of picture files."""
    paths = []
    for seed in range(4):
        paths.append(str(tmp_path / f"{seed}.png"))
        (tmp_path / f"{seed}.png").write_bytes(picture(seed))
    found = datasets.Dataset.from_dict({"img": paths, "label": [0, 1, 1, 0]}, features=FEATURES)
    # `save_to_disk` would put them inside.
    builder = prepare(
        tmp_path / "hf" / "datasets",
        parts={"train": list(found.cast_column("img", datasets.Image(decode=False)))},
    )
    loaded = load("hf:an-org/MyPets", image_size=8, whole_as_test=True)
    images, labels = images_of(loaded.train)
    np.testing.assert_array_equal(images, expected(range(4)))
    np.testing.assert_array_equal(labels, [0, 1, 1, 0])
    assert builder and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["train", "all"])
def test_one_part_alone_is_cut(tmp_path, name):
    saved = tmp_path / "saved"
    datasets.DatasetDict({name: part(range(10), [0, 1] * 5)}).save_to_disk(saved)
    with pytest.raises(InputError, match="test_fraction=0.2"):
        load(f"hf:{saved}", image_size=8)
    found = load(f"hf:{saved}", image_size=8, test_fraction=0.4)
    assert found.sizes == {"train": 6, "validation": 0, "test": 4}
    part(range(10), [0, 1] * 5).save_to_disk(tmp_path / "single")
    assert load(f"hf:{tmp_path / 'single'}", image_size=8, test_fraction=0.4).sizes == found.sizes


def test_several_label_columns_are_chosen_from(tmp_path):
    features = datasets.Features(
        picture=datasets.Image(),
        mask=datasets.Image(),
        fine=datasets.ClassLabel(names=["a", "b", "c"]),
        coarse=datasets.ClassLabel(names=["x", "y"]),
        kind=datasets.Value("string"),
        weight=datasets.Value("float32"),
    )
    table = [
        {"picture": {"bytes": picture(s)}, "mask": {"bytes": picture(9)}, "fine": s % 3}
        | {"coarse": s % 2, "kind": "qp"[s % 2], "weight": 0.5}
        for s in range(6)
    ]
    datasets.Dataset.from_list(table, features=features).save_to_disk(tmp_path / "set")
    name, options = f"hf:{tmp_path / 'set'}", {"image_size": 8, "whole_as_test": True}
    assert "picture (Image), mask (Image), fine (ClassLabel)" in refusal(name)
    assert "add ,image=picture|mask" in refusal(name)
    assert "add ,label=fine|coarse" in refusal(f"{name},image=picture")
    assert "label=weight names none" in refusal(f"{name},image=picture,label=weight")
    assert "image=kind names none of type Image" in refusal(f"{name},image=kind")
    found = {
        label: load(f"{name},image=picture,label={label}", **options)
        for label in ("fine", "coarse", "kind")
    }
    assert [f.label_names for f in found.values()] == [("a", "b", "c"), ("x", "y"), ("p", "q")]
    np.testing.assert_array_equal(found["fine"].train.labels(), [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(found["kind"].train.labels(), [1, 0, 1, 0, 1, 0])
    masks = load(f"{name},image=mask,label=fine", **options)
    np.testing.assert_array_equal(images_of(masks.train)[0], expected([9] * 6))


def test_numbers_called_label_without_names(tmp_path):
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    table = [{"image": {"bytes": picture(s)}, "label": s + 9} for s in range(3)]
    datasets.Dataset.from_list(table, features=features).save_to_disk(tmp_path / "set")
    assert class_names(f"hf:{tmp_path / 'set'}") == ("9", "10", "11")


def test_mirrored_digits_are_other_digits(caches):
    prepare(caches, repo="ylecun/mnist")
    prepare(caches, repo="uoft-cs/cifar10")
    digits = load("hf:ylecun/mnist", image_size=8)
    cifar = load("hf:uoft-cs/cifar10@aaaaaaa", image_size=8)
    assert not digits.horizontal_flip and cifar.horizontal_flip
    assert cifar.mean == (0.4914, 0.4822, 0.4465)


def test_the_newest_revision_or_the_one_that_is_named(caches):
    prepare(caches)
    facts = folder_content.facts("hf:an-org/MyPets")
    newer = prepare(caches, commit=OTHER, parts={"train": rows(range(3), [0, 1, 0])})
    assert load("hf:an-org/MyPets", image_size=8, whole_as_test=True).train.size == 3
    assert not folder_content.has_content_of("hf:an-org/MyPets", facts)
    assert folder_content.has_content_of(f"hf:an-org/MyPets@{COMMIT}", facts)
    check(load(f"hf:an-org/MyPets@{COMMIT[:7]}", image_size=8))
    shutil.rmtree(newer)
    check(load("hf:an-org/MyPets", image_size=8))


def test_what_is_not_there_is_named_with_the_command_that_gets_it(caches, tmp_path):
    message = refusal(f"hf:an-org/none@{COMMIT}")
    assert f"datasets.load_dataset('an-org/none', revision='{COMMIT}')" in message
    prepare(caches)
    message = refusal("hf:an-org/MyPets,config=other")
    assert "which has plain at aaaaaaaaaaaa" in message
    assert "datasets.load_dataset('an-org/MyPets', 'other')" in message
    assert "which has plain at aaaaaaaaaaaa" in refusal("hf:an-org/MyPets@bbbbbbb")
    prepare(caches, config="small")
    assert "add ,config=plain|small" in refusal("hf:an-org/MyPets")
    for name in (f"hf:{tmp_path}/none", "hf:a/b/c", "hf:", "hf://a/b", "hf:a/b@main", "hf:../x"):
        assert "is neither a folder" in refusal(name)
        assert "is neither a folder" in refusal(name, image_size=None)
    assert "get it once" in refusal("hf:a/b", image_size=None)


def test_what_cannot_be_used(tmp_path, monkeypatch):
    part([0, 1], [0, 1]).save_to_disk(tmp_path / "one")
    name = f"hf:{tmp_path / 'one'}"
    assert "'size=3' is not an option" in refusal(f"{name},size=3")
    assert "no configurations" in refusal(f"{name},config=x")
    assert "`image_size` is needed for hf: data" in refusal(name, image_size=None)
    both = datasets.DatasetDict({"a": part([0], [0]), "b": part([1], [1])})
    both.save_to_disk(tmp_path / "both")
    assert "has the splits a, b; one must be called train" in refusal(f"hf:{tmp_path / 'both'}")
    part([0, 1], [0, -1]).save_to_disk(tmp_path / "half")
    assert "1 of 2 rows of the split train have no label" in refusal(f"hf:{tmp_path / 'half'}")
    texts = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    texts.save_to_disk(tmp_path / "texts")
    assert "has the columns text (string), label (int64); none is the image" in refusal(
        f"hf:{tmp_path / 'texts'}"
    )


def test_damaged_sets_are_refused(tmp_path):
    saved = tmp_path / "saved"
    part(range(30), [0, 1] * 15).save_to_disk(saved)
    name, random = f"hf:{saved}", np.random.default_rng(0)
    for file in ("data-00000-of-00001.arrow", "state.json", "dataset_info.json"):
        content = (saved / file).read_bytes()
        for _ in range(3):
            (saved / file).write_bytes(content[: random.integers(len(content))])
            assert "cannot be read: " in refusal(name, whole_as_test=True)
        for _ in range(4):  # Whatever a changed byte does: one sentence, or pictures.
            changed = bytearray(content)
            changed[random.integers(len(content))] ^= 1 << random.integers(8)
            (saved / file).write_bytes(changed)
            try:
                load(name, image_size=8, whole_as_test=True, corrupt_images="skip")
            except InputError as error:
                assert "\n" not in str(error)
        (saved / file).write_bytes(content)
    info = json.loads((saved / "dataset_info.json").read_text())
    info["features"]["img"] = {"_type": "Nonsense"}
    (saved / "dataset_info.json").write_text(json.dumps(info))
    assert "cannot be read" in refusal(name)


def test_pictures_without_labels_are_not_unpacked(caches, tmp_path):
    """ImageNet has 100,000 of them."""
    prepare(caches)
    for _ in range(2):  # Unpacked, and found again.
        check(load("hf:an-org/MyPets", image_size=8))
    unpacked = (tmp_path / "cache").glob("std_keras/pictures/*/*/*.png")
    assert {file.parent.name for file in unpacked} == {"train", "validation"}


def test_a_cache_that_takes_no_pictures_is_the_machines_fault(tmp_path):
    part([0, 1], [0, 1]).save_to_disk(tmp_path / "saved")
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(MachineError, match="XDG_CACHE_HOME"):
        load(f"hf:{tmp_path / 'saved'}", image_size=8, whole_as_test=True)


def test_the_options_of_a_name():
    found = parse("a/b,config=160px,image=i,label=l")
    assert (found.source, found.config, found.image, found.label) == ("a/b", "160px", "i", "l")
    for wrong in ("a/b,config=x,config=y", "a/b,image="):
        with pytest.raises(InputError, match="is not an option"):
            parse(wrong)
