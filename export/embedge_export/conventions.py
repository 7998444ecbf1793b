"""What Sentence Transformers files say about using a network: prompts, pooling, length limit.

Takes a model folder and the parsed config.json; gives plain values for `sources.py`. A module that
would change the vectors and is not reproduced (a Dense layer, say) is an error, never skipped. It
knows nothing of weights, adapters or tokenizers.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.manifest import safe_name
from embedge_export.fields import is_number, is_whole, shown
from embedge_export.model_types import CAUSAL, JINA_CLIP, JINA_V3, JINA_V5
from embedge_export.reading import read_json_file

# The v5 models' own code holds these, so they count even without the configuration file.
_V5_PROMPTS: Mapping[str, str] = {"query": "Query: ", "document": "Document: "}
_POOLINGS = {"lasttoken": "last_token", "mean": "mean", "cls": "cls"}
# RoBERTa's positions begin after the padding token's id, so that many rows are no text's.
_ROBERTA = ("roberta", "xlm-roberta", JINA_V3)
_CLIP_MAX_LENGTH = 8192  # jina-clip-v2's config holds no sizes of its text tower


@dataclass(frozen=True, slots=True)
class StoredAdapters:
    """Adapters that stand among a checkpoint's own weights, as its config tells of them."""

    tasks: tuple[str, ...]
    rank: int
    alpha: float


def stored_adapters(folder: Path, config: Mapping[str, Any]) -> StoredAdapters | None:
    """The adapters of jina-embeddings-v3 and jina-clip-v2; None where a config names none."""
    settings = _lora_settings(config)
    tasks = settings.get("lora_adaptations")
    if tasks is None:
        return None
    rank, alpha = settings.get("lora_rank"), settings.get("lora_alpha")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(t, str) for t in tasks):
        raise SourceError(f'{folder / "config.json"}: "lora_adaptations" is not a list of names')
    if len(set(tasks)) != len(tasks):
        raise SourceError(f'{folder / "config.json"}: "lora_adaptations" has a name twice')
    if not is_whole(rank) or rank < 1:
        raise SourceError(
            f'{folder / "config.json"}: "lora_rank" is {shown(rank)}, not a whole number above 0'
        )
    if not is_number(alpha) or alpha <= 0:
        raise SourceError(
            f'{folder / "config.json"}: "lora_alpha" is {shown(alpha)}, not a number above 0'
        )
    default = _text_config(config)["default_lora_task"]
    if config.get("model_type") == JINA_CLIP and tasks != [default]:
        raise SourceError(
            f'{folder / "config.json"}: "lora_adaptations" is {shown(tasks)}, and '
            f'"default_lora_task" {shown(default)}; only one adapter that every text takes is '
            "supported"
        )
    return StoredAdapters(tuple(tasks), rank, float(alpha))


def _lora_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a config tells of adapters and instructions; jina-clip-v2's has it further in."""
    if config.get("model_type") != JINA_CLIP:
        return config
    inner = _text_config(config)["hf_model_config_kwargs"]
    return inner if isinstance(inner, Mapping) else {}


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """jina-clip-v2's `text_config`; None for what it does not say."""
    text = config.get("text_config")
    return defaultdict(lambda: None, text if isinstance(text, Mapping) else {})


def read_width(folder: Path, config: Mapping[str, Any]) -> int:
    """How wide the model's vectors are."""
    name = "projection_dim" if config.get("model_type") == JINA_CLIP else "hidden_size"
    width = config.get(name)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise SourceError(f'{folder / "config.json"}: "{name}" is {shown(width)}, not a width')
    return width


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file."""
    if not path.exists():
        return {}
    value = _load(path)
    if not isinstance(value, dict):
        raise SourceError(f"{path} is not a JSON object; download it again")
    return value


def read_prompts(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    """Prompts by name, and the default prompt's name."""
    path = folder / "config_sentence_transformers.json"
    settings = read_json(path)
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(v, str) for v in prompts.values()):
        raise SourceError(f'{path}: "prompts" is not an object of strings; mend it')
    default = settings.get("default_prompt_name")
    if not prompts and config.get("model_type") == JINA_V5:
        prompts, default = dict(_V5_PROMPTS), "document"
    instructions = _lora_settings(config).get("task_instructions")
    if not prompts and isinstance(instructions, dict):
        # The runtime takes a prompt that is called as the task where that task is asked for.
        prompts = {name: text for name, text in instructions.items() if isinstance(text, str)}
        if config.get("model_type") == JINA_CLIP:
            default = _text_config(config)["default_instruction_task"]
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise SourceError(
            f'{path}: "default_prompt_name" {shown(default)} is not among its prompts '
            f"({', '.join(prompts) or 'none'}); mend one of them"
        )
    return prompts, default


