"""The pages of the site in one folder, laid out as in the repository."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**/*.md",
    "deploy/helm/sfumato/README.md",
    "diffusion/models/emoji/README.md",
)
FRONT = Path("README.md")
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def stage(folder: Path, contents: str) -> None:
    """Write every page into an empty folder, and the files of the repository that pages link to.

    The README becomes ``index.md``, followed by ``contents``. A link to a folder goes to its
    ``index.md``, which lists its pages.
    """
    pages = [path.relative_to(ROOT) for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    for page in pages:
        text = with_links(page, pages, folder)
        if page == FRONT:
            write(folder / "index.md", f"{text}\n{contents}")
        else:
            write(folder / page, text)


def with_links(page: Path, pages: Iterable[Path], folder: Path) -> str:
    """Return a page's text with its links as they are in the folder."""
    text = (ROOT / page).read_text()
    return LINK.sub(lambda found: staged_link(found[0], page, pages, folder), text)


def staged_link(link: str, page: Path, pages: Iterable[Path], folder: Path) -> str:
    """Return a link of a page as it is in the folder, where its target is put if it is no page."""
    named = Path(os.path.normpath(page.parent / link))
    if named == FRONT:
        return os.path.relpath("index.md", page.parent)
    if named in pages or named.parts[0] == "..":
        return link
    if (ROOT / named).is_dir():
        inside = [each for each in pages if each.parent == named]
        write(folder / named / "index.md", index(named.name, inside))
        return f"{link.rstrip('/')}/index.md"
    if (ROOT / named).is_file():
        (folder / named).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / named, folder / named)
    return link


def index(name: str, pages: Iterable[Path]) -> str:
    """Return the page that lists a folder's pages."""
    names = "\n".join(page.stem for page in pages)
    return f"# {name.capitalize()}\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"


def write(path: Path, text: str) -> None:
    """Write a file and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
