"""The road from texts or images to vectors: token ids or pixels -> runs -> vectors in their form.

Takes a `Call`, which was checked, and the `Items` of it; joins `texts` and `images` with the
`runner`. Holds the tokenizer and the networks of one pack. Knows no option's name and no default:
those belong to `Embedder`, its face.
"""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.batches import Batch
from embedge.calls import Call
from embedge.cautions import warn
from embedge.choices import Choices
from embedge.errors import PackError
from embedge.fork_locks import ForkLock
from embedge.images.pipeline import check_images, decode_images
from embedge.images.pixels import from_square
from embedge.images.sources import list_images
from embedge.items import Items
from embedge.pack.files import Pack, check_files
from embedge.pack.manifest import ImageInput, TextInput
from embedge.runner import Runner
from embedge.texts.checks import check_texts, take_texts
from embedge.texts.tokens import TextTokenizer, TruncationWarning
from embedge.vectors import normalize, quantize_some


class Encoder:
    """A pack's tokenizer and networks at work. Safe between threads.

    Args:
        pack: where their files stand.
        choices: how to run them.
        arena: keep ONNX Runtime's memory pool between runs.
        prepared: folder for graphs in this machine's own form; None for none.

    Attributes:
        text: how texts become token ids.
        truncations: how many texts were cut so far.
    """

    def __init__(self, pack: Pack, choices: Choices, *, arena: bool, prepared: Path | None) -> None:
        assert pack.manifest.text is not None  # no `Call` can be made for such a pack
        self.text: TextInput = pack.manifest.text
        self.truncations = 0
        self._pack = pack
        self._device = choices.device.value
        self._runner = Runner(
            pack, choices, pad_token_id=self.text.pad_token_id, arena=arena, prepared=prepared
        )
        self._lock = ForkLock()  # of the tokenizer and `truncations`
        self._tokenizer: TextTokenizer | None = None

    def encode_texts(self, call: Call, texts: object, items: Items) -> NDArray[Any]:
        """Vectors of texts: (n, d), or (d,) for one str; see `Embedder.encode`."""
        checked, single = take_texts(texts, items.refuse)
        items.check()
        items.total = len(checked)
        encoded = self._load_tokenizer().encode(
            checked,
            prompt=call.prompt,
            max_length=call.max_length,
            on_overflow=call.on_overflow,
            on_error=items.refuse,
            on_too_long=items.refuse if items.tolerant else None,
            progress=items.report,
            cancel=items.cancel,
        )
        self._count_truncations(encoded.truncated, call.max_length)
        return self._run(call, self._runner.text_batches(encoded.ids), items, single=single)

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
            device=self._device,
            per_run=self._runner.images_per_run(),
        )
        with contextlib.closing(decoded):  # its threads end with it, also after an error
            return self._run(call, self._runner.image_batches(decoded), items, single=single)

    def encode_squares(
        self, call: Call, squares: Sequence[NDArray[np.uint8]], items: Items
    ) -> NDArray[Any]:
        """Vectors (n, d) of squares (size, size, 3), made into pixels as they are run."""
        spec = self._image_input()
        items.total = len(squares)
        pixels = ((index, from_square(square, spec)) for index, square in enumerate(squares))
        return self._run(call, self._runner.image_batches(pixels), items, single=False)

    def count_tokens(self, call: Call, texts: object) -> NDArray[np.int64]:
        """Tokens of every text, (n,), uncut, with the prompt and special tokens."""
        checked, _ = check_texts(texts)
        return self._load_tokenizer().count(checked, prompt=call.prompt)

    def load(self, call: Call) -> None:
        """Loads what a call needs now rather than at its first run."""
        if call.tower == "image":
            self._image_input()
        else:
            self._load_tokenizer()
        self._runner.load(call)

    def warm_up(self, call: Call) -> None:
        """Loads what a call needs, and runs one short text."""
        self.load(call)
        shortest = [np.array([self.text.pad_token_id], np.int32)]
        self._runner.run(call, self._runner.text_batches(shortest), Items("texts", total=1))

    def close(self) -> None:
        """Lets go of all that was loaded, with no call under way."""
        self._runner.close()
        with self._lock:
            self._tokenizer = None

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

    def _image_input(self) -> ImageInput:
        manifest = self._pack.manifest
        if manifest.image is None:
            raise PackError(
                f"{self._pack.folder} has no image tower: {manifest.model_id} embeds texts only"
            )
        return manifest.image

    def _load_tokenizer(self) -> TextTokenizer:
        with self._lock:
            if self._tokenizer is None:
                check_files(self._pack, (self.text.tokenizer,))
                self._tokenizer = TextTokenizer(
                    self._pack.file(self.text.tokenizer),
                    vocabulary_size=self.text.vocabulary_size,
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
                '`truncations`); raise max_length=, split it, or pass on_overflow="error"',
                TruncationWarning,
                stacklevel=5,  # past `Embedder.encode` and `counted`
            )
