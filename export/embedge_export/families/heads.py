"""What ONNX Runtime's attention operators ask of an attention layer's shape.

Looked at before any work: the operators say it only when they run. Seen with ONNX Runtime 1.32 on
a CPU, with heads of 2 to 512 entries: an encoder's take any width, a decoder's rotary positions
only multiples of 16.
"""

from embedge.errors import SourceError

_CAUSAL_MULTIPLE = 16


def check_heads(query: int, key_value: int, width: int, *, causal: bool, rotary: bool) -> None:
    """Refuses a shape that no operator takes.

    Args:
        query: heads that ask.
        key_value: heads that are asked.
        width: entries of a head.
        causal: whether a token sees only those before it.
        rotary: whether positions turn pairs of entries.

    Raises:
        SourceError: the sentence says which number does not fit.
    """
    if query % key_value:
        raise SourceError(
            f"config.json: num_attention_heads {query} is not a multiple of num_key_value_heads "
            f"{key_value}"
        )
    if rotary and width % 2:
        raise SourceError(
            f"config.json: heads of {width} entries (head_dim, or hidden_size over "
            "num_attention_heads) have no pairs for rotary positions to turn; the width must be "
            "even"
        )
    if causal and width % _CAUSAL_MULTIPLE:
        raise SourceError(
            f"config.json: heads of {width} entries (head_dim, or hidden_size over "
            "num_attention_heads) are not supported: ONNX Runtime's attention for decoders takes "
            f"multiples of {_CAUSAL_MULTIPLE}"
        )
