"""What a call means: a frozen `Call`, made from its options and the pack's manifest, checked once.

It says which network runs, which prompt stands before every text, and what becomes of the vectors.
It holds plain values only, so that equal calls are equal, and can be run together. Pure, and runs
nothing.
"""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self, TypedDict, get_args

from numpy.typing import ArrayLike

from embedge.errors import OptionError, PackError
from embedge.items import OnError, OnProgress
from embedge.options import check_one_of, flag, whole_number
from embedge.pack.manifest import Manifest
from embedge.texts.tokens import OnOverflow
from embedge.vectors import EmbeddingType, Ranges, check_embedding_type, check_ranges

logger = logging.getLogger(__name__)

Tower = Literal["text", "image"]
# Names of the hosted API: a task and a prompt in one word. A pack may call the prompt by any of the
# names, in the order that Sentence Transformers documents for encode_document.
ALIASES = {
    "retrieval.query": ("retrieval", ("query",)),
    "retrieval.passage": ("retrieval", ("document", "passage", "corpus")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What to do with the texts or images of one call. Can be compared and hashed.

    The fields after `ranges` belong to one tower each, and have their defaults for the other.
    """

    task: str  # one of the pack's
    tower: Tower
    width: int  # dimensions to keep, from the first
    normalize: bool
    embedding_type: EmbeddingType
    ranges: Ranges | None  # for int8 and uint8; None: the batch's own
    prompt: str  # put before every text; "" for none
    max_length: int  # tokens, prompt and special tokens included
    on_overflow: OnOverflow
    upright: bool  # turn photos as their EXIF orientation says
    allow_urls: bool  # fetch http(s) URLs

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        tower: Tower = "text",
        task: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        normalize: bool = True,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
        on_overflow: OnOverflow = "truncate",
        upright: bool = True,
        allow_urls: bool = False,
    ) -> Self:
        """Checks the options of a call; they are those of `Embedder.encode` and `encode_image`.

        Raises:
            PackError: the pack has no text input.
            OptionError: an option is not one of this pack's.
        """
        if manifest.text is None:
            raise PackError(f"{manifest.model_id} has no text input, and this version needs one")
        check_one_of(tower, "tower", get_args(Tower))
        task, prompt = resolve(manifest, task, prompt_name, prompt if tower == "text" else "")
        width, longest = manifest.dimension, manifest.text.max_length
        if truncate_dim is not None:
            width = whole_number(truncate_dim, "truncate_dim", most=width)
            if width not in (manifest.dimension, *manifest.matryoshka_dimensions):
                logger.debug("the model was not trained for vectors cut to %d dimensions", width)
        if max_length is not None:
            longest = whole_number(max_length, "max_length", most=longest)
        check_embedding_type(embedding_type, ranges)
        check_one_of(on_overflow, "on_overflow", get_args(OnOverflow))
        return cls(
            task=task,
            tower=tower,
            width=width,
            normalize=flag(normalize, "normalize"),
            embedding_type=embedding_type,
            ranges=None if ranges is None else _plain(ranges, width),
            prompt=prompt,
            max_length=longest,
            on_overflow=on_overflow,
            upright=flag(upright, "upright"),
            allow_urls=flag(allow_urls, "allow_urls"),
        )


class StreamOptions(TypedDict, total=False):
    """What `Embedder.encode_iter` takes beside the prompt's name: see `Embedder.encode`."""

    task: str | None
    prompt: str | None
    truncate_dim: int | None
    max_length: int | None
    normalize: bool
    embedding_type: EmbeddingType
    ranges: ArrayLike | None
    on_overflow: OnOverflow
    on_error: OnError | None
    cancel: threading.Event | None


class EncodeOptions(StreamOptions, total=False):
    """What `Embedder.encode_query` and `encode_document` take: see `Embedder.encode`."""

    progress: OnProgress | bool | None


class Alias(TypedDict):
    """The options of a call that an alias stands for."""

    task: str | None
    prompt_name: str | None
    prompt: str | None


def resolve(
    manifest: Manifest, task: str | None, prompt_name: str | None, prompt: str | None
) -> tuple[str, str]:
    """The task and the prompt text that a call means.

    Raises:
        OptionError: the pack has no such task or prompt, or the options contradict each other.
    """
    if prompt is not None and prompt_name is not None:
        raise OptionError("prompt= and prompt_name= are both given; leave one out")
    given = {"task": task, "prompt_name": prompt_name, "prompt": prompt}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise OptionError(f"{name} is {type(value).__name__}, not str")
    if prompt_name is not None and prompt_name not in manifest.prompts:
        prompt_name = _synonym(manifest, prompt_name)
    if task is None:
        task = manifest.default_task
    elif task in ALIASES and task not in manifest.tasks and ALIASES[task][0] in manifest.tasks:
        alias, task = task, ALIASES[task][0]
        meant = alias_prompt(manifest, alias)
        if prompt_name is not None and prompt_name != meant:
            raise OptionError(
                f"task {alias!r} means the prompt {meant!r}, and prompt_name is {prompt_name!r}; "
                f"pass task={task!r} to choose the prompt yourself"
            )
        if prompt is None:
            prompt_name, prompt = meant, None if meant is not None else ""
    if task not in manifest.tasks:
        raise OptionError(f"task {task!r} is not in this pack; it has {_names(manifest.tasks)}")
    if prompt is not None:
        return task, prompt
    if prompt_name is None:
        # A model whose tasks have instructions of their own says so by a prompt of that name; it
        # stands before a text where the task was asked for, not where it is the default.
        prompt_name = (
            given["task"] if given["task"] in manifest.prompts else manifest.default_prompt
        )
    if prompt_name is None:
        return task, ""
    if prompt_name not in manifest.prompts:
        raise OptionError(
            f"prompt_name {prompt_name!r} is not in this pack; it has {_names(manifest.prompts)} "
            "(or pass the text itself as prompt=)"
        )
    return task, manifest.prompts[prompt_name]


def alias_options(
    manifest: Manifest, alias: str, *, task: str | None = None, prompt: str | None = None
) -> Alias:
    """The options of a call that means an alias; a task or prompt that was given stays.

    Where the pack has no such prompt, nothing stands before a text, as in Sentence Transformers:
    the default prompt is that of plain `encode`, and may be the other side's.
    """
    name = alias_prompt(manifest, alias) if prompt is None else None
    return Alias(
        task=alias_task(manifest, alias) if task is None else task,
        prompt_name=name,
        prompt="" if prompt is None and name is None else prompt,
    )


def alias_task(manifest: Manifest, alias: str) -> str | None:
    """The task that an alias means; None where the pack does not have it."""
    task, _ = ALIASES[alias]
    return next((name for name in (alias, task) if name in manifest.tasks), None)


def alias_prompt(manifest: Manifest, alias: str) -> str | None:
    """The name of the prompt that an alias means; None where the pack has no such prompt."""
    _, names = ALIASES[alias]
    return next((name for name in (alias, *names) if name in manifest.prompts), None)


def _synonym(manifest: Manifest, name: str) -> str:
    """What the pack calls a prompt that it has under another of its usual names; else the same."""
    for alias, (_, names) in ALIASES.items():
        if name in names and (held := alias_prompt(manifest, alias)) is not None:
            return held
    return name


def _plain(ranges: ArrayLike, width: int) -> Ranges:
    smallest, largest = check_ranges(ranges, width).tolist()
    return tuple(smallest), tuple(largest)


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
