"""The class that users hold: a pack, opened, that turns texts into vectors.

Joins the other modules: texts -> token ids (`tokens`) -> a plan (`batches`) -> runs (`engine`) ->
vectors (`vectors`). Everything about a call is checked before the network runs. Knows no file
format and no ONNX Runtime itself.
"""

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedge import machine
from embedge.batches import Limits, pad, plan
from embedge.engine import INEXACT, OnnxSession, Session, choose_device, kernel_path
from embedge.errors import (
    CancelledError,
    ClosedError,
    DeviceError,
    NonFiniteError,
    OptionError,
    PackError,
    PackFileError,
)
from embedge.machine import Choice, whole_number
from embedge.manifest import Manifest
from embedge.packs import check_files, check_references, choose_precision, open_pack
from embedge.tokens import (
    OnOverflow,
    TextTokenizer,
    TruncationWarning,
    check_on_overflow,
    check_texts,
)
from embedge.vectors import (
    EmbeddingType,
    check_embedding_type,
    check_ranges,
    normalise,
    quantise,
    similarity,
)

logger = logging.getLogger(__name__)

Texts = str | Iterable[str]
Progress = Callable[[int, int], None]  # texts done, texts in all

# Names of the hosted API: a task and a prompt in one word.
ALIASES = {
    "retrieval.query": ("retrieval", ("query",)),
    "retrieval.passage": ("retrieval", ("document", "passage")),
}
TOKEN_BUDGETS = {
    "cpu": Choice(4096, "on a CPU larger runs are no quicker, and memory grows with them"),
    "cuda": Choice(32768, "a GPU needs many tokens at once to be busy"),
}


