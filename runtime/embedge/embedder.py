"""The class that users hold: a pack, opened, that turns texts and images into vectors.

Its face only: what a call means is made a `Call`, checked, before `encoder` does it. It also
chooses how to run the pack, closes it, and is pickled. Knows no file format, no batching and no
ONNX Runtime.
"""

import functools
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedge.calls import Call, EncodeOptions, StreamOptions, Tower, alias_options
from embedge.choice import Choice
from embedge.choices import choose
from embedge.closing import Lifetime, counted, explained
from embedge.default_tasks import DefaultTasks
from embedge.encoder import Encoder
from embedge.engine.providers.register import provider_of
from embedge.errors import OptionError
from embedge.files.paths import absolute_path
from embedge.habits import missing_attribute
from embedge.images.sources import Images
from embedge.items import Items, OnError, OnProgress
from embedge.options import flag
from embedge.pack.files import open_pack
from embedge.pack.manifest import Manifest
from embedge.progress import reporting
from embedge.reopening import Reduced, open_again, reduce_embedder
from embedge.sessions import Sessions
from embedge.streaming import rows_of
from embedge.texts.tokens import OnOverflow
from embedge.vectors import EmbeddingType, similarity

logger = logging.getLogger(__name__)

Texts = str | Iterable[str]


class Embedder:
    """Turns texts into vectors with a model pack. A context manager; safe between threads.

    It can be pickled, by its path and options: a process that gets one opens the pack itself, once,
    however often it is sent. The precision and the device are those that were chosen here, so that
    the vectors are the same.

    The files of the pack, and prepared ones, are mapped into memory while they are in use: delete
    them or put others in their place (write beside, then rename), but never rewrite one or cut it
    short, which would end the process.

    Args:
        path: folder of the pack; the one that embedge bundles if left out.
        precision: "auto", or "fp32", "fp16", "int8" as the pack has them.
        device: "auto", "cpu" or "cuda". Asking for CUDA where it is unavailable is an error.
        threads: of one run; by default from affinity, cgroup and EMBEDGE_THREADS.
        token_budget: padded tokens of one run; by default EMBEDGE_TOKEN_BUDGET, else what this
            CPU's caches hold; on a GPU 16,384, or what half of the memory limit holds.
        memory_limit: bytes that all runs under way may take together beside the weights, by the
            pack's estimate, whatever threads call and for whatever tasks: a run that does not fit
            waits for its turn, and a text that would exceed the limit alone is refused. A number,
            or a text such as "500MB" or "2GiB"; by default EMBEDGE_MEMORY_LIMIT, else a share of
            what is free: of a GPU's memory what brings speed, with the weights at most half.
        arena: keep ONNX Runtime's memory pool of each task for good: it never shrinks, and
            `memory_limit` does not count what it keeps. Otherwise the pool is kept from run to
            run of a call, and given back with the last. A GPU's is always kept, and counted.
        spin: keep threads awake between the pieces of a run, and for a millisecond after it. Pass
            False where other work wants the cores, as in a server, which is then up to twice as
            fast.
        background: work beside a person's own: with half of the threads, and with low priority
            where the system has it for threads. On Linux all threads of a run have it (nice 19); on
            Windows and macOS one thread does the run, and has it. Texts are tokenized at the
            priority of the caller.
        prepared: a folder for weights in the form that this machine's kernels take. They are
            written at the first load, about twice a task's graph, and mapped from then on: loading
            is quick, and tasks, processes and restarts share what else each would hold for itself.
            They are checked by hashes before each load, and made again if they do not agree. The
            folder must be one that only this user can write to. CPU and Linux only.
        warm_up: load the default task and run one short text now rather than at the first call.

    Attributes:
        manifest: what the pack says of itself.
        folder: where it stands.
        options: the arguments that open the same again, precision and device as they were chosen.

    >>> with Embedder() as embedder:
    ...     documents = embedder.encode_document(["Mars is red.", "Venus is hot."])  # (2, d)
    ...     query = embedder.encode_query("Which planet is red?")  # (d,)
    ...     scores = embedder.similarity(query, documents)  # float32 (1, 2)
    >>> scores.shape, int(scores.argmax())
    ((1, 2), 0)
    """

    @explained
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        token_budget: int | None = None,
        memory_limit: float | str | None = None,
        arena: bool = False,
        spin: bool = True,
        background: bool = False,
        prepared: str | os.PathLike[str] | None = None,
        warm_up: bool = False,
    ) -> None:
        arena, spin = flag(arena, "arena"), flag(spin, "spin")
        background, warm_up = flag(background, "background"), flag(warm_up, "warm_up")
        pack = open_pack(path)
        self.manifest: Manifest = pack.manifest
        self.folder: Path = pack.folder
        first = Call.of(self.manifest)  # refuses a pack that takes no text
        choices = choose(
            pack,
            precision=precision,
            device=device,
            threads=threads,
            token_budget=token_budget,
            memory_limit=memory_limit,
            background=background,
        )
        self._choices: Mapping[str, Choice[Any]] = choices.by_name()
        if prepared is not None and self.device != "cpu":
            raise OptionError("prepared= is for the CPU; leave it out, or pass device='cpu'")
        place = None if prepared is None else absolute_path(prepared, "prepared")
        sessions = Sessions(pack, choices, arena=arena, spin=spin, prepared=place)
        self._encoder = Encoder(pack, choices, sessions)
        again: dict[str, Any] = {
            "path": None if path is None else self.folder,
            "precision": self.precision,
            "device": self.device,
            "threads": threads,
            "token_budget": token_budget,
            "memory_limit": memory_limit,
            "arena": arena,
            "spin": spin,
            "background": background,
            "prepared": place,
            "warm_up": warm_up,
        }
        self.options: Mapping[str, Any] = MappingProxyType(again)
        self._default_tasks = DefaultTasks(self.manifest)
        refusal = f"this embedder of {self.folder} is closed; make a new one"
        self._lifetime = Lifetime(refusal, self._encoder.close)
        for name, choice in self._choices.items():
            logger.debug("%s: %s (%s)", name, choice.value, choice.reason)
        if warm_up:
            self._encoder.warm_up(first)

    if not TYPE_CHECKING:  # type checkers would take every name for one of these

        def __getattr__(self, name: str) -> Any:
            """Only for names that do not exist: the error says what they are called here."""
            raise missing_attribute(self, name)

    @property
    def encoder(self) -> Encoder:
        """What does the work, for programs that tokenize and run by themselves, as the server."""
        return self._encoder

    @property
    def choices(self) -> Mapping[str, Choice[Any]]:
        """Precision, device, threads, priority, memory_limit, token_budget, each with its reason.

        On a GPU also cuda_graphs: of which tasks and padded lengths runs of one text are captured
        by now, and why not of others.
        """
        if not provider_of(self.device).captured_lengths:
            return self._choices
        return MappingProxyType({**self._choices, "cuda_graphs": self._encoder.captured()})

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
        return self._encoder.text.max_length

    @property
    def precision(self) -> str:
        """The precision in use."""
        return str(self._choices["precision"].value)

    @property
    def device(self) -> str:
        """The device in use, "cpu" or "cuda"."""
        return str(self._choices["device"].value)

    @property
    def threads(self) -> int:
        """Threads of one run."""
        return int(self._choices["threads"].value)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._lifetime.closed

    @property
    def truncations(self) -> int:
        """How many texts were cut so far."""
        return self._encoder.truncations

    @counted
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
        on_error: OnError | None = None,
        progress: OnProgress | bool | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[Any]:
        """Embeds texts.

        Args:
            texts: one str, or any ordered iterable of str.
            task: one of `tasks`, or "retrieval.query" / "retrieval.passage" for retrieval with
                that prompt; the pack's default task if left out. Where that is another one than
                `encode_query` takes, calls of both that name no task give a `TaskWarning`.
            prompt_name: one of `prompts`; the pack's default prompt if left out. "document",
                "passage" and "corpus" all mean the one of them that the pack has.
            prompt: this very text before every input instead of a named prompt; "" for none.
            truncate_dim: keep the first so many dimensions, before normalizing. Widths in
                `manifest.matryoshka_dimensions` are those that the model was trained for.
            max_length: at most so many tokens a text, prompt and special tokens included.
            normalize: scale vectors to length 1.
            embedding_type: "float32", or a smaller type: see `embedge.quantize`.
            ranges: for int8 and uint8: see `embedge.quantize`.
            on_overflow: "truncate" cuts a text that is too long (with one warning an embedder,
                counted in `truncations`), "error" refuses it. A word, or run of spaces or digits,
                that ends neither within a quarter of a million characters nor within 32 for each
                token is cut there, and counts as too long.
            on_error: called as on_error(index, reason) for every text that cannot be embedded,
                whose row is then NaN (0 in the types smaller than float32), in place of the
                TextError, TextTooLongError, or MemoryLimitError of a text that is too long.
            progress: called as progress(done, total) after every run, in texts, and with the
                same `done` while long texts are tokenized. True shows a progress line on stderr.
            cancel: set it from another thread to stop, also in the middle of a run.

        Returns:
            (n, d) for an iterable of n texts in their order, (d,) for one str; float32 unless
            `embedding_type` says otherwise.

        Raises:
            TextError: some items are not str; nothing was run. Or the tokenizer cannot take some
                of the texts, or the network their tokens; all others were embedded, and stand in
                the error's `vectors`.
            TextTooLongError: a text is too long, with on_overflow="error"; nothing was run.
            OptionError: an option is not one of this pack's; nothing was run.
            MemoryLimitError: a text alone would exceed the memory limit; nothing was run.
            NonFiniteError: the network gave NaN or infinity.
            CancelledError: `cancel` was set.
            ClosedError: the embedder is closed.
        """
        call = Call.of(
            self.manifest,
            task=task,
            prompt_name=prompt_name,
            prompt=prompt,
            truncate_dim=truncate_dim,
            max_length=max_length,
            normalize=normalize,
            embedding_type=embedding_type,
            ranges=ranges,
            on_overflow=on_overflow,
        )
        if task is None:
            self._default_tasks.note(search=False)
        with reporting(progress, "texts") as report:
            items = Items("texts", on_error=on_error, progress=report, cancel=cancel)
            return self._encoder.encode_texts(call, texts, items)

    def encode_iter(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        **options: Unpack[StreamOptions],
    ) -> Iterator[NDArray[Any]]:
        """Embeds any number of texts, and gives the vector of each as it comes, in order.

        At most 2,048 texts, or about 8 MiB of them, are held at a time, with their vectors.

        Args:
            texts: an iterable of str, such as a file's lines or a generator.
            prompt_name: as for `encode`.
            options: those of `encode` but progress. The indices of bad texts count from the first
                text of all.

        Yields:
            (d,) for each text, as `encode` gives it.

        Raises:
            OptionError: at once, before anything is read: an option is not one of this pack's, or
                int8 or uint8 is asked for without ranges, which would be those of a few texts.
            TextError: `vectors` of it are the rows of the texts that were held. And what `encode`
                raises, while the rows are read.

        >>> embedder = Embedder()
        >>> lines = (f"line {number}" for number in range(3))
        >>> [row.shape for row in embedder.encode_iter(lines, task="retrieval")]
        [(256,), (256,), (256,)]
        """
        if isinstance(texts, str):
            raise OptionError("encode_iter takes an iterable of texts; pass one text to encode")
        if "progress" in options:
            raise OptionError(
                "encode_iter does not know how many texts there are; leave out progress=, and "
                "count its rows"
            )
        if options.get("embedding_type") in ("int8", "uint8") and options.get("ranges") is None:
            raise OptionError(
                f"encode_iter needs ranges= for {options['embedding_type']}: without it, a text's "
                "numbers would depend on the few texts around it"
            )
        on_error = options.pop("on_error", None)
        encode = functools.partial(self.encode, prompt_name=prompt_name, **options)
        encode([])  # a wrong option shows here
        return rows_of(encode, texts, on_error=on_error)

    def encode_query(self, texts: Texts, **options: Unpack[EncodeOptions]) -> NDArray[Any]:
        """Embeds search queries: `encode` with the prompt "query", or none if the pack lacks it.

        The task, if left out, is "retrieval" where the pack has it: that is what queries are for.
        The options are those of `encode`, all but prompt_name. Returns (n, d), or (d,) for one str,
        and raises what `encode` raises.
        """
        return self._encode_as("retrieval.query", texts, options)

    def encode_document(self, texts: Texts, **options: Unpack[EncodeOptions]) -> NDArray[Any]:
        """Embeds what is searched: `encode` with the prompt "document", "passage" or "corpus".

        The first of them that the pack has, as in Sentence Transformers, and none otherwise.

        The task, if left out, is "retrieval" where the pack has it, and the options are those of
        `encode`, all but prompt_name, as for `encode_query`. Returns (n, d), or (d,) for one str,
        and raises what `encode` raises.
        """
        return self._encode_as("retrieval.passage", texts, options)

    @counted
    def encode_image(
        self,
        images: Images,
        *,
        task: str | None = None,
        truncate_dim: int | None = None,
        normalize: bool = True,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
        upright: bool = True,
        allow_urls: bool = False,
        on_error: OnError | None = None,
        progress: OnProgress | bool | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[Any]:
        """Embeds images, in the space of the pack's texts. Needs Pillow: `embedge[image]`.

        Every image's header is looked at before anything runs. Pixels are decoded a few images
        ahead of the network, so paths to thousands of photos take no more memory than a dozen.

        Args:
            images: one image, or any ordered iterable of them, an array (N, H, W, 3) included. An
                image is a path (str or PathLike), the bytes of a file, a `data:image/…;base64,`
                URI, a PIL image, a uint8 array (H, W), (H, W, 3) or (H, W, 4), or a URL. JPEG,
                PNG, GIF, WebP, AVIF, BMP, TIFF, PPM, JPEG 2000; the first frame of several.
            task: one of `tasks`; the pack's default task if left out.
            truncate_dim: as for `encode`.
            normalize: as for `encode`.
            embedding_type: as for `encode`.
            ranges: as for `encode`.
            upright: turn photos as their EXIF orientation says, as viewers do. False leaves them
                as the camera stored them, which is what jina-clip-v2's own code does.
            allow_urls: fetch http and https URLs, each within 60 s and 64 MiB. Whoever may choose
                the URLs then reaches what this machine reaches.
            on_error: called as on_error(index, reason) for every bad image, whose row is then NaN
                (0 in the types smaller than float32), in place of the ImageError.
            progress: called as progress(done, total) after every run, in images. True shows a
                progress line on stderr.
            cancel: set it from another thread to stop, also in the middle of a run.

        Returns:
            (n, d) for an iterable of n images in their order, (d,) for one image.

        Raises:
            ImageError: some images are bad. Where their headers showed it, nothing was run; where
                it showed only in decoding or fetching, all others were embedded, and stand in the
                error's `vectors`.
            PackError: the pack has no image tower.
            MissingExtraError: Pillow is not installed.
            OptionError, MemoryLimitError, NonFiniteError, CancelledError, ClosedError: as `encode`.
        """
        call = Call.of(
            self.manifest,
            tower="image",
            task=task,
            truncate_dim=truncate_dim,
            normalize=normalize,
            embedding_type=embedding_type,
            ranges=ranges,
            upright=upright,
            allow_urls=allow_urls,
        )
        with reporting(progress, "images") as report:
            items = Items("images", on_error=on_error, progress=report, cancel=cancel)
            return self._encoder.encode_images(call, images, items)

    @counted
    def encode_squares(
        self,
        squares: Sequence[NDArray[np.uint8]],
        *,
        task: str | None = None,
        truncate_dim: int | None = None,
        progress: OnProgress | bool | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:
        """Embeds images that were resized and cropped already: what `encode_image` gives for them.

        Args:
            squares: uint8 (size, size, 3) each, as `embedge.images.pixels.to_square` gives them.
            task: as for `encode_image`, and so are the others.
            truncate_dim: as for `encode`.
            progress: as for `encode_image`.
            cancel: as for `encode_image`.

        Returns:
            float32 (n, d), of length 1.
        """
        call = Call.of(self.manifest, tower="image", task=task, truncate_dim=truncate_dim)
        with reporting(progress, "images") as report:
            items = Items("images", progress=report, cancel=cancel)
            return self._encoder.encode_squares(call, squares, items)

    def similarity(
        self,
        a: ArrayLike,
        b: ArrayLike,
        *,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """Cosine of every vector of `a` with every vector of `b`: float32 (n, m).

        Of bits, by how many are equal; the arguments are those of `embedge.similarity`.
        """
        return similarity(a, b, embedding_type=embedding_type, ranges=ranges)

    @counted
    def count_tokens(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> NDArray[np.int64]:
        """Tokens of every text, (n,), uncut, with the prompt and special tokens `encode` adds."""
        call = Call.of(self.manifest, task=task, prompt_name=prompt_name, prompt=prompt)
        return self._encoder.count_tokens(call, texts)

    @counted
    def load(self, task: str | None = None, *, tower: Tower = "text") -> None:
        """Loads a task (the default one if left out) now, with the tokenizer; or its image tower.

        Otherwise the first call that needs them does. Weights are mapped into memory and fault
        in during the first run, so that one still takes longer: see `warm_up`.
        """
        self._encoder.load(Call.of(self.manifest, task=task, tower=tower))

    def close(self) -> None:
        """Frees the networks once the calls under way have ended; later ones raise ClosedError.

        It does not wait for them, so that a callback of a call may close the embedder too. The
        memory goes back to the system where the C library can do that (glibc, macOS), which takes
        a few milliseconds.
        """
        self._lifetime.close()

    def __enter__(self) -> Self:
        self._lifetime.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Reduced:
        """Pickled by path and options; another process opens the pack, once."""
        self._lifetime.check_open()
        return reduce_embedder(type(self), self.options, self._fingerprint())

    def __copy__(self) -> Self:
        """Another embedder of the same pack and options; closing one leaves the other open."""
        self._lifetime.check_open()
        copied: Self = open_again(type(self), self.options, self._fingerprint())
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        state = "closed" if self._lifetime.closed else f"{self.precision} on {self.device}"
        return f"<Embedder {self.manifest.model_id} ({state}) at {self.folder}>"

    def _fingerprint(self) -> str:
        return self.manifest.fingerprint(self.precision)

    def _encode_as(self, alias: str, texts: Texts, options: EncodeOptions) -> NDArray[Any]:
        if "prompt_name" in options:
            raise TypeError(
                "encode_query and encode_document choose the prompt themselves: pass prompt=, or "
                "call encode with prompt_name="
            )
        task, prompt = options.pop("task", None), options.pop("prompt", None)
        self._lifetime.check_open()
        if task is None:
            self._default_tasks.note(search=True)
        meant = alias_options(self.manifest, alias, task=task, prompt=prompt)
        options["task"], options["prompt"] = meant["task"], meant["prompt"]
        return self.encode(texts, prompt_name=meant["prompt_name"], **options)
