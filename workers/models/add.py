"""Adds a model: fetched, made whole in a staging folder, tried, and put in place by a rename."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from diffusion.errors import BundleError
from diffusion.files import check_files, digest, part_folder, read_json
from jobs.host.models import is_installed, is_name, served_name
from workers.models.check import too_large_to_try, try_out
from workers.models.describe import Lines, describe, missing, weights_of
from workers.models.directory.addition import Addition
from workers.models.directory.errors import DiskFull, Interrupted, OutOfMemory, Unfinished, is_full
from workers.models.directory.record import Record, pin, pins, read_record, write_record
from workers.models.directory.staging import Staging, check_free_name, staged
from workers.models.sources.copying import replace_vae, rewrite
from workers.models.sources.fetch import Fetched, fetch
from workers.models.sources.source import Local, Source, read_source

Say = Callable[[str], None]


@dataclass(frozen=True)
class Added:
    """An installed model, and what happened when it was tried."""

    folder: Path
    lines: Lines
    outcome: str


def add(models: Path, asked: Addition, say: Say) -> Added:
    """Install a model; return what it is.

    Raises:
        Interrupted: its source is gone; the same command resumes.
        BundleError: it is refused; nothing is installed.
    """
    source = read_source(asked.source, pinned=asked.sha256 is not None)
    name = asked.name or source.name
    _check_options(asked)
    if (record := _same(models, name, asked)) is not None:
        return Added(models / name, describe(models / name, record), "it was installed already")
    check_free_name(models, name, replace=asked.replace)
    with staged(models, name) as staging:
        try:
            return _add(staging, source, asked, say)
        except (Interrupted, Unfinished, KeyboardInterrupt):
            staging.keep_download()
            raise
        except Exception as error:
            staging.drop()
            if is_full(error) and not isinstance(error, DiskFull):
                raise DiskFull(f"the disk of {models} is full; {name} was not added") from error
            if isinstance(error, OSError):
                raise BundleError(f"{error.filename or models}: {error.strerror}") from error
            raise


def _same(models: Path, name: str, asked: Addition) -> Record | None:
    """Return the record of a model that is just what was asked for, as its sha256 says."""
    if asked.sha256 is None or not is_name(name) or not is_installed(models / name):
        return None
    record = read_record(models / name)
    pinned = asked.sha256 in (record.sha256, record.source_sha256)
    # A VAE or a LoRA may be another one by now.
    more = any((asked.vae, asked.loras, record.vae, record.loras))
    return record if pinned and not more and asked.options == record.options else None


def _check_options(asked: Addition) -> None:
    """Refuse what needs no model to be seen as wrong, before anything is downloaded."""
    if asked.ema and Path(asked.source).is_dir():
        raise BundleError("--ema: only single files hold moving averages beside their weights")
    if asked.vae is not None and not asked.vae.exists():
        raise BundleError(f"--vae: {asked.vae} is not there")
    if asked.loras:
        from diffusion.lora.file import check_lora

        for path, _ in asked.loras:
            check_lora(path)


def _add(staging: Staging, source: Source, asked: Addition, say: Say) -> Added:
    key = hashlib.sha256(asked.source.encode()).hexdigest()  # with what `said` leaves out
    staging.begin({"name": staging.name, "source": source.said, "key": key})
    fetched = fetch(staging, source, asked, say)
    notes = fetched.notes
    if fetched.single is not None:
        notes += _convert(fetched.single, staging.made, asked, source)
    else:
        if asked.vae is not None:
            replace_vae(staging.made, asked.vae)
        notes += _predicting(staging.made, asked)
    loras = _fuse(staging.made, asked, source) if asked.loras else ()
    _check_whole(staging.made, source)
    if _named(staging.made, staging.name):
        notes = (*notes, f"sfumato.json names it {staging.name} now")
    check_files(staging.made)
    outcome = _tried(staging, source, asked, say)
    record = _record(staging.made, source, asked, fetched, loras, notes)
    write_record(staging.made, record)
    lines = describe(staging.made, record)
    staging.put_in_place()
    return Added(staging.final, lines, outcome)


def _convert(file: Path, folder: Path, asked: Addition, source: Source) -> tuple[str, ...]:
    """Convert a single file; return what is said of it."""
    from diffusion.checkpoints.single_file import convert

    try:
        checkpoint = convert(
            file,
            folder,
            vae=asked.vae,
            prediction_type=asked.prediction,
            zero_snr=asked.zero_snr or None,
            ema=asked.ema,
        )
    except BundleError as error:
        _refuse(error, source)
    return tuple(checkpoint.notes)


def _fuse(folder: Path, asked: Addition, source: Source) -> tuple[str, ...]:
    from diffusion.lora.fuse import fuse

    try:
        said = fuse(folder, asked.loras)
        digests = [pin(path).sha256 for path, _ in asked.loras]
        return tuple(
            f"{each} (sha256 {sha256})" for each, sha256 in zip(said, digests, strict=True)
        )
    except BundleError as error:
        _refuse(error, source)


def _check_whole(folder: Path, source: Source) -> None:
    if lacks := missing(folder):
        _refuse(BundleError(f"{source.said} lacks {'; '.join(lacks)}{_advice(lacks)}"), source)


def _advice(lacks: list[str]) -> str:
    return ": give one with --vae" if any(each.startswith("vae") for each in lacks) else ""


def _refuse(error: BundleError, source: Source) -> NoReturn:
    """Raise an error that another option may mend, so that what was downloaded is kept for it."""
    if isinstance(source, Local) or is_full(error):
        raise error
    raise Unfinished(f"{error}; the download is kept for another try") from error


def _named(folder: Path, name: str) -> bool:
    """Let the model be served under its name; return whether ``sfumato.json`` had to change."""
    if served_name(folder) == name or not (folder / "sfumato.json").exists():
        return False
    extra: dict[str, Any] = read_json(folder / "sfumato.json")
    if "name" not in extra:
        return False
    rewrite(folder / "sfumato.json", extra | {"name": name})
    return True


def _predicting(folder: Path, asked: Addition) -> tuple[str, ...]:
    """Write what the network is said to predict into its scheduler's configuration."""
    wanted: dict[str, Any] = {}
    if asked.prediction is not None:
        wanted["prediction_type"] = asked.prediction
    if asked.zero_snr:
        wanted |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if not wanted:
        return ()
    name = "scheduler_config.json"
    path = part_folder(folder, "scheduler", name) / name
    rewrite(path, read_json(path) | wanted)
    return tuple(f"scheduler_config.json: {key} set to {value}" for key, value in wanted.items())


def _tried(staging: Staging, source: Source, asked: Addition, say: Say) -> str:
    if not asked.tried:
        return "not tried"
    count = sum(each.count for each in weights_of(staging.made).values())
    if (reason := too_large_to_try(count)) is not None:
        return f"not tried: {reason}"
    say("trying it")
    try:
        return try_out(staging.made)
    except OutOfMemory as error:
        return f"not tried: {error}"


def _record(
    folder: Path,
    source: Source,
    asked: Addition,
    fetched: Fetched,
    loras: tuple[str, ...],
    notes: tuple[str, ...],
) -> Record:
    found = digest(folder)
    if fetched.single is None and fetched.sha256 is None and asked.sha256 not in (None, found):
        raise BundleError(f"{source.said} has sha256 {found}, not {asked.sha256}")
    return Record(
        source=source.said,
        sha256=found,
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=pins(folder),
        revision=fetched.revision,
        source_sha256=fetched.sha256,
        vae=None if asked.vae is None else str(asked.vae.absolute()),
        options=asked.options,
        loras=loras,
        notes=notes,
    )
