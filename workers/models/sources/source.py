"""Where a model is added from: a path, an https URL, or a repository of the hub."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from diffusion.errors import BundleError
from jobs.host.models import served_name
from jobs.telemetry.text import shown

HUB = re.compile(r"hf:(?://)?(?P<repo>[^/@]+/[^/@]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>.+))?")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
WEIGHTS = ".safetensors"
REFUSED = {
    ".ckpt": "a pickle", ".pt": "a pickle", ".pth": "a pickle", ".bin": "a pickle",
    ".pkl": "a pickle", ".gguf": "GGUF", ".msgpack": "a Flax file", ".onnx": "an ONNX graph",
    ".zip": "a zip archive", ".7z": "a 7-Zip archive",
}  # fmt: skip


@dataclass(frozen=True)
class Local:
    """A folder or a file of this machine."""

    path: Path

    @property
    def said(self) -> str:
        """The source as it is recorded."""
        return str(self.path.absolute())

    @property
    def name(self) -> str:
        """The model's name if none is given."""
        path = self.path.absolute()
        return served_name(path) if path.is_dir() else stem(path.name)


@dataclass(frozen=True)
class Web:
    """A file or an archive at a URL."""

    url: str

    @property
    def said(self) -> str:
        """The source as it is recorded: without a password, and without a query's values."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")

    @property
    def name(self) -> str:
        """The model's name if none is given."""
        return stem(unquote(PurePosixPath(urlsplit(self.url).path).name))


@dataclass(frozen=True)
class Hub:
    """A repository of the hub, or one file of it."""

    repo: str  # OWNER/NAME
    file: str | None = None
    revision: str | None = None  # a branch, a tag or a commit

    @property
    def said(self) -> str:
        """The source as it is recorded."""
        file = f"/{self.file}" if self.file else ""
        return f"hf:{self.repo}{file}" + (f"@{self.revision}" if self.revision else "")

    @property
    def name(self) -> str:
        """The model's name if none is given."""
        return stem(PurePosixPath(self.file).name) if self.file else self.repo.partition("/")[2]


Source = Local | Web | Hub


def read_source(text: str, *, pinned: bool) -> Source:
    """Return the source that a text names; ``pinned`` says that its sha256 is given.

    Raises:
        BundleError: it is of another kind, or of a format that is not served.
    """
    if text.startswith("hf:"):
        return _hub(text)
    if SCHEME.match(text) is None:
        return Local(Path(text).expanduser())
    try:
        parts = urlsplit(text)
        host = parts.hostname if parts.port != 0 else None
    except ValueError as error:
        raise BundleError(f"{shown(text)} is no URL: {error}") from error
    if parts.scheme == "file":
        return Local(Path(url2pathname(parts.path)))
    web = Web(text)
    if parts.scheme not in ("http", "https") or not host or not text.isprintable():
        raise BundleError(f"{shown(web.said)} is no path, no https URL, and no hf:OWNER/NAME")
    if parts.scheme == "http" and not pinned:
        raise BundleError(f"{shown(web.said)}: http is only for what --sha256 pins; use https")
    check_suffix(parts.path, web.said)
    return web


def _hub(text: str) -> Hub:
    match = HUB.fullmatch(text)
    if match is None:
        raise BundleError(f"{shown(text)} is not hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    source = Hub(**match.groupdict())
    for each in filter(None, (source.repo, source.file, source.revision)):
        if not each.isprintable() or {"..", "."} & set(each.split("/")):
            raise BundleError(f"{shown(text)} is not hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    if source.file is not None:
        check_suffix(source.file, source.said)
        if not source.file.endswith(WEIGHTS):
            raise BundleError(f"{shown(source.said)} is no {WEIGHTS} file")
    return source


def check_suffix(path: str, said: str) -> None:
    """Refuse a file by the name of its format, before any of it is read.

    Raises:
        BundleError: the format is one that is never loaded.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in REFUSED:
        raise BundleError(
            f"{shown(said)} is {REFUSED[suffix]}; only {WEIGHTS} files are added, "
            "folders of them, and tar archives of those"
        )


def stem(file: str) -> str:
    """Return a file's name without the end that says its format."""
    for end in (*ARCHIVES, WEIGHTS):
        if file.endswith(end):
            return file.removesuffix(end)
    return PurePosixPath(file).stem
