"""tokenizer.json, from the vocabulary in a GGUF file.

Takes gguf's reader; gives a `Tokenizer`. Knows byte-level BPE as SmolLM cuts it: every digit on its
own, then GPT-2's expression (`tokenizer.ggml.pre`: smollm).
"""

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from smollm2.weights import field


def read_tokenizer(reader: GGUFReader) -> Tokenizer:
    """The tokenizer that the network was trained with.

    Some bytes that no UTF-8 text of known planes has (0xC0, 0xF5, …) have no token in SmolLM2 and
    are dropped, as its own tokenizer.json does.

    Raises:
        ValueError: it is another kind of tokenizer.
    """
    kind = field(reader, "tokenizer.ggml.model"), field(reader, "tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"the GGUF file's tokenizer is {' / '.join(kind)}, not gpt2 / smollm")
    if field(reader, "tokenizer.ggml.add_bos_token", False) is True:
        raise ValueError("the GGUF file's tokenizer opens texts with a token, which is not written")
    tokens: list[str] = field(reader, "tokenizer.ggml.tokens")
    types: list[int] = field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ")) for pair in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token, type_ in zip(tokens, types, strict=True)
            if type_ == TokenType.CONTROL
        ]
    )
    return tokenizer
