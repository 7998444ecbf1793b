"""BERT, RoBERTa, XLM-RoBERTa, DistilBERT, MPNet and jina-embeddings-v3 as families."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.errors import SourceError
from embedge.pack.manifest import MemoryCost
from embedge_export.families.bert.config import BertConfig, bert_config
from embedge_export.families.bert.fields import JINA_V3, MPNET_PADDING
from embedge_export.families.bert.names import TextLayout, text_layout
from embedge_export.families.family import Array, Family, Ids, Opened, Targets, TextTask
from embedge_export.families.memory import attention_cost
from embedge_export.head.head import Head
from embedge_export.reading.fields import is_whole, shown
from embedge_export.tensors.lora import load_adapter
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Bert(Family[BertConfig]):
    """See Family.

    Attributes:
        network: which of the tables of fields.py.
        counts_from_padding: positions begin after the padding token's id, so that many rows of
            their table are no text's (RoBERTa has 514 positions for 512 tokens).
    """

    adds_token_types: bool = True
    network: str
    counts_from_padding: bool = False

    def names(self, stored: Weights) -> TextLayout:
        """The checkpoint's tensors, understood; see `text_layout`."""
        return text_layout(stored)

    def read(self, config: Mapping[str, Any], weights: Weights) -> BertConfig:
        """The checked config; see `bert_config`."""
        return bert_config(config, weights, self.network)

    def positions(self, folder: Path, config: Mapping[str, Any]) -> object:
        """See Family."""
        positions = config.get("max_position_embeddings")
        if not self.counts_from_padding or not isinstance(positions, int):
            return positions
        pad = MPNET_PADDING if self.network == "mpnet" else config.get("pad_token_id") or 0
        if not is_whole(pad) or pad < 0:
            raise SourceError(
                f'{folder / "config.json"}: "pad_token_id" is {shown(pad)}, not a token id'
            )
        return positions - (pad + 1)

    def plain_form(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """See Family. jina-embeddings-v3's own layout shares XLM-RoBERTa's model_type alone."""
        own = config.get("position_embedding_type") == "rotary" or "lora_adaptations" in config
        return None if own else self.plain

    def open(
        self,
        folder: Path,
        config: Mapping[str, Any],
        stored: Weights,
        *,
        adapters: Mapping[str, Path],
        tasks: Sequence[str],
    ) -> Opened[BertConfig]:
        """See Family. Adapters stand in folders, or among the weights."""
        layout = self.names(stored)
        record = self.read(config, layout.weights)
        if adapters:
            if layout.parametrized:
                raise SourceError(
                    f"{folder} holds adapters among its weights, to which none in a folder can be "
                    "added; leave out those in folders"
                )
            return Opened(
                record,
                layout.weights,
                {
                    task: layout.weights.named(load_adapter(path, stored))
                    for task, path in adapters.items()
                },
            )
        named = self.stored_adapters(folder, config)
        if named is None:
            if layout.parametrized:
                raise SourceError(
                    f"{folder} holds adapters among its weights that its config.json does not "
                    'name in "lora_adaptations"; download the model again'
                )
            return Opened(record, layout.weights, {})
        found = layout.adapters(named.tasks, named.rank, named.alpha)
        return Opened(record, layout.weights, {task: found[task] for task in tasks})

    def calibrated(self) -> tuple[str, ...]:
        """See Family."""
        from embedge_export.families.bert.blocks import CALIBRATED

        return CALIBRATED

    def vectors(
        self,
        config: BertConfig,
        weights: Weights,
        texts: Sequence[Ids],
        *,
        head: Head,
        **calls: Any,
    ) -> Array:
        """See Family."""
        from embedge_export.families.bert.truth import bert_vectors

        return bert_vectors(config, weights, texts, head=head, **calls)

    def write(
        self,
        config: BertConfig,
        task: TextTask,
        targets: Targets,
        *,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """See Family."""
        from embedge_export.families.bert.writer import write

        return write(config, task, targets, advance=advance)

    def memory_cost(self, config: BertConfig) -> MemoryCost:
        """See Family."""
        return attention_cost(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            causal=config.causal,
            biased=config.distance_buckets > 0,
        )

    def recipe_added(self, config: BertConfig, precision: str) -> int:
        """See Family. Where positions are counted from a padding id, graphs changed once."""
        return 0 if config.padding_id is None else 1


BERT = Bert(
    network="bert",
    tokenizer="BertTokenizer",
    counts_padding=True,
    plain=("bert", "BertModel"),
)
ROBERTA = Bert(
    network="roberta",
    tokenizer="RobertaTokenizer",
    counts_from_padding=True,
    plain=("roberta", "RobertaModel"),
)
XLM_ROBERTA = Bert(
    network="xlm-roberta",
    tokenizer="XLMRobertaTokenizer",
    counts_from_padding=True,
    plain=("xlm-roberta", "XLMRobertaModel"),
)
DISTILBERT = Bert(
    network="distilbert",
    width_field="dim",
    tokenizer="BertTokenizer",
    adds_token_types=False,
    counts_padding=True,
    plain=("distilbert", "DistilBertModel"),
)
MPNET = Bert(
    network="mpnet",
    tokenizer="MPNetTokenizer",
    adds_token_types=False,
    counts_from_padding=True,
    plain=("mpnet", "MPNetModel"),
)
JINA_EMBEDDINGS_V3 = replace(
    XLM_ROBERTA, network=JINA_V3, plain=("jina_embeddings_v3", "JinaEmbeddingsV3Model")
)
