"""The documentation site builds without a warning, and has every page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest

from tests.docs.markdown import PAGES, read


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=root,
        # mkdocs-material announces its successor at every build.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_in_the_navigation_and_on_the_site(site, page):
    name = page.removeprefix("docs/")
    assert re.search(rf"^ +- .*: {re.escape(name)}$", read("mkdocs.yml"), re.MULTILINE)
    assert (site / name).with_suffix(".html").stat().st_size > 0


@pytest.mark.parametrize("page", PAGES)
def test_the_first_lines_ask_or_answer(page):
    title, _, first = read(page).split("\n", 2)
    assert title.startswith("# ")
    assert re.match(r"[A-Z`]", first), "a sentence follows the title"


def test_linked_tables_and_notes_are_pages_too(site):
    page = (site / "results.html").read_text(encoding="utf-8")
    for name in ("RESULTS.html", "results/cifar100_cpu_study.html"):
        assert f'href="repository/{name}"' in page
        assert (site / "repository" / name).exists()
    # Their own links are followed, and lead back to the pages.
    assert (site / "repository" / "results" / "cifar100_cpu_study.svg").exists()


def test_links_inside_the_site_lead_to_files(site):
    broken = set()
    for file in site.rglob("*.html"):
        if file.name == "404.html":  # Its links start at the site's root.
            continue
        for link in re.findall(r'href="([^"#?]+)', file.read_text(encoding="utf-8")):
            if ":" not in link and not (file.parent / link).exists():
                broken.add((file.name, link))
    assert broken == set()


@pytest.mark.parametrize(
    "name",
    [
        "std_keras.training.train.train",
        "std_keras.models.create_student",
        "std_keras.losses.distillation.soft_distillation",
        "std_keras.losses.mine.Critic",
        "std_keras.layers.TokenSet",
        "std_keras.exporting.convert",
    ],
)
def test_reference_is_made_from_docstrings(site, name):
    assert f'id="{name}"' in (site / "python.html").read_text(encoding="utf-8")


def test_docs_extra_is_part_of_what_the_tests_install(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = read("requirements-dev.txt").splitlines()
    assert project["optional-dependencies"]["docs"]
    assert set(project["optional-dependencies"]["docs"]) <= set(installed)
    published = read(".github/workflows/docs.yml")
    assert all(f'"{pin}"' in published for pin in project["optional-dependencies"]["docs"])
