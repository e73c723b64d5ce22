"""Whether a model is still what was added, and whether a worker could draw with it here."""

from pathlib import Path

from diffusion.errors import BundleError
from diffusion.files import check_files, digest
from jobs.errors import StartError
from jobs.host.memory import free_memory
from jobs.host.models import RECORD
from jobs.settings import read_environment
from workers.models.directory.errors import GB, OutOfMemory, size
from workers.models.directory.record import EDITABLE, differences, pin, read_record

SHOWN = 3  # differences in a message
WEIGHTS_TWICE = 2.0
"""Of the weights in float32: they are read and held, and copied while one part is built."""
LIBRARIES = 1 * GB


def check_pin(folder: Path, sha256: str | None = None) -> str:
    """Compare a model's files with its record, and its digest with the one given; return a note.

    Raises:
        BundleError: it is another model, or not one; the message names the files.
    """
    check_files(folder)
    found = digest(folder)
    if sha256 is not None and found != sha256:
        raise BundleError(f"{folder} has sha256 {found}, not {sha256}")
    if not (folder / RECORD).exists():
        return f"sha256 {found}"
    record = read_record(folder)
    if different := differences(folder, record):
        more = f", and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
        raise BundleError(
            f"{folder.name} is not what was added: {'; '.join(different[:SHOWN])}{more}"
        )
    edited = folder / EDITABLE
    was = record.files.get(EDITABLE)
    now = pin(edited) if edited.exists() else None
    note = f"; {EDITABLE} has been edited" if now != was else ""
    return f"{len(record.files)} files are those that were added{note}"


def try_out(folder: Path) -> str:
    """Load a model as a worker would and evaluate it once; return what ran it.

    Raises:
        BundleError: it is refused, or fails.
    """
    import torch  # only here: it takes its time

    from workers.check import check
    from workers.settings import WorkerSettings

    try:
        settings = read_environment(WorkerSettings, model=folder)
        return check(settings)
    except StartError as error:
        raise BundleError(str(error)) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(f"out of memory: {str(error)[:200]}") from error


def too_large_to_try(parameters: int) -> str | None:
    """Return why a model of so many parameters is not loaded here, None if it fits."""
    needed = WEIGHTS_TWICE * 4 * parameters + LIBRARIES
    free = free_memory()
    if free is None or needed <= free:
        return None
    return f"trying it needs about {size(needed)} of memory, and {size(free)} are free"
