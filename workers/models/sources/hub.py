"""Repositories of the hub, through ``huggingface_hub``; HF_ENDPOINT and HF_TOKEN are its own.

The library lists a repository at one commit and names its files' digests. The files come by
:mod:`workers.models.sources.download`, since the library begins each anew in each process.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers

from diffusion.errors import BundleError
from jobs.telemetry.text import shown
from workers.models.directory.errors import Interrupted
from workers.models.sources.download import Report, Wanted, download, web_client
from workers.models.sources.source import Hub

MOST_FILES = 20_000


@dataclass(frozen=True)
class HubFile:
    """A file of a repository."""

    size: int
    sha256: str | None  # of those that git does not keep itself


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    source: Hub
    commit: str
    files: Mapping[str, HubFile]


def list_files(source: Hub) -> Listing:
    """Return the files of a repository at the commit that its revision names now.

    Raises:
        Interrupted: the hub does not answer.
        BundleError: it has no such repository or revision, or does not let this token in.
    """
    api = HfApi(library_name="sfumato", endpoint=constants.ENDPOINT)
    with _one_line(source):
        commit = api.model_info(source.repo, revision=source.revision).sha
        if not commit:
            raise BundleError(f"{source.said}: {constants.ENDPOINT} names no commit")
        files: dict[str, HubFile] = {}
        for entry in api.list_repo_tree(source.repo, recursive=True, revision=commit):
            if len(files) >= MOST_FILES:
                raise BundleError(f"{source.said} holds more than {MOST_FILES} files")
            if isinstance(entry, RepoFile):
                sha256 = entry.lfs.sha256 if entry.lfs is not None else None
                files[_inside(entry.path, source)] = HubFile(entry.size, sha256)
    return Listing(source, commit, files)


def fetch(listing: Listing, file: str, target: Path, report: Report) -> None:
    """Download one file of a repository, unless it is there.

    Raises:
        Interrupted: the connection is gone; the same call resumes.
        BundleError: the hub refuses, or sent another file than it lists.
    """
    source, entry = listing.source, listing.files[file]
    url = hf_hub_url(source.repo, file, revision=listing.commit, endpoint=constants.ENDPOINT)
    said = f"hf:{source.repo}/{file}"
    wanted = Wanted(said, entry.size, entry.sha256, head=file.endswith(".safetensors"))
    headers = build_hf_headers(library_name="sfumato")
    with _one_line(source), web_client() as client:
        download(client, url, target, wanted, headers, report)


def _inside(path: str, source: Hub) -> str:
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(parts):
        raise BundleError(f"{source.said} lists {shown(path)!r}, a path out of it")
    return path


@contextmanager
def _one_line(source: Hub) -> Iterator[None]:
    """Turn the library's errors into ones of one line."""
    said = source.said
    token = "HF_TOKEN" if get_token() else "set HF_TOKEN"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise BundleError(f"{said}: HF_HUB_OFFLINE is set; unset it to download") from error
    except GatedRepoError as error:
        need = "the account of HF_TOKEN has no access yet" if get_token() else token
        raise BundleError(f"{said} is gated: accept its conditions on the hub ({need})") from error
    except RevisionNotFoundError as error:
        raise BundleError(f"hf:{source.repo} has no revision {source.revision}") from error
    except RepositoryNotFoundError as error:
        raise BundleError(
            f"hf:{source.repo} is not on {constants.ENDPOINT}, or private ({token})"
        ) from error
    except HFValidationError as error:
        raise BundleError(f"{said} cannot be a repository: {error}") from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise BundleError(f"{said}: {constants.ENDPOINT} refuses ({code}; {token})") from error
        if code >= 500 or code == 429:
            raise Interrupted(f"{said}: {constants.ENDPOINT} answers {code}; try again") from error
        raise BundleError(f"{said}: {constants.ENDPOINT} answers {code}") from error
    except httpx2.HTTPError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Interrupted(f"{said}: {constants.ENDPOINT} cannot be reached: {reason}") from error
