"""mkdocs hook: the repository's files that pages link to become part of the documentation site.

Pages in docs/ link to tables in results/, to RESULTS.md, to cards of shipped weights, as a reader
of the repository expects. A site generator knows docs/ alone. So every Markdown file outside docs/
that can be reached by links becomes a page below repository/, any other file a download, and the
links are rewritten. A link to a file that does not exist stays, and `--strict` refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
_DOCS = "docs/"
_REST = "repository/"
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, *, config: Any) -> Files:
    """Adds what can be reached from the pages and lies outside docs/."""
    waiting = [_DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        for target in linked_files((ROOT / page).read_text(encoding="utf-8"), page=page):
            if target in seen:
                continue
            seen.add(target)
            if target.startswith(_DOCS):
                continue
            files.append(File.generated(config, site_path(target), abs_src_path=str(ROOT / target)))
            if target.endswith(".md"):
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Rewrites the links of a page from places in the repository to places on the site."""
    here = repository_path(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = resolve(link[2], page=here)
        if not (ROOT / target).is_file():
            return link[0]
        place = posixpath.relpath(site_path(target), posixpath.dirname(page.file.src_uri) or ".")
        return f"{link[1]}{place}{link[3]}"

    return _LINK.sub(rewritten, markdown)


def linked_files(markdown: str, *, page: str) -> list[str]:
    """The files, as paths in the repository, that a page of the repository links to."""
    targets = [resolve(link[2], page=page) for link in _LINK.finditer(markdown)]
    return [target for target in targets if (ROOT / target).is_file()]


def resolve(link: str, *, page: str) -> str:
    """A relative link of a page as a path in the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def site_path(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path.startswith(_DOCS):
        return path.removeprefix(_DOCS)
    # mkdocs takes README.md for the page of a folder, as index.md.
    return _REST + path.replace("README.md", "readme_page.md")


def repository_path(uri: str) -> str:
    """Where a page of the site is in the repository."""
    if uri.startswith(_REST):
        return uri.removeprefix(_REST).replace("readme_page.md", "README.md")
    return _DOCS + uri