def read_pooling(folder: Path, config: Mapping[str, Any]) -> str:
    """How token vectors become one: "last_token", "mean" or "cls"."""
    path = folder / "modules.json"
    listed = path.exists()
    if listed:
        pooling = _pooling_of_modules(path)
        if pooling is not None:
            return pooling
    elif (folder / "1_Pooling" / "config.json").exists():
        return _read_pooling_config(folder / "1_Pooling" / "config.json")
    if config.get("model_type") == JINA_V5:
        return "last_token"  # done by the model's own code
    if config.get("model_type") == JINA_CLIP or config.get("emb_pooler") == "mean":
        return "mean"  # likewise
    if not listed and config.get("model_type") in CAUSAL:
        return "last_token"
    raise SourceError(
        f"{folder} does not say how it pools its token vectors, and a guess would give wrong ones. "
        'Add 1_Pooling/config.json, e.g. {"pooling_mode_mean_tokens": true}, as its model card says'
    )


def read_max_length(folder: Path, config: Mapping[str, Any]) -> int:
    """The most tokens a text may have: the lowest of what network and tokenizer were set to.

    Sentence Transformers' own limit is what that library's users get; a tokenizer's limit counts
    where it is lower than the positions (RoBERTa has 514 positions for 512 tokens).
    """
    positions = config.get("max_position_embeddings")
    if config.get("model_type") == JINA_CLIP:
        positions = _CLIP_MAX_LENGTH
    elif config.get("model_type") in _ROBERTA and isinstance(positions, int):
        pad = config.get("pad_token_id") or 0
        if not is_whole(pad) or pad < 0:
            raise SourceError(
                f'{folder / "config.json"}: "pad_token_id" is {shown(pad)}, not a token id'
            )
        positions -= pad + 1
    limits = {
        "config.json": positions,
        "sentence_bert_config.json": read_json(folder / "sentence_bert_config.json").get(
            "max_seq_length"
        ),
        "tokenizer_config.json": read_json(folder / "tokenizer_config.json").get(
            "model_max_length"
        ),
    }
    known: list[int] = []
    for name, limit in limits.items():
        # A tokenizer without a limit is saved with 1e30.
        if limit is None or (isinstance(limit, (int, float)) and limit >= 1e9):
            continue
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or limit < 1:
            raise SourceError(f"{folder / name}: the length limit is {shown(limit)}; correct it")
        known.append(int(limit))
    if not known:
        raise SourceError(
            f'{folder / "config.json"} has no "max_position_embeddings", and no other file a '
            "length limit; add the number of tokens that the model was made for"
        )
    return min(known)


def _pooling_of_modules(path: Path) -> str | None:
    """Checks every module of modules.json; the pooling, or None where no module names one."""
    modules = _load(path)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise SourceError(f"{path} is not a list of modules; download it again")
    pooling: str | None = None
    for module in modules:
        kind, place = str(module.get("type")), str(module.get("path", ""))
        library, _, name = kind.rpartition(".")
        known = library.split(".")[0] == "sentence_transformers" and name in (
            "Transformer",
            "Pooling",
            "Normalize",
        )
        if not known and kind != "custom_st.Transformer":
            raise SourceError(
                f"{path}: module {kind!r} ({place or 'no folder'}) changes the vectors and is not "
                "supported; exporting without it would give wrong ones"
            )
        if name == "Transformer" and place:
            raise SourceError(
                f"{path}: the network stands in the sub-folder {place!r}; move its files beside "
                'modules.json and set its "path" to ""'
            )
        if name == "Pooling":
            if pooling is not None:
                raise SourceError(f"{path}: it has two Pooling modules; that is not supported")
            if not safe_name(place):
                raise SourceError(f"{path}: {place!r} is not the name of a folder beside it")
            pooling = _read_pooling_config(path.parent / place / "config.json")
    return pooling


def _read_pooling_config(path: Path) -> str:
    config = read_json(path)
    # Older files have one flag a mode (pooling_mode_mean_tokens), newer ones may name it.
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes += [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on is True
    ]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise SourceError(
            f"{path}: pooling {' + '.join(map(str, modes)) or 'without any mode'} is not "
            f"supported; one of {', '.join(_POOLINGS)} is"
        )
    if config.get("include_prompt", True) is not True:
        raise SourceError(
            f'{path}: "include_prompt" is false (prompt tokens left out of the pooling), which is '
            "not supported; exporting without it would give wrong vectors"
        )
    return _POOLINGS[modes[0]]


def _load(path: Path) -> Any:
    try:
        return read_json_file(path)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}; download it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}; download it again") from None
