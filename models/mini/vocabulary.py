"""Trains the tokenizer: byte-level BPE built as Qwen's is, so that any Unicode text has tokens."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, pre_tokenizers, trainers

from seeded.files import QWEN_TOKENS, new_tokenizer

SIZE = 24_576 - len(QWEN_TOKENS)


def train(texts: Iterable[str], file: Path) -> None:
    """Writes tokenizer.json with `SIZE` tokens learnt from `texts`, then the special ones."""
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        min_frequency=3,
        max_token_length=20,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in QWEN_TOKENS])
    part = file.with_suffix(".part")
    tokenizer.save(str(part))
    part.replace(file)
