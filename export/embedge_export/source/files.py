"""The files of a model's folder that an export reads: the one list of them.

What is fetched from a hub, what is hashed into a pack's provenance and what is copied into a plain
folder are all taken from here, so that a file which is read is fetched and hashed too; a test
watches which files are opened. Takes a folder; gives names in it. Knows what refers to what, and
nothing of what the files mean.
"""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedge.pack.checks import safe_name
from embedge_export.reading.files import read_json_file
from embedge_export.tensors import lora
from embedge_export.tensors.checkpoint import INDEX, SINGLE, weight_files

CONFIG = "config.json"
PROMPTS = "config_sentence_transformers.json"
# What Sentence Transformers keeps of the network, called by the first one it was written for.
LIMITS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MODULES = "modules.json"
STATIC = "StaticEmbedding"  # a module that is a network and its pooling
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
PREPROCESSOR = "preprocessor_config.json"
CARD = "README.md"
BASE_CARD = f"base/{CARD}"  # that of a base model in a folder elsewhere
POOLING = "1_Pooling/config.json"  # where there is no MODULES that could name another
ADAPTERS = "adapters"
ENDING = ".safetensors"
_WEIGHTS = (ENDING, ".bin", ".pt")

# Files beside weights and adapters that decide what is exported, or what is said of it.
SETTINGS = (
    CONFIG,
    PROMPTS,
    *LIMITS,
    MODULES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    PREPROCESSOR,
    CARD,
)
# What a plain model folder takes over as it is; read by other programs only.
COPIED = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    CARD,
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
)
# Patterns of what is fetched before anything is read; `*` is any text.
FIRST = (
    *dict.fromkeys((*SETTINGS, *COPIED)),
    POOLING,
    lora.CONFIG,  # of a repository that is an adapter, which is refused
    SINGLE,
    INDEX,
    f"{ADAPTERS}/*/{lora.CONFIG}",
    f"{ADAPTERS}/*/{lora.TENSORS}",
)


def then(folder: Path) -> tuple[str, ...]:
    """Patterns of what has to be fetched too, as the files say that are there already.

    Raises:
        SourceError: the index of the weights is damaged.
    """
    names = [*_modules(folder)]
    if place := static_place(folder):
        names += [f"{place}/{SINGLE}", f"{place}/{TOKENIZER}"]
    if not (folder / SINGLE).exists() and (folder / INDEX).exists():
        names += weight_files(folder)
    return tuple(glob.escape(name) for name in names)


def static_place(folder: Path) -> str | None:
    """The folder of the static embedding among MODULES: "" for beside it; None: there is none."""
    kinds = (
        (module.get("type"), module.get("path", ""))
        for module in _listed(folder)
        if isinstance(module, dict)
    )
    for kind, place in kinds:
        if isinstance(kind, str) and kind.rpartition(".")[2] == STATIC and isinstance(place, str):
            return "" if place == "." or not safe_name(place) else place
    return None


def read_files(
    folder: Path, adapters: Mapping[str, Path], network: Path, base: Path | None = None
) -> tuple[str, ...]:
    """Names of all files that an export of these adapters depends on.

    Args:
        folder: the source's.
        adapters: by task.
        network: where the weights and the tokenizer stand, the same folder or one in it.
        base: the folder of config.json and the weights, if that is another one.

    Raises:
        SourceError: the weights or an adapter are not whole.
    """
    places = (POOLING,) if not (folder / MODULES).exists() else _modules(folder)
    names = [name for name in (*SETTINGS, *places) if (folder / name).exists()]
    if base is None:
        names += weight_names(folder, network)
    else:
        names += [name for name in (CONFIG, *weight_files(base)) if name not in names]
        names += [BASE_CARD] if (base / CARD).exists() else []
    if network != folder:
        names.append((network / TOKENIZER).relative_to(folder).as_posix())
    for task, path in adapters.items():
        names += [adapter_name(task, file.name) for file in lora.adapter_files(path)]
        if not path.is_relative_to(folder) and (path / CARD).exists():
            names.append(adapter_name(task, CARD))
    return tuple(names)


