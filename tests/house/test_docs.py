"""What the documents name is there: links between pages, files of the repository, pages named in the source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.test_rooms import python_files

LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FILE = re.compile(
    r"(?<![\w/])((?:bisc|preprocessing|planners|trainers|evaluation|tests|scripts|docs)/[\w/.-]+\.(?:py|md|png|j2))\b"
)


def pages(repository: Path) -> list[Path]:
    """The Markdown that a reader meets."""
    top = [repository / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *sorted((repository / "docs").rglob("*.md"))]


def current(repository: Path) -> Iterator[tuple[Path, str]]:
    """Pages, and the source; the changes keep the names of their day."""
    own = Path(__file__).name
    for path in [*pages(repository), *python_files(repository)]:
        if path.name not in ("CHANGELOG.md", own):
            yield path, path.read_text(encoding="utf-8")


def test_every_link_leads_somewhere(repository: Path) -> None:
    """Relative ones, as a forge resolves them; a picture too."""
    links = [(page, target) for page in pages(repository) for target in LINK.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 60
    assert [(page.name, t) for page, t in links if not (page.parent / t).exists()] == []


def test_every_page_is_in_the_navigation(repository: Path) -> None:
    """And the navigation names none that is gone."""
    text = (repository / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md\b", text))
    docs = repository / "docs"
    assert named == {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}


def test_files_that_pages_and_source_name_are_there(repository: Path) -> None:
    """Of source, tests and scripts; a docstring that sends its reader to a page that has moved sends him nowhere."""
    named = [(page.name, name) for page, text in current(repository) for name in FILE.findall(text)]
    assert len(named) > 10
    assert [item for item in named if not (repository / item[1]).exists()] == []


@pytest.mark.parametrize("where", ["README.md", "docs/index.md"])
def test_what_it_is_no_good_for_is_said(repository: Path, where: str) -> None:
    """Pictures are of simulated data, and their captions say so."""
    text = (repository / where).read_text(encoding="utf-8")
    assert "Simulated data" in text
    assert text.count("Research use, not a medical device.") == (where == "README.md")
