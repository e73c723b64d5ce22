"""A bundle's tokenizers, from local JSON only."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError
from diffusion.files import MAX_TOKENIZER_BYTES, MAX_TOKENIZER_CONFIG_BYTES, read_json
from diffusion.model import Truncation
from diffusion.parts.loading import one_line

SPECIAL = "<|"  # CLIP's marks of a prompt's start and end
WORD_END = "</w>"


def load_tokenizer(folder: Path, length: int, known: int) -> Any:
    """Return a tokenizer whose tokens an encoder of ``known`` tokens and this length takes.

    Raises:
        BundleError: it is missing, broken, or another model's; the message names the file.
    """
    from transformers import CLIPTokenizerFast, PreTrainedTokenizerFast

    clip = any((folder / name).exists() for name in ("vocab.json", "merges.txt"))
    _check_files(folder, clip=clip)
    kind: Any = CLIPTokenizerFast if clip else PreTrainedTokenizerFast
    file = f"{folder.name}/{'vocab.json' if clip else 'tokenizer.json'}"
    return checked(
        file,
        lambda: kind.from_pretrained(str(folder), local_files_only=True),  # nosec B615
        length,
        known,
    )


def checked(file: str, load: Callable[[], Any], length: int, known: int) -> Any:
    """Return what ``load`` returns, a tokenizer that is tried and whose last token is known.

    Raises:
        BundleError: it is broken, or another model's; the message begins with ``file``.
    """
    try:
        tokenizer = load()
        tokenizer([""], padding="max_length", truncation=True, max_length=length)
        last = max(tokenizer.get_vocab().values(), default=-1)
    except BaseException as error:  # the tokenizers let any parser's exception and panic through
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise BundleError(f"{file}: {one_line(error)}") from error
    if last >= known:
        raise BundleError(f"{file} has a token {last}, and the text encoder knows {known}")
    return tokenizer


def truncation(encoder: str, encoding: Any) -> Truncation | None:
    """Return how much of a prompt is read, None for all; its own tokens count, no others."""
    read, *rest = (
        piece.special_tokens_mask.count(0) for piece in (encoding, *encoding.overflowing)
    )
    return Truncation(encoder, read, read + sum(rest)) if sum(rest) else None


def _check_files(folder: Path, *, clip: bool) -> None:
    """Refuse files that are missing, cut or no JSON, by name: the loaders do not say which."""
    wanted = ("vocab.json", "merges.txt") if clip else ("tokenizer.json", "tokenizer_config.json")
    for name in wanted:
        if not (folder / name).is_file():
            raise BundleError(f"{folder.name}/{name} is missing")
    found = read_jsons(folder)
    if clip:
        _check_merges(folder, found["vocab.json"])


def read_jsons(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the content of each JSON file of a tokenizer, by its name.

    Raises:
        BundleError: one is too large or broken.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        words = path.name in ("vocab.json", "tokenizer.json")
        most_bytes = MAX_TOKENIZER_BYTES if words else MAX_TOKENIZER_CONFIG_BYTES
        found[path.name] = read_json(path, most_bytes)
    return found


def _check_merges(folder: Path, vocabulary: dict[str, Any]) -> None:
    """Refuse merges that do not make the vocabulary: with some missing, tokens are others."""
    name = f"{folder.name}/merges.txt"
    try:
        lines = (folder / "merges.txt").read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BundleError(f"{name}: {error}") from error
    pairs = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
    if wrong := next((pair for pair in pairs if len(pair) != 2), None):
        raise BundleError(f"{name}: {json.dumps(wrong)[:80]} is not a pair")
    made = {first + second for first, second in pairs}
    words = [word for word in vocabulary if not word.startswith(SPECIAL)]
    unmade = [word for word in words if word not in made and len(word.removesuffix(WORD_END)) > 1]
    if unmade:
        raise BundleError(
            f"{name} makes {len(words) - len(unmade)} of the {len(words)} words of vocab.json"
        )
