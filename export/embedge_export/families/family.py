"""What a family of networks provides, and how to add one.

A new family is one folder, and one line in register.py for each `model_type` of config.json:

    families/<name>/fields.py    what every field of config.json does to the network: a table
    families/<name>/config.py    config.json and the weights' shapes, checked: a frozen record
    families/<name>/truth.py     the forward pass in NumPy, of the pieces in embedge_export/truth.py
    families/<name>/blocks.py    a block's weights, read from a checkpoint, and rotated
    families/<name>/writer.py    adds a block's nodes to a graph: a `Writer` of walk.py
    families/<name>/family.py    a subclass of `Family`, and an instance for each model type

The truth may not import anything that writes graphs. A family imports no other family: what
several need stands in the modules beside their folders.

A network gives rows, a row a token; the `Head` (head/head.py) makes one vector of a text's rows.
The truth ends with `head.truth.vectors(rows, bounds, head)`, the graph with `graph.head.pool`;
what follows the pooling is added by `write`. Neither asks how texts are pooled, and a vector is
`head.width` wide, not `config.hidden_size`.

Everything else follows from the record: opening a source, the gate, calibration, progress, plain
folders. Opening a source asks for habits alone, so a family's methods import its truth and its
writer when they are called.

Then tests: the truth against transformers (tests/reference), the graphs against the truth
(tests/export), and the table against transformers' own class of the config.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedge.errors import SourceError
from embedge.pack.manifest import ImageInput, MemoryCost
from embedge_export.families.stored_adapters import StoredAdapters, read_stored_adapters
from embedge_export.head.head import Head
from embedge_export.numbers.calibration import CalibrationRows
from embedge_export.reading.fields import is_whole, shown
from embedge_export.tensors.checkpoint import DTYPES
from embedge_export.tensors.lora import Delta
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir

    from embedge_export.graph.builder import GraphBuilder
    from embedge_export.precision import Precision

Array = NDArray[np.float32]
Ids = NDArray[np.int32]
Targets = Sequence["tuple[Precision, GraphBuilder]"]


class TextConfig(Protocol):
    """What the record of every text network has."""

    @property
    def family(self) -> str:
        """The network's name, in messages and in the manifest."""
        ...

    @property
    def causal(self) -> bool:
        """Whether a token sees those before it alone, rather than all."""
        ...

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream, and of the rows that a head reads."""
        ...

    @property
    def num_hidden_layers(self) -> int:
        """Layers; 0 for a table alone."""
        ...

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        ...


Config = TypeVar("Config", bound=TextConfig)


@dataclass(frozen=True, slots=True)
class Opened(Generic[Config]):
    """A text network of a source.

    Attributes:
        config: read, and checked against the weights.
        weights: under the family's names, without any adapter.
        adapters: by task.
    """

    config: Config
    weights: Weights
    adapters: Mapping[str, Delta]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """One task's text network: what its graphs are written of.

    Attributes:
        weights: the adapter merged in.
        head: how a text's rows become its vector.
        adapted: whether a weight differs between tasks, by its key.
        rows: whether graphs also give all rows of the last layer, `ROWS` of
            embedge/pack/contract.py, and take padding on either side.
        samples: rows that the linears read, by the key of a weight; emptied as they are used.
    """

    weights: Weights
    head: Head
    adapted: Callable[[str], bool]
    rows: bool = False
    samples: CalibrationRows = field(default_factory=dict)


class ImageTower(Protocol):
    """An image network beside a text network: its vectors, and how it wants its pixels."""

    @property
    def weights(self) -> Weights:
        """All that it reads."""
        ...

    @property
    def input(self) -> ImageInput:
        """How images become pixels."""
        ...

    @property
    def width(self) -> int:
        """Of its vectors."""
        ...

    @property
    def steps(self) -> int:
        """How often a walk over its blocks calls `advance`."""
        ...

    def pixels(self) -> Array:
        """The gate's images as the network takes them, float32 (images, 3, size, size)."""
        ...

    def calibration(self, *, advance: Callable[[str], None]) -> CalibrationRows:
        """What linears read of images that are not the gate's: (tokens, in) by weight key."""
        ...

    def reference(self, pixels: Array, *, advance: Callable[[str], None]) -> Array:
        """The truth: float32 (images, width), not normalized."""
        ...

    def write(
        self,
        targets: Targets,
        *,
        samples: CalibrationRows | None,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """Writes its graph at every precision; as `Family.write`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Family(ABC, Generic[Config]):
    """All that is known of a `model_type`.

    Attributes are habits: what transformers or the model's own code holds, where files say nothing.

    Attributes:
        width_field: the field of config.json that says how wide a row is.
        prompts: by name, where the source has none.
        default_prompt: one of these names.
        pooling: of the model's own code, one of `head.MODES`.
        pooling_is_fixed: there are no rows that could be pooled in another way.
        usual_pooling: where the source has no list of modules either.
        dimensions: widths that vectors were trained to be cut to.
        adds_token_types: a token's type, 0 in graphs, adds a row to its vector.
        counts_padding: transformers counts a text's positions from the start of its padded row.
        tokenizer: the class that transformers' AutoTokenizer has for it.
        tokenizer_is_fixed: whatever tokenizer_config.json says of the class.
        bare_tokenizer: of the tokenizer's files tokenizer.json alone is read, the length limit is
            `positions` alone, and a text gets no special tokens.
        dtypes: of tensors that are read, as safetensors spells them.
        refused_precisions: those that graphs cannot have, each with the reason and a remedy.
        plain: model_type and class of the network alone, as transformers loads it; None if no such
            folder can be written.
        packages: that the network is taken from; a manifest notes their versions.
    """

    width_field: str = "hidden_size"
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    pooling: str | None = None
    pooling_is_fixed: bool = False
    usual_pooling: str | None = None
    dimensions: tuple[int, ...] = ()
    adds_token_types: bool = False
    counts_padding: bool = False
    tokenizer: str | None = None
    tokenizer_is_fixed: bool = False
    bare_tokenizer: bool = False
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=lambda: DTYPES)
    refused_precisions: Mapping[str, str] = field(default_factory=dict)
    plain: tuple[str, str] | None = None
    packages: tuple[str, ...] = ()

    def check_installed(self) -> None:
        """Makes sure that the packages that the network needs are there.

        Raises:
            MissingExtraError: one is not.
        """

    # ------------------------------------------------------------------ habits that ask the config

    def network_folder(self, folder: Path, config: Mapping[str, Any]) -> Path:
        """Where weights and tokenizer stand: the source's folder, or one in it."""
        return folder

    def width(self, folder: Path, config: Mapping[str, Any]) -> int:
        """How wide the rows are that the head reads."""
        width = config.get(self.width_field)
        if not is_whole(width) or width < 1:
            raise SourceError(
                f'{folder / "config.json"}: "{self.width_field}" is {shown(width)}, not a width'
            )
        return width

    def positions(self, folder: Path, config: Mapping[str, Any]) -> object:
        """How many tokens the network has positions for, as config.json says; not checked."""
        return config.get("max_position_embeddings")

    def notes(self, folder: Path, config: Mapping[str, Any]) -> list[str]:
        """Sentences on what libraries take in different ways, and what the pack does."""
        return []

    def task_settings(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Where config.json names stored adapters and instructions."""
        return config

    def default_instruction(self, config: Mapping[str, Any], named: object) -> object:
        """The name of the instruction that every text takes; `named` is what other files say."""
        return named

    def stored_adapters(self, folder: Path, config: Mapping[str, Any]) -> StoredAdapters | None:
        """The adapters that stand among the checkpoint's own weights; None if there are none."""
        return read_stored_adapters(folder / "config.json", self.task_settings(config))

    def plain_form(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """`plain`, of this config."""
        return self.plain

    # ------------------------------------------------------------------ the network

    @abstractmethod
    def open(
        self,
        folder: Path,
        config: Mapping[str, Any],
        stored: Weights,
        *,
        adapters: Mapping[str, Path],
        tasks: Sequence[str],
    ) -> Opened[Config]:
        """Reads and checks the text network.

        Args:
            folder: of the source, for messages.
            config: config.json.
            stored: the folder's tensors, as they are called there.
            adapters: folders of PEFT adapters, by task.
            tasks: those wanted.

        Raises:
            SourceError: it cannot be exported.
        """

    def open_image_tower(
        self, folder: Path, config: Mapping[str, Any], stored: Weights
    ) -> ImageTower | None:
        """The tower for images; None where the model reads text alone.

        Raises:
            SourceError: it cannot be exported.
        """
        return None

    @abstractmethod
    def calibrated(self) -> tuple[str, ...]:
        """One linear of each row of inputs that a layer has: the ends of their weights' keys."""

    @abstractmethod
    def vectors(
        self,
        config: Config,
        weights: Weights,
        texts: Sequence[Ids],
        *,
        head: Head,
        **calls: Any,
    ) -> Array:
        """The truth: float32 (texts, head.width), not normalized.

        Args:
            config: the network.
            weights: with the adapter merged in.
            texts: token ids, one array (tokens,) a text, at least one token each.
            head: how a text's rows become its vector.
            calls: any of `advance`, `observe`, `product`, `disturb`; see the truths.
        """

    @abstractmethod
    def write(
        self,
        config: Config,
        task: TextTask,
        targets: Targets,
        *,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """Writes the network's graph at every precision, all of them in step.

        Args:
            config: the network.
            task: what the graphs are of.
            targets: each precision and the graph that it is written into.
            advance: called with a label before each of `steps`.

        Returns:
            The pooled rows of each target, float32 (B, head.pooled_width).
        """

    def steps(self, config: Config) -> int:
        """How often a walk over the layers calls `advance`, the truth's as well as the writer's."""
        return config.num_hidden_layers + 1

    @abstractmethod
    def memory_cost(self, config: Config) -> MemoryCost:
        """The transient memory of a CPU run; see `memory.attention_cost` for networks of layers."""

    def recipe_added(self, config: Config, precision: str) -> int:
        """Added to a precision's recipe (reuse.py): how often these graphs alone changed."""
        return 0