class Embedder:
    """Turns texts into vectors with a model pack. A context manager; safe between threads.

    Args:
        path: folder of the pack.
        precision: "auto", or "fp32", "fp16", "int8" as the pack has them.
        device: "auto", "cpu" or "cuda". "cuda" that cannot be had is an error.
        threads: of one run; by default from affinity, cgroup and EMBEDGE_THREADS.
        token_budget: padded tokens of one run.
        memory_limit: bytes that one run may take beside the weights, by the pack's estimate.
        arena: keep ONNX Runtime's memory pool between runs: faster, but it never shrinks.
        warm_up: load the default task and run one short text now rather than at the first call.

    Attributes:
        manifest: what the pack says of itself.
        folder: where it stands.
        choices: precision, device, threads, memory_limit and token_budget, each with its reason.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        token_budget: int | None = None,
        memory_limit: int | None = None,
        arena: bool = False,
        warm_up: bool = False,
    ) -> None:
        self._pack = open_pack(path)
        self.manifest: Manifest = self._pack.manifest
        self.folder: Path = self._pack.folder
        if self.manifest.text is None:
            raise PackError(f"{self.folder} has no text input, and this version embeds text only")
        self._text = self.manifest.text
        self.choices: Mapping[str, Choice[Any]] = MappingProxyType(
            self._choose(precision, device, threads, token_budget, memory_limit)
        )
        self._arena = arena
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._tokenizer: TextTokenizer | None = None
        self._truncations = 0
        self._closed = False
        for name, choice in self.choices.items():
            logger.debug("%s: %s (%s)", name, choice.value, choice.reason)
        if warm_up:
            self.load()
            self._vectors(self.manifest.default_task, [np.array([self._text.pad_token_id])])

    def _choose(
        self,
        precision: str,
        device: str,
        threads: int | None,
        token_budget: int | None,
        memory_limit: int | None,
    ) -> dict[str, Choice[Any]]:
        held = self.manifest.precisions()
        if not held:
            raise PackError(f"{self.folder}: no precision covers every task; export it again")
        if precision != "auto":
            choose_precision(self.manifest, precision, device="cpu")  # refuse before probing
        on = choose_device(device, precision=precision, held=held)
        chosen = choose_precision(self.manifest, precision, device=on.value)
        graph = self.manifest.graph(task=self.manifest.default_task, precision=chosen.value)
        weights = sum(self.manifest.files[name].size for name in (graph.file, *graph.data))
        return {
            "precision": chosen,
            "device": on,
            "threads": machine.choose_threads(
                threads,
                environment=os.environ,
                host=machine.host_cores(),
                affinity=machine.read_affinity(),
                quota=machine.read_cpu_quota(),
            ),
            "memory_limit": machine.choose_memory_limit(
                memory_limit,
                # The machine's memory says nothing of a GPU's.
                available=machine.read_available_memory() if on.value == "cpu" else None,
                reserved=weights,
            ),
            "token_budget": (
                TOKEN_BUDGETS[on.value]
                if token_budget is None
                else Choice(whole_number(token_budget, "token_budget"), "token_budget= was given")
            ),
        }

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the pack."""
        return self.manifest.tasks

    @property
    def prompts(self) -> Mapping[str, str]:
        """The named prompts of the pack."""
        return MappingProxyType(dict(self.manifest.prompts))

    @property
    def dimension(self) -> int:
        """Width of a full vector."""
        return self.manifest.dimension

    @property
    def max_length(self) -> int:
        """The most tokens that a text may have, prompt and special tokens included."""
        return self._text.max_length

    @property
    def precision(self) -> str:
        """The precision in use."""
        return str(self.choices["precision"].value)

    @property
    def device(self) -> str:
        """The device in use, "cpu" or "cuda"."""
        return str(self.choices["device"].value)

    @property
    def threads(self) -> int:
        """Threads of one run."""
        return int(self.choices["threads"].value)

    @property
    def truncations(self) -> int:
        """How many texts were cut so far."""
        return self._truncations

    def encode(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        normalize: bool = True,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
        on_overflow: OnOverflow = "truncate",
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[Any]:
        """Embeds texts.

        Args:
            texts: one str, or any ordered iterable of str.
            task: one of `tasks`, or "retrieval.query" / "retrieval.passage" for retrieval with
                that prompt; the pack's default task if left out.
            prompt_name: one of `prompts`; the pack's default prompt if left out.
            prompt: this very text before every input instead of a named prompt; "" for none.
            truncate_dim: keep the first so many dimensions, before normalising. Widths in
                `manifest.matryoshka_dimensions` are those that the model was trained for.
            max_length: at most so many tokens a text, prompt and special tokens included.
            normalize: scale vectors to length 1.
            embedding_type: "float32", or a smaller type: see `embedge.quantise`.
            ranges: for int8 and uint8: see `embedge.quantise`.
            on_overflow: "truncate" cuts a text that is too long (with one warning an embedder,
                counted in `truncations`), "error" refuses it.
            progress: called as progress(done, total) after every run, in texts.
            cancel: set it from another thread to stop, also in the middle of a run.

        Returns:
            (n, d) for an iterable of n texts in their order, (d,) for one str; float32 unless
            `embedding_type` says otherwise.

        Raises:
            TextError: some items are no text; nothing was run.
            TextTooLongError: a text is too long, with on_overflow="error"; nothing was run.
            OptionError: an option is not one of this pack's; nothing was run.
            MemoryLimitError: a text alone would exceed the memory limit; nothing was run.
            NonFiniteError: the network gave NaN or infinity.
            CancelledError: `cancel` was set.
            ClosedError: the embedder is closed.
        """
        self._check_open()
        items, single = check_texts(texts)
        task, prompt = resolve(self.manifest, task, prompt_name, prompt)
        width = self._width(truncate_dim)
        check_embedding_type(embedding_type, ranges)
        if ranges is not None:
            ranges = check_ranges(ranges, width)
        check_on_overflow(on_overflow)
        encoded = self._load_tokenizer().encode(
            items,
            prompt=prompt,
            max_length=self._length(max_length),
            on_overflow=on_overflow,
            cancel=cancel,
        )
        self._count_truncations(encoded.truncated, max_length)
        vectors = self._vectors(task, encoded.ids, width, progress, cancel)  # (n, width)
        if normalize:
            vectors = normalise(vectors)
        result = quantise(vectors, embedding_type, ranges=ranges)
        return result[0] if single else result

    def encode_query(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        normalize: bool = True,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
        on_overflow: OnOverflow = "truncate",
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[Any]:
        """Embeds search queries: `encode` with the prompt "query" if the pack has it.

        The task, if left out, is "retrieval" where the pack has it: that is what queries are for.
        """
        return self.encode(
            texts,
            task=self._retrieval(task),
            prompt_name=self._prompt_name(prompt, ALIASES["retrieval.query"][1]),
            prompt=prompt,
            truncate_dim=truncate_dim,
            max_length=max_length,
            normalize=normalize,
            embedding_type=embedding_type,
            ranges=ranges,
            on_overflow=on_overflow,
            progress=progress,
            cancel=cancel,
        )

    def encode_document(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        normalize: bool = True,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
        on_overflow: OnOverflow = "truncate",
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[Any]:
        """Embeds what is searched: `encode` with the prompt "document" or "passage".

        The task, if left out, is "retrieval" where the pack has it, as for `encode_query`.
        """
        return self.encode(
            texts,
            task=self._retrieval(task),
            prompt_name=self._prompt_name(prompt, ALIASES["retrieval.passage"][1]),
            prompt=prompt,
            truncate_dim=truncate_dim,
            max_length=max_length,
            normalize=normalize,
            embedding_type=embedding_type,
            ranges=ranges,
            on_overflow=on_overflow,
            progress=progress,
            cancel=cancel,
        )

    def similarity(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
        """Cosine of every vector of `a` with every vector of `b`: float32 (n, m)."""
        return similarity(a, b)

    def count_tokens(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> NDArray[np.int64]:
        """Tokens of every text, (n,), uncut, with the prompt and special tokens `encode` adds."""
        self._check_open()
        items, _ = check_texts(texts)
        _, prompt = resolve(self.manifest, task, prompt_name, prompt)
        return self._load_tokenizer().count(items, prompt=prompt)

    def load(self, task: str | None = None) -> None:
        """Loads the tokenizer and a task (the default one if left out) now.

        Otherwise the first call that needs them does. Weights are mapped into memory and fault
        in during the first run, so that one still takes longer: see `warm_up`.
        """
        self._check_open()
        resolved, _ = resolve(self.manifest, task, None, "")
        self._load_tokenizer()
        self._session(resolved)

    def close(self) -> None:
        """Frees the networks. Calls under way end well; later ones raise ClosedError."""
        with self._lock:
            self._closed = True
            self._sessions.clear()
            self._tokenizer = None

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.precision} on {self.device}"
        return f"<Embedder {self.manifest.model_id} ({state}) at {self.folder}>"

    def _vectors(
        self,
        task: str,
        ids: list[NDArray[Any]],
        width: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:
        """Runs the plan; the vectors (n, width), sliced and not normalised, in the texts' order."""
        limits = Limits(
            token_budget=self.choices["token_budget"].value,
            memory=self.manifest.memory,
            memory_limit=self.choices["memory_limit"].value,
        )
        result = np.zeros((len(ids), self.dimension if width is None else width), np.float32)
        done = 0
        for indices in plan([len(row) for row in ids], limits):
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"cancelled after {done} of {len(ids)} texts")
            input_ids, mask = pad([ids[index] for index in indices], self._text.pad_token_id)
            pooled = self._session(task).run(input_ids, mask, cancel=cancel)  # (B, D)
            self._check_output(pooled, task, indices)
            result[indices] = pooled[:, :width]
            done += len(indices)
            if progress is not None:
                progress(done, len(ids))
        return result

    def _check_output(
        self, pooled: NDArray[np.float32], task: str, indices: NDArray[np.int64]
    ) -> None:
        expected = (len(indices), self.dimension)
        if pooled.shape != expected:
            raise PackFileError(
                f"{self.folder}: the graph of {task!r} gave shape {pooled.shape}, the manifest "
                f"says {expected}; export the pack again"
            )
        finite = np.isfinite(pooled).all(axis=1)
        if not finite.all():
            item = int(indices[~finite].min())
            remedy = (
                "the weights may be damaged: try `embedge verify`, or export the pack again"
                if self.precision == "fp32"
                else 'pass precision="fp32" (export it if the pack has none)'
            )
            raise NonFiniteError(
                f"item {item}: task {task!r} in {self.precision} gave NaN or infinity; {remedy}"
            )

    def _session(self, task: str) -> Session:
        with self._lock:
            self._check_open()
            if task not in self._sessions:
                graph = self.manifest.graph(task=task, precision=self.precision)
                check_files(self._pack, (graph.file, *graph.data))
                check_references(self._pack, graph)
                if self.precision == "int8" and kernel_path().value == INEXACT:
                    raise DeviceError(f"int8 would be wrong here: {kernel_path().reason}")
                self._sessions[task] = open_session(
                    self._pack.file(graph.file),
                    device=self.device,
                    threads=self.threads,
                    arena=self._arena,
                )
            return self._sessions[task]

    def _load_tokenizer(self) -> TextTokenizer:
        with self._lock:
            self._check_open()
            if self._tokenizer is None:
                check_files(self._pack, (self._text.tokenizer,))
                self._tokenizer = TextTokenizer(self._pack.file(self._text.tokenizer))
            return self._tokenizer

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"this embedder of {self.folder} is closed; make a new one")

    def _count_truncations(self, truncated: list[int], max_length: int | None) -> None:
        if not truncated:
            return
        with self._lock:
            first = self._truncations == 0
            self._truncations += len(truncated)
        if first:
            warnings.warn(
                f"item {truncated[0]} has more than {self._length(max_length)} tokens and was "
                f"cut ({len(truncated)} in this call; later ones are only counted, in "
                '`truncations`); raise max_length=, split it, or pass on_overflow="error"',
                TruncationWarning,
                stacklevel=3,
            )

    def _width(self, truncate_dim: int | None) -> int:
        if truncate_dim is None:
            return self.dimension
        width = whole_number(truncate_dim, "truncate_dim", most=self.dimension)
        if width not in (self.dimension, *self.manifest.matryoshka_dimensions):
            logger.debug("the model was not trained for vectors cut to %d dimensions", width)
        return width

    def _length(self, max_length: int | None) -> int:
        if max_length is None:
            return self.max_length
        return whole_number(max_length, "max_length", most=self.max_length)

    def _retrieval(self, task: str | None) -> str | None:
        return "retrieval" if task is None and "retrieval" in self.tasks else task

    def _prompt_name(self, prompt: str | None, names: tuple[str, ...]) -> str | None:
        """The first of the names that the pack has; None where the caller wrote the prompt."""
        if prompt is not None:
            return None
        return next((name for name in names if name in self.manifest.prompts), None)


def open_session(graph: Path, *, device: str, threads: int, arena: bool) -> Session:
    """Opens a graph. Tests put a fake in this function's place."""
    return OnnxSession(graph, device=device, threads=threads, arena=arena)


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
    if task is None:
        task = manifest.default_task
    elif task in ALIASES and task not in manifest.tasks and ALIASES[task][0] in manifest.tasks:
        alias = task
        task, names = ALIASES[alias]
        meant = next((name for name in names if name in manifest.prompts), None)
        if prompt_name is not None and prompt_name != meant:
            raise OptionError(
                f"task {alias!r} means the prompt {meant!r}, and prompt_name is {prompt_name!r}; "
                f"pass task={task!r} to choose the prompt yourself"
            )
        prompt_name = meant if prompt is None else None
    if task not in manifest.tasks:
        raise OptionError(f"task {task!r} is not in this pack; it has {_names(manifest.tasks)}")
    if prompt is not None:
        return task, prompt
    prompt_name = manifest.default_prompt if prompt_name is None else prompt_name
    if prompt_name is None:
        return task, ""
    if prompt_name not in manifest.prompts:
        raise OptionError(
            f"prompt_name {prompt_name!r} is not in this pack; it has {_names(manifest.prompts)} "
            "(or pass the text itself as prompt=)"
        )
    return task, manifest.prompts[prompt_name]


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
