"""The record of a head: pooling modes, and the steps from a pooled row to the vector.

Families give a text's rows; the head makes one vector of them. Its truth is truth.py in NumPy, its
graph is graph/head.py. Sources read it from Sentence Transformers' files. It knows no file and no
family.
"""

from dataclasses import dataclass

CLS, MAX, MEAN, LAST_TOKEN = "cls", "max", "mean", "last_token"
MEAN_SQRT_LENGTH, WEIGHTED_MEAN = "mean_sqrt_len_tokens", "weightedmean"
# Each as Sentence Transformers defines it, over a text's rows x_1 … x_n, special tokens included:
# x_1; the largest of each entry; their mean; their sum over the root of n; the mean with the
# weights 1 … n; x_n.
MODES = (CLS, MAX, MEAN, MEAN_SQRT_LENGTH, WEIGHTED_MEAN, LAST_TOKEN)


@dataclass(frozen=True, slots=True)
class Normalize:
    """Divides a row by its length. At the end this is left to the runtime."""


Step = Normalize


@dataclass(frozen=True, slots=True)
class Head:
    """How the rows of a text become its vector.

    Attributes:
        hidden_size: width of a row.
        modes: of `MODES`, at least one; what they give is joined in this order.
        steps: what a pooled row passes through, all that the source names.

    >>> Head(384, ("mean", "max")).width
    768
    """

    hidden_size: int
    modes: tuple[str, ...]
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        assert self.modes
        assert set(self.modes) <= set(MODES)

    @property
    def pooling(self) -> str:
        """The modes as one word, as the manifest has them: "mean", or "mean+max"."""
        return "+".join(self.modes)

    @property
    def pooled_width(self) -> int:
        """Width of a pooled row."""
        return len(self.modes) * self.hidden_size

    @property
    def width(self) -> int:
        """Width of the vector."""
        return self.pooled_width

    @property
    def normalizes(self) -> bool:
        """Whether vectors have length 1, as the source gives them."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    @property
    def takes_last_rows_alone(self) -> bool:
        """Whether no row but a text's last one counts."""
        return self.modes == (LAST_TOKEN,)

    @property
    def is_linear(self) -> bool:
        """Whether pooling rows and then multiplying by a matrix is the same the other way round."""
        return len(self.modes) == 1 and self.modes != (MAX,)