def adapter_name(task: str, file: str) -> str:
    """What a file of an adapter is called among the source's, wherever it stands."""
    return f"{ADAPTERS}/{task}/{file}"


def places(
    names: Iterable[str], folder: Path, adapters: Mapping[str, Path], base: Path | None = None
) -> dict[str, Path]:
    """Where files of these names stand: adapters and a base may have folders elsewhere."""
    folders = {adapter_name(task, ""): path for task, path in adapters.items()}
    found = {}
    for name in names:
        start, _, file = name.rpartition("/")
        place = folders.get(f"{start}/")
        if place is not None:
            found[name] = place / file
        elif base is not None and name == BASE_CARD:
            found[name] = base / CARD
        elif base is not None and (name == CONFIG or (not start and name.endswith(ENDING))):
            found[name] = base / name
        else:
            found[name] = folder / name
    return found


def weight_names(folder: Path, network: Path) -> list[str]:
    """Names in the source's folder of the files that hold the weights."""
    return [(network / name).relative_to(folder).as_posix() for name in weight_files(network)]


def candidates(
    folder: Path, adapters: Mapping[str, Path], base: Path | None = None
) -> Iterator[str]:
    """Names of all files that an export of the folder, with these adapters, could read."""
    if base is not None:
        yield from (CONFIG, INDEX, BASE_CARD, *(path.name for path in base.glob(f"*{ENDING}")))
    for task in adapters:
        yield from (adapter_name(task, file) for file in (lora.CONFIG, lora.TENSORS, CARD))
    patterns = (*FIRST, "*.safetensors", f"*/{CONFIG}", f"*/{SINGLE}", f"*/{TOKENIZER}")
    for name in dict.fromkeys(patterns):
        for path in folder.glob(name):
            yield path.relative_to(folder).as_posix()


def find_adapters(folder: Path) -> dict[str, Path]:
    """Name -> folder of every adapter beside the weights, in the order of their names.

    A folder is one if it holds an adapter's configuration. One that holds weights alone counts too,
    so that opening it can say what it lacks. What notebooks, editors and version control leave
    there does not, whatever it holds.
    """
    places = sorted(place for place in (folder / ADAPTERS).glob("*/") if not _is_hidden(place))
    return {place.name: place for place in places if _looks_like_adapter(place)}


def module_files(place: str) -> tuple[str, str]:
    """What a module of Sentence Transformers may have in its folder: settings and weights."""
    return f"{place}/{CONFIG}", f"{place}/{SINGLE}"


def _is_hidden(path: Path) -> bool:
    """Of a tool, not of a person: .ipynb_checkpoints, .git, __pycache__, an editor's backup."""
    return path.name.startswith((".", "__")) or path.name.endswith("~")


def _looks_like_adapter(place: Path) -> bool:
    if (place / lora.CONFIG).exists():
        return True
    weights = (path for ending in _WEIGHTS for path in place.glob(f"*{ending}"))
    nested = place.glob(f"*/{lora.CONFIG}")  # a training run's checkpoints
    return any(not _is_hidden(path) for path in weights) or any(
        not _is_hidden(path.parent) for path in nested
    )


def _listed(folder: Path) -> Sequence[Any]:
    """The entries of MODULES; what makes no sense is refused later."""
    try:
        modules = read_json_file(folder / MODULES)
    except (OSError, ValueError, RecursionError):
        return ()
    return modules if isinstance(modules, list) else ()


def _modules(folder: Path) -> Sequence[str]:
    """Files of the modules that MODULES names."""
    places = [module.get("path") for module in _listed(folder) if isinstance(module, dict)]
    return [
        name
        for place in dict.fromkeys(p for p in places if isinstance(p, str))
        if safe_name(place)
        for name in module_files(place)
    ]
