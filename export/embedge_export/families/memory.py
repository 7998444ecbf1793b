"""The transient memory of a CPU run of a network of attention and MLP layers.

Takes the sizes of a layer; gives the manifest's `MemoryCost`. Measured, not derived: the MLP's
buffers are the widest moment, and ONNX Runtime's memory pool keeps some slack.
"""

from embedge.pack.manifest import MemoryCost


def attention_cost(
    *,
    hidden: int,
    intermediate: int,
    heads: int,
    causal: bool,
    biased: bool = False,
    window: int = 0,
) -> MemoryCost:
    """The cost, from what runs of 1,024 to 4,096 tokens were measured to take.

    At v5-text-small's size int8 took 120 to 160 kB a token and fp32 168 kB, the memory pool's slack
    included; at v5-text-nano's, whose attention hands out no keys and values, both took 79 kB. The
    factors are the next whole ones above.

    Args:
        hidden: width of the residual stream.
        intermediate: width of the MLP.
        heads: query heads of a layer.
        causal: whether a token sees those before it alone.
        biased: whether a number is added to every score.
        window: bytes that attention within a window takes for a token; 0: no layer has one.
    """
    factor = 12 if causal else 6
    # How often the square of scores is held for every head. ONNX Runtime before 1.28 does it in a
    # decoder's operator. An encoder's works in blocks in every version, but not with a bias: then
    # the scores are held, and the bias beside them. That is one for a whole run, and one more for a
    # group of texts of one length, so that with many texts it is less than twice the scores.
    squares = 2 if biased else 1 if causal else 0
    return MemoryCost(
        per_token=factor * 4 * (intermediate + hidden) + window,
        per_token_squared=4.0 * heads * squares,
    )
