"""The road from texts or images to vectors: token ids or pixels -> runs -> vectors in their form.

Takes a `Call`, which was checked, and the `Items` of it; joins `texts` and `images` with the
`runner`. Holds the tokenizer and the networks of one pack. Knows no option's name and no default:
those belong to `Embedder`, its face.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.ahead import worked_ahead
from embedge.batches import Batch, Limits, estimate_memory, within_memory
from embedge.calls import Call
from embedge.cautions import warn
from embedge.choice import Choice
from embedge.choices import Choices
from embedge.errors import PackError
from embedge.fork_locks import ForkLock
from embedge.images.pipeline import check_images, decode_images
from embedge.images.pixels import from_square
from embedge.images.sources import list_images
from embedge.items import Items, OnError
from embedge.machine.heap import GivenBack, give_back
from embedge.pack.files import Pack, check_files
from embedge.pack.manifest import ImageInput, TextInput
from embedge.runner import Runner
from embedge.sessions import Sessions
from embedge.texts.checks import check_texts, take_texts
from embedge.texts.languages import Languages
from embedge.texts.tokens import Encoded, TextTokenizer, TruncationWarning, raising
from embedge.vectors import normalize, quantize_some
from embedge.windows import Window, windows

# Texts that are tokenized at a time while a GPU works on others: a few of its runs.
AHEAD = Window(first=1024, most=4096, size=2**23)


class Encoder:
    """A pack's tokenizer and networks at work. Safe between threads.

    Args:
        pack: where their files stand.
        choices: how to run them.
        sessions: opens the networks.

    Attributes:
        text: how texts become token ids.
        languages: whether texts are in those of the pack.
        truncations: how many texts were cut so far.
        tokens: how many token ids were made of texts so far, prompts and special tokens included.
    """

    def __init__(self, pack: Pack, choices: Choices, sessions: Sessions) -> None:
        assert pack.manifest.text is not None  # no `Call` can be made for such a pack
        self.text: TextInput = pack.manifest.text
        self.truncations = self.tokens = 0
        self._pack = pack
        self._provider = choices.provider
        self._runner = Runner(pack, choices, sessions, pad_token_id=self.text.pad_token_id)
        samples = pack.manifest.samples
        self.languages = Languages(
            pack.manifest.model_id,
            pack.manifest.languages,
            expected=() if samples is None else samples.texts,
        )
        self._lock = ForkLock()  # of the tokenizer, `truncations` and `tokens`
        self._tokenizer: TextTokenizer | None = None
        self._last = GivenBack()  # goes after all that holds memory

    def encode_texts(self, call: Call, texts: object, items: Items) -> NDArray[Any]:
        """Vectors of texts: (n, d), or (d,) for one str; see `Embedder.encode`."""
        checked, single = take_texts(texts, items.refuse)
        items.check()
        items.total = len(checked)
        self.languages.note(checked)
        if self._works_ahead(call, len(checked)):
            truncated: list[int] = []
            try:
                with contextlib.closing(self._ahead(call, checked, items, truncated)) as runs:
                    return self._run(call, runs, items, single=single)
            finally:
                self._count_truncations(truncated, call.max_length)
        encoded = self.token_ids(
            call,
            checked,
            on_error=items.refuse,
            on_too_long=items.refuse if items.tolerant else None,
            progress=items.report,
            cancel=items.cancel,
        )
        with self._lock:
            self.tokens += sum(map(len, encoded.ids))
        self._count_truncations(encoded.truncated, call.max_length)
        ids = encoded.ids
        if items.tolerant:
            ids = within_memory(ids, self._runner.limits(), items.refuse)
        return self._run(call, self._runner.text_batches(ids), items, single=single)

    def _works_ahead(self, call: Call, count: int) -> bool:
        """Whether texts are tokenized while a GPU works on those before.

        Not where it would bring nothing, and not where a text could be refused after others ran:
        too long for the call, or for the memory.
        """
        if not self._provider.accelerator or count <= AHEAD.first or call.on_overflow != "truncate":
            return False
        limits = self._runner.limits()
        longest = estimate_memory(limits, 1, call.max_length)
        return limits.memory_limit is None or longest <= limits.memory_limit

    def _ahead(
        self, call: Call, texts: Sequence[str | None], items: Items, truncated: list[int]
    ) -> Generator[Batch, None, None]:
        """The runs of texts that are tokenized a window ahead; adds which of them were cut."""

        def tokenize(window: list[str | None]) -> tuple[Encoded, list[tuple[int, str]]]:
            refused: list[tuple[int, str]] = []  # of the caller's callbacks none is called here
            encoded = self.token_ids(
                call,
                window,
                on_error=lambda index, reason: refused.append((index, reason)),
                cancel=items.cancel,
            )
            return encoded, refused

        start, cut = 0, windows(texts, AHEAD, size=lambda text: len(text or ""))
        with contextlib.closing(worked_ahead(cut, tokenize)) as done:
            for window, (encoded, refused) in done:
                for index, reason in refused:
                    items.refuse(start + index, reason)
                truncated += [start + index for index in encoded.truncated]
                with self._lock:
                    self.tokens += sum(map(len, encoded.ids))
                for batch in self._runner.text_batches(encoded.ids):
                    yield replace(batch, indices=batch.indices + start)
                start += len(window)

    def token_ids(
        self,
        call: Call,
        texts: Sequence[str | None],
        *,
        on_error: OnError | None = None,
        on_too_long: OnError | None = None,
        progress: Callable[[], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Encoded:
        """Token ids of texts: the first half of `encode_texts`, for a server that merges calls.

        The ids of several calls of one task can share a run: see `run_ids`. The arguments are those
        of `TextTokenizer.encode`.
        """
        return self.tokenizer().encode(
            texts,
            prompt=call.prompt,
            max_length=call.max_length,
            on_overflow=call.on_overflow,
            on_error=on_error,
            on_too_long=on_too_long,
            progress=progress,
            cancel=cancel,
        )

    def limits(self) -> Limits:
        """What one run of texts may cost."""
        return self._runner.limits()

    def images_per_run(self) -> int:
        """How many images one run takes."""
        return self._runner.images_per_run()

    def run_ids(
        self,
        call: Call,
        ids: Sequence[NDArray[np.int32]],
        *,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:
        """Vectors (n, width) of token ids, not normalized: the second half of `encode_texts`.

        Args:
            call: its task and width count, and nothing else of it.
            ids: one (length,) array a text, prompt and special tokens included.
            cancel: set it from another thread to stop, also in the middle of a run.
        """
        items = Items("texts", total=len(ids), cancel=cancel)
        return self._runner.run(call, self._runner.text_batches(ids), items)

    def run_squares(
        self,
        call: Call,
        squares: Sequence[NDArray[np.uint8]],
        *,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:
        """Vectors (n, width) of squares (size, size, 3), not normalized; as `run_ids`."""
        items = Items("images", total=len(squares), cancel=cancel)
        return self._runner.run(call, self._runner.image_batches(self._pixels(squares)), items)

    def encode_images(self, call: Call, images: object, items: Items) -> NDArray[Any]:
        """Vectors of images: (n, d), or (d,) for one image; see `Embedder.encode_image`."""
        spec = self._image_input()
        sources, single = list_images(images)
        items.total = len(sources)
        good = check_images(sources, items, allow_urls=call.allow_urls)
        items.check()
        decoded = decode_images(
            sources,
            good,
            spec,
            items,
            upright=call.upright,
            allow_urls=call.allow_urls,
            threads=self._provider.image_decoders,
            per_run=self._runner.images_per_run(),
        )
        with contextlib.closing(decoded):  # its threads end with it, also after an error
            return self._run(call, self._runner.image_batches(decoded), items, single=single)

    def encode_squares(
        self, call: Call, squares: Sequence[NDArray[np.uint8]], items: Items
    ) -> NDArray[Any]:
        """Vectors (n, d) of squares (size, size, 3), made into pixels as they are run."""
        items.total = len(squares)
        batches = self._runner.image_batches(self._pixels(squares))
        return self._run(call, batches, items, single=False)

    def count_tokens(self, call: Call, texts: object) -> NDArray[np.int64]:
        """Tokens of every text, (n,), uncut, with the prompt and special tokens."""
        checked, _ = check_texts(texts)
        return self.tokenizer().count(checked, prompt=call.prompt)

    def load(self, call: Call) -> None:
        """Loads what a call needs now rather than at its first run."""
        if call.tower == "image":
            self._image_input()
        else:
            self.tokenizer()
        self._runner.load(call)

    def warm_up(self, call: Call) -> None:
        """Loads what a call needs, and runs one short text, or a black image."""
        self.load(call)
        if call.tower == "image":
            size = self._image_input().size
            self.run_squares(call, [np.zeros((size, size, 3), np.uint8)])
        else:
            self.run_ids(call, [np.array([self.text.pad_token_id], np.int32)])

    def captured(self) -> Choice[str]:
        """Which runs are captured as CUDA graphs, and why not others."""
        return self._runner.captured()

    def close(self) -> None:
        """Lets go of all that was loaded, with no call under way, and of its memory."""
        self._runner.close()
        with self._lock:
            self._tokenizer = None
        give_back()

    def _run(
        self, call: Call, batches: Iterable[Batch], items: Items, *, single: bool
    ) -> NDArray[Any]:
        """Runs a call, and gives its vectors the form that was asked for."""
        vectors = self._runner.run(call, batches, items)  # (n, width)
        if call.normalize:
            vectors = normalize(vectors)
        result = quantize_some(vectors, call.embedding_type, ranges=call.ranges)
        result = result[0] if single else result
        items.check(result)
        return result

    def _pixels(
        self, squares: Sequence[NDArray[np.uint8]]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        spec = self._image_input()
        return ((index, from_square(square, spec)) for index, square in enumerate(squares))

    def _image_input(self) -> ImageInput:
        manifest = self._pack.manifest
        if manifest.image is None:
            raise PackError(
                f"{self._pack.folder} has no image tower: {manifest.model_id} embeds texts only"
            )
        return manifest.image

    def tokenizer(self) -> TextTokenizer:
        """The pack's tokenizer, loaded if it is not yet."""
        with self._lock:
            if self._tokenizer is None:
                check_files(self._pack, (self.text.tokenizer,))
                self._tokenizer = TextTokenizer(
                    self._pack.file(self.text.tokenizer),
                    vocabulary_size=self.text.vocabulary_size,
                    most=self.text.max_length,
                )
            return self._tokenizer

    def _count_truncations(self, truncated: list[int], max_length: int) -> None:
        if not truncated:
            return
        with self._lock:
            first = self.truncations == 0
            self.truncations += len(truncated)
        if first:
            warn(
                f"item {truncated[0]} has more than {max_length} tokens and was "
                f"cut ({len(truncated)} in this call; later ones are only counted, in "
                f"`truncations`); {raising(max_length, self.text.max_length)}split it, or pass "
                'on_overflow="error"',
                TruncationWarning,
                stacklevel=5,  # past `Embedder.encode` and `counted`
            )
