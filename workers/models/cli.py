"""The verbs of ``python -m workers.models``: add, installed, show, check, remove."""

import argparse
import sys
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

import diffusion
from diffusion.errors import BundleError
from diffusion.files import INDEX, read_json
from jobs.errors import StartError
from jobs.host.models import (
    RECORD,
    ModelsSettings,
    find_model,
    installed_names,
    is_name,
)
from jobs.settings import read_environment
from jobs.telemetry.text import shown
from workers.models.add import add
from workers.models.check import check_pin, try_out
from workers.models.describe import describe, kind, text_of
from workers.models.directory.addition import Addition
from workers.models.directory.errors import size
from workers.models.directory.record import read_record
from workers.models.directory.staging import installed_folder, recover, staged, unfinished

INCLUDED = Path(diffusion.__file__).parent / "models" / "emoji"


def main(arguments: Sequence[str]) -> int:
    """Run one verb; return 0 if it succeeded, and print one line if it did not."""
    given = _parser().parse_args(arguments)
    run: Callable[[Path, argparse.Namespace], None] = given.run
    try:
        models = read_environment(ModelsSettings).models.expanduser().absolute()
        recover(models)
        run(models, given)
    except (BundleError, StartError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or 'this machine'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _failed("interrupted; the same command resumes it")
        return 130
    return 0


def _failed(reason: str) -> int:
    print(f"sfumato: {shown(reason)}", file=sys.stderr)
    return 1


def _say(text: str) -> None:
    print(shown(text), file=sys.stderr, flush=True)


def _add(models: Path, given: argparse.Namespace) -> None:
    asked = Addition(
        given.source,
        name=given.name,
        sha256=given.sha256,
        variant=given.variant,
        prediction=given.prediction,
        zero_snr=given.zero_snr,
        ema=given.ema,
        vae=given.vae,
        loras=tuple(given.lora),
        replace=given.replace,
        tried=not given.no_check,
    )
    added = add(models, asked, _say)
    for line in text_of(added.lines):
        print(shown(line))
    print(shown(added.outcome))
    print(f"{added.folder.name} is installed; `sfumato up --model {added.folder.name}` serves it")


def _installed(models: Path, given: argparse.Namespace) -> None:
    rows = [("model", "size", "kind", "source")]
    rows += [(name, *_row(models / name)) for name in installed_names(models)]
    for name, source in unfinished(models).items():
        rows.append((name, "-", "unfinished: add it again, or remove it", source))
    widths = [max(len(shown(row[n])) for row in rows) for n in range(3)]
    for row in rows:
        cells = [f"{shown(cell):<{width}}" for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, shown(row[3])]))


def _row(folder: Path) -> tuple[str, str, str]:
    """Return a model's size, kind and source."""
    try:
        record = read_record(folder)
        index = read_json(folder / INDEX)
    except BundleError as error:
        return "-", f"damaged: {error}", "-"
    taken = size(sum(pin.size for pin in record.files.values()))
    return taken, kind(folder, index, {}).partition(" (")[0], record.source


def _show(models: Path, given: argparse.Namespace) -> None:
    folder = _folder(models, given.model)
    record = read_record(folder) if (folder / RECORD).exists() else None
    for line in text_of([("folder", str(folder)), *describe(folder, record)]):
        print(shown(line))


def _check(models: Path, given: argparse.Namespace) -> None:
    folder = _folder(models, given.model)
    print(shown(check_pin(folder, given.sha256)))
    if not given.files_only:
        print(shown(try_out(folder)))


def _remove(models: Path, given: argparse.Namespace) -> None:
    name = given.name
    under_way = {each.lower() for each in unfinished(models)}
    if not is_name(name) or name.lower() not in under_way:
        installed_folder(models, name)
    with staged(models, name) as staging:
        staging.take_away()
    print(f"{shown(name)} is removed")


def _folder(models: Path, model: Path) -> Path:
    try:
        folder = find_model(model, models, INCLUDED)
    except ValueError as error:
        raise BundleError(str(error)) from error
    if not (folder / INDEX).is_file():
        raise BundleError(f"{folder} is no model: it has no {INDEX}")
    return folder


def _lora(text: str) -> tuple[Path, float]:
    """Return the file and the weight of ``FILE:WEIGHT``; the weight may be left out."""
    file, colon, weight = text.rpartition(":")
    if not colon or weight.endswith(".safetensors"):
        return Path(text), 1.0
    try:
        number = float(weight)
    except ValueError:
        number = float("nan")
    if not isfinite(number) or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE:WEIGHT, like style.safetensors:0.8")
    return Path(file), number


def _sha256(text: str) -> str:
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is not 64 hexadecimal digits")
    return text.lower()


class _OneLine(argparse.ArgumentParser):
    """Prints a usage error as every other error."""

    def error(self, message: str) -> "None":  # type: ignore[override]
        """Print one line and exit with 2."""
        _failed(message)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLine(prog="python -m workers.models", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    adding = verbs.add_parser("add", help="install a model")
    adding.add_argument("source", help="PATH, https://…, or hf:OWNER/NAME[/FILE][@REVISION]")
    adding.add_argument("--name", help="default: the source's")
    adding.add_argument("--sha256", type=_sha256, help="of the file or archive; of a folder: show")
    adding.add_argument("--variant", help="of the weights, like fp16")
    adding.add_argument("--prediction", choices=("epsilon", "v_prediction", "sample"))
    adding.add_argument("--zero-snr", action="store_true", help="it has zero terminal SNR")
    adding.add_argument("--ema", action="store_true", help="take a file's moving averages")
    adding.add_argument("--vae", type=Path, help="a VAE's folder or file, in place of the model's")
    adding.add_argument("--lora", type=_lora, action="append", default=[], metavar="FILE:WEIGHT")
    adding.add_argument("--replace", action="store_true", help="an installed model of this name")
    adding.add_argument("--no-check", action="store_true", help="do not try it first")
    adding.set_defaults(run=_add)
    verbs.add_parser("installed", help="list the models").set_defaults(run=_installed)
    showing = verbs.add_parser("show", help="say what a model is")
    checking = verbs.add_parser("check", help="verify its files, and draw with it once")
    checking.add_argument("--sha256", type=_sha256, help="as `show` prints it")
    checking.add_argument("--files-only", action="store_true", help="do not load it")
    for verb, run in ((showing, _show), (checking, _check)):
        verb.add_argument("model", type=Path, help="a name or a folder")
        verb.set_defaults(run=run)
    removing = verbs.add_parser("remove", help="remove a model, or what is left of an addition")
    removing.add_argument("name")
    removing.set_defaults(run=_remove)
    return parser
