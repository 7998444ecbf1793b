"""The record of a head: pooling modes, and the steps from a pooled row to the vector.

Families give a text's rows; the head makes one vector of them. Its truth is truth.py in NumPy, its
graph is graph/head.py. Sources read it from Sentence Transformers' files. It knows no file and no
family; the weights of a step are read when they are used.
"""

from dataclasses import dataclass, field

from embedge_export.tensors.weights import Weights

CLS, MAX, MEAN, LAST_TOKEN = "cls", "max", "mean", "last_token"
MEAN_SQRT_LENGTH, WEIGHTED_MEAN = "mean_sqrt_len_tokens", "weightedmean"
# Each as Sentence Transformers defines it, over a text's rows x_1 … x_n, special tokens included:
# x_1; the largest of each entry; their mean; their sum over the root of n; the mean with the
# weights 1 … n; x_n.
MODES = (CLS, MAX, MEAN, MEAN_SQRT_LENGTH, WEIGHTED_MEAN, LAST_TOKEN)


@dataclass(frozen=True, slots=True)
class Normalize:
    """Divides a row by its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """y = activation(x W^T + b), then plus x or x R^T.

    Attributes:
        inputs: width of x.
        outputs: width of y.
        activation: one of `ACTIVATIONS`, as torch names its classes.
        bias: whether there is b.
        residual: whether x is added; projected by R where the widths differ.
        weights: float32 "linear.weight" (outputs, inputs), "linear.bias" (outputs,) and
            "residual.weight" (outputs, inputs), as far as there are any.
    """

    inputs: int
    outputs: int
    activation: str
    bias: bool
    residual: bool
    weights: Weights = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm:
    """LayerNorm over a row.

    Attributes:
        width: of the row.
        weights: float32 "norm.weight" and "norm.bias", each (width,).
    """

    width: int
    weights: Weights = field(compare=False)


Step = Normalize | Dense | LayerNorm
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
EPSILON = 1e-5  # of LayerNorm: the default of torch's class
SHORTEST = 1e-12  # what Normalize divides by at least: the default of torch's function


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
        widths = (step.outputs for step in reversed(self.steps) if isinstance(step, Dense))
        return next(widths, self.pooled_width)

    @property
    def normalizes(self) -> bool:
        """Whether vectors have length 1, as the source gives them."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    @property
    def computed(self) -> tuple[Step, ...]:
        """The steps that graphs and truths compute: Normalize at the end is left to the runtime."""
        count = len(self.steps)
        while count and isinstance(self.steps[count - 1], Normalize):
            count -= 1
        return self.steps[:count]

    @property
    def is_linear(self) -> bool:
        """Whether pooling rows and then multiplying by a matrix is the same the other way round."""
        return len(self.modes) == 1 and self.modes != (MAX,)
