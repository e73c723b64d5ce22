"""The tokenizer splits prompts as the text encoder was taught."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from model_export.training.tokenizer import END, PAD, START, train_tokenizer

TEXTS = ["red heart", "green apple", "a tiger", "红心", "绿苹果", "老虎"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, vocab_size=320, tokens=12)


def ids(tokenizer: PreTrainedTokenizerFast, prompt: str) -> list[int]:
    encoded = tokenizer([prompt], padding="max_length", truncation=True, max_length=12)
    result: list[int] = encoded.input_ids[0]
    return result


def test_prompt_is_framed_and_padded(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, "") == [START, END, *[PAD] * 10]
    long = ids(tokenizer, "red heart " * 20)
    assert len(long) == 12
    assert (long[0], long[-1]) == (START, END)


def test_case_and_outer_space_do_not_matter(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, "  Red HEART\n") == ids(tokenizer, "red heart")
    assert ids(tokenizer, "RED heart") != ids(tokenizer, "green heart")


def test_han_characters_are_words_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    assert sorted(ids(tokenizer, "苹果")) == sorted(ids(tokenizer, "果苹"))
    joined = tokenizer.decode(ids(tokenizer, "绿苹果"), skip_special_tokens=True)
    assert joined.split() == ["绿", "苹", "果"]


def test_markers_in_a_prompt_are_text(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, "a <|end|> tiger").count(END) == 1


def test_any_text_is_encoded(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(ids(tokenizer, "né \U0001f600 \x00 Ж")) == 12


def test_saved_tokenizer_is_the_same(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(str(tmp_path))
    loaded = PreTrainedTokenizerFast.from_pretrained(str(tmp_path), local_files_only=True)
    for prompt in ["", "Red heart", "绿苹果 tiger", "<|start|>"]:
        assert ids(loaded, prompt) == ids(tokenizer, prompt)


def test_training_again_gives_the_same_vocabulary(tokenizer: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(TEXTS, vocab_size=320, tokens=12)
    assert again.get_vocab() == tokenizer.get_vocab()
