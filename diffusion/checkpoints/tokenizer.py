"""CLIP's tokenizer, which every family of ours shares: its vocabulary follows from its merges.

Radford et al. 2021. The merges are OpenAI's (clip/LICENSE-clip.txt): the first 48,894 of
``bpe_simple_vocab_16e6.txt``.
"""

import json
import shutil
from pathlib import Path

MERGES = Path(__file__).parent / "clip" / "merges.txt"
START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS, POSITIONS = 49_408, 77
WORD_END = "</w>"


def write_tokenizer(folder: Path, *, pad: str) -> None:
    """Write a tokenizer's files; prompts are filled up with ``pad``."""
    folder.mkdir()
    shutil.copyfile(MERGES, folder / "merges.txt")
    (folder / "vocab.json").write_text(json.dumps(vocabulary(), ensure_ascii=False), "utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": POSITIONS,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": pad,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def vocabulary() -> dict[str, int]:
    """Return the tokens with their ids: bytes, bytes that end a word, merges, and two marks."""
    symbols = _byte_symbols()
    merged = [line.replace(" ", "") for line in MERGES.read_text("utf-8").splitlines()[1:]]
    words = [*symbols, *(symbol + WORD_END for symbol in symbols), *merged, START, END]
    return {word: number for number, word in enumerate(words)}


def _byte_symbols() -> list[str]:
    """Return a printable character for each byte, in CLIP's order: the printable ones first."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    rest = 256 - len(plain)
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(rest)]
