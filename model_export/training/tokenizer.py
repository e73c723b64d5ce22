"""A small byte-level BPE tokenizer for English and Chinese prompts, in one ``tokenizer.json``."""

from collections.abc import Iterable

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

PAD, START, END = 0, 1, 2
SPECIAL = ("<|pad|>", "<|start|>", "<|end|>")


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int, tokens: int
) -> PreTrainedTokenizerFast:
    """Return a tokenizer trained on ``texts``: lower case, every Han character a word.

    Prompts become ``<|start|> … <|end|>``, truncated and padded to ``tokens`` ids. Equal texts in
    equal order give equal merges.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrap_tokenizer(tokenizer, tokens)


def wrap_tokenizer(tokenizer: Tokenizer, tokens: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer as transformers loads it, with start and end added to every prompt."""
    tokenizer.normalizer = _normalizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[(SPECIAL[1], START), (SPECIAL[2], END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[PAD],
        bos_token=SPECIAL[START],
        eos_token=SPECIAL[END],
        model_max_length=tokens,
        model_input_names=["input_ids"],
        split_special_tokens=True,
    )


def _normalizer() -> normalizers.Normalizer:
    # Bert's normalizer puts spaces around Han characters. Without them byte-level BPE would learn
    # whole phrases as words and not know their characters in another order.
    return normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True
            ),
            normalizers.Strip(),
        ]
    )
