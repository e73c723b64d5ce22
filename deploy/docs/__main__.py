"""Build the site: ``python -m deploy.docs FOLDER`` writes ``FOLDER/html``.

A warning of Sphinx, such as a link to nothing, fails the build.
"""

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from deploy.docs.reference import pages
from deploy.docs.stage import stage, write
from service.application import create_app
from service.settings import ServiceSettings

HERE = Path(__file__).parent


def build(folder: Path) -> int:
    """Write the site into ``folder/html``; return Sphinx' exit code."""
    source, doctrees, html = (folder / name for name in ("source", "doctrees", "html"))
    for former in (source, doctrees, html):
        shutil.rmtree(former, ignore_errors=True)
    stage(source, (HERE / "contents.md").read_text())
    settings = ServiceSettings.model_construct()  # the defaults, whatever this machine's are
    for name, text in pages(create_app(settings).openapi()).items():
        write(source / "reference" / f"{name}.md", text)
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    folders = ["--conf-dir", HERE, "--doctree-dir", doctrees, source, html]
    return build_main([*strict, *map(str, folders)])


def main() -> None:
    """Build, and print the address of the front page."""
    folder = Path(sys.argv[1]).resolve()
    if code := build(folder):
        sys.exit(code)
    print(f"{folder}/html/index.html")


if __name__ == "__main__":
    main()
