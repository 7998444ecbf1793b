"""The packs that are served, by the names that clients call them.

    v5-small                              the pack's name: its folder's, or NAME of NAME=PATH
    jinaai/jina-embeddings-v5-text-small  the model's id, also without the owner or as jina-ai/…
    v5-small:retrieval.query              one of these with a task, for clients that know no task

A task can also come as the first part of the path (/retrieval.query/embed, /v5-small/embed,
/v5-small:retrieval.query/embed) or as `?task=` and `?model=`: see `routes`. Two of them that
contradict each other are refused; so is whatever is unknown.

`Model.work` makes a request's values into `Work`, the only way to it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedge.calls import ALIASES, Call, Tower, alias_options
from embedge.errors import OptionError, PackError
from embedge.options import shown
from embedge.server.refusals import Kind, Refusal
from embedge.server.work import Item, Picture, TokenIds
from embedge.texts.tokens import OnOverflow

if TYPE_CHECKING:
    from embedge.embedder import Embedder

OWNERS = ("jinaai", "jina-ai")  # both are in use for the same models
# Jina's models name one task in two ways.
SYNONYMS = {"separation": "clustering", "clustering": "separation"}
# What Jina's API counts for an image: so much for each square of 512 pixels that the network sees.
IMAGE_TOKENS, TILE = 4000, 512


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A pack that is served.

    Attributes:
        name: what the server calls it.
        embedder: the pack, opened.
        names: what clients may call it, `name` first.
    """

    name: str
    embedder: "Embedder"
    names: tuple[str, ...]

    @property
    def max_length(self) -> int:
        """The most tokens of a text."""
        return self.embedder.max_length

    @property
    def takes_images(self) -> bool:
        """Whether it has an image tower."""
        return self.embedder.manifest.image is not None

    @property
    def tasks(self) -> tuple[str, ...]:
        """What clients may ask for as a task."""
        return tuple(dict.fromkeys((*self.embedder.tasks, *ALIASES)))

    @property
    def image_tokens(self) -> int:
        """What one image counts for."""
        image = self.embedder.manifest.image
        return 0 if image is None else IMAGE_TOKENS * math.ceil(image.size / TILE) ** 2

    def work(
        self,
        items: Sequence[Item],
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
        normalize: bool = True,
        on_overflow: OnOverflow = "error",
    ) -> "Work":
        """Items and how to embed them, checked.

        Args:
            items: texts, images, token ids.
            task: one of `tasks`, "separation" or "clustering" for the other; None or "" for the
                pack's default. "retrieval.query" and "retrieval.passage" mean what
                `Embedder.encode_query` and `encode_document` do.
            prompt_name: one of the pack's prompts, in place of the task's.
            dimensions: keep so many, from the first.
            normalize: scale to length 1.
            on_overflow: "error" refuses a text that is too long, "truncate" cuts it.

        Raises:
            Refusal: INVALID, with the field; UNSUPPORTED for images to a pack that takes none.
        """
        if not self.takes_images:
            images = [index for index, item in enumerate(items) if isinstance(item, Picture)]
            if images:
                raise Refusal(
                    Kind.INVALID,
                    f"input[{images[0]}] is an image, and {self.name} embeds texts only",
                    field="input",
                    items=tuple(images),
                )
        if dimensions is not None and not 1 <= dimensions <= self.embedder.dimension:
            raise Refusal(
                Kind.INVALID,
                f"dimensions is {dimensions}; {self.name} gives 1 to {self.embedder.dimension}",
                field="dimensions",
            )
        task = self._task(task)

        def call(tower: Tower) -> Call:
            named, name, prompt = task, prompt_name, None
            if task in ALIASES:
                meant = alias_options(self.embedder.manifest, task)
                named = meant["task"]
                if prompt_name is None:
                    name, prompt = meant["prompt_name"], meant["prompt"]
            if tower == "image":
                name = prompt = None
            try:
                return Call.of(
                    self.embedder.manifest,
                    tower=tower,
                    task=named,
                    prompt_name=name,
                    prompt=prompt,
                    truncate_dim=dimensions,
                    normalize=normalize,
                    on_overflow=on_overflow,
                )
            except (OptionError, PackError) as error:
                raise Refusal(Kind.INVALID, str(error), field="prompt_name") from None

        return Work(
            model=self,
            items=items,
            text=call("text"),
            image=call("image") if self.takes_images else None,
        )

    def check_ids(self, item: TokenIds) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Token ids as the network takes them.

        Raises:
            Refusal: there are none, too many, or some that the network has no vectors for.
        """
        text = self.embedder.encoder.text
        rows = text.vocabulary_size or 2**31 - 1
        bad = next((number for number in item.ids if not 0 <= number < rows), None)
        if bad is not None:
            raise Refusal(Kind.INVALID, f"{bad} is not a token id of {self.name}", field="input")
        if not item.ids:
            raise Refusal(Kind.EMPTY, "a list of token ids is empty", field="input")
        if len(item.ids) > self.max_length:
            raise Refusal(
                Kind.TOO_LONG,
                f"a text has {len(item.ids)} tokens, {self.name} takes {self.max_length}",
                field="input",
            )
        return np.array(item.ids, np.int32)

    def _task(self, task: str | None) -> str | None:
        if not task:
            return None
        if task in self.tasks:
            return task
        if SYNONYMS.get(task) in self.tasks:
            return SYNONYMS[task]
        raise Refusal(
            Kind.INVALID,
            f"task {shown(task)} is unknown; {self.name} has {', '.join(self.tasks)}",
            field="task",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Items to embed, and how. Made by `Model.work`, which checks it."""

    model: Model
    items: Sequence[Item]
    text: Call  # what texts and token ids mean
    image: Call | None  # what images mean; None where the pack has no image tower


class Models:
    """All packs that are served.

    Args:
        packs: opened packs by name, in order; the first answers requests without a model's name
            where it is the only one.

    Raises:
        OptionError: there is no pack, or a name is unfit.
    """

    def __init__(self, packs: Mapping[str, "Embedder"]) -> None:
        if not packs:
            raise OptionError("there is no pack to serve")
        for name in packs:
            if not name or ":" in name or not name.isprintable():
                raise OptionError(f"a pack cannot be served as {shown(name)}: no colon, no blank")
        names = {name: list(_names(name, one.manifest.model_id)) for name, one in packs.items()}
        # A name that could mean two packs means neither; a pack's own name always means it.
        shared = Counter(one for several in names.values() for one in set(several))
        self._models: dict[str, Model] = {}
        for name, embedder in packs.items():
            known = [one for one in names[name] if one == name or one not in packs]
            known = [one for one in known if one == name or shared[one] == 1]
            model = Model(name, embedder, tuple(dict.fromkeys(known)))
            self._models.update(dict.fromkeys(model.names, model))
        self.all = tuple(dict.fromkeys(self._models.values()))

    def find(
        self, names: Iterable[str | None], tasks: Iterable[str | None] = ()
    ) -> tuple[Model, str | None]:
        """The pack that a request means, and the task that it says.

        Args:
            names: of the pack, wherever a request may hold one (body, path, query), with or
                without `:TASK`; None where it holds none.
            tasks: the same; None and "" are none.

        Raises:
            Refusal: UNKNOWN_MODEL; INVALID where none is named and there are several packs, or
                where two names or two tasks differ.
        """
        models: dict[Model, str] = {}
        said: dict[str, None] = dict.fromkeys(task for task in tasks if task)
        for name in names:
            if name is not None:
                model, task = self._named(name)
                models[model] = name
                said |= {task: None} if task else {}
        if len(models) > 1:
            raise Refusal(
                Kind.INVALID,
                f"the request names two models, {' and '.join(map(shown, models.values()))}",
                field="model",
            )
        if len(said) > 1:
            raise Refusal(
                Kind.INVALID,
                f"the request says two tasks, {' and '.join(map(shown, said))}; leave one out",
                field="task",
            )
        if not models and len(self.all) > 1:
            raise Refusal(
                Kind.INVALID, f"model is missing; there are {self._known()}", field="model"
            )
        return next(iter(models), self.all[0]), next(iter(said), None)

    def _named(self, name: str) -> tuple[Model, str]:
        """The pack and the task that a name means; "" where it says no task."""
        plain, colon, task = name.partition(":")
        model = self._models.get(plain)
        if model is None or (colon and not self._is_task(model, task)):
            raise Refusal(
                Kind.UNKNOWN_MODEL,
                f"model {shown(name)} is not served here; there are {self._known()}",
                field="model",
            )
        return model, task

    def of_prefix(self, part: str) -> tuple[str | None, str | None] | None:
        """The model and the task that the first part of a path names; None if it names neither."""
        plain, colon, task = part.partition(":")
        model = self._models.get(plain)
        if model is not None and (not colon or self._is_task(model, task)):
            return part, None
        return (None, part) if any(self._is_task(one, part) for one in self.all) else None

    @staticmethod
    def _is_task(model: Model, task: str) -> bool:
        return task in model.tasks or SYNONYMS.get(task) in model.tasks

    def _known(self) -> str:
        return ", ".join(model.name for model in self.all)


def _names(name: str, model_id: str) -> Iterable[str]:
    yield name
    yield model_id
    plain = model_id.rpartition("/")[2]
    yield plain
    if model_id.partition("/")[0] in OWNERS or "/" not in model_id:
        yield from (f"{owner}/{plain}" for owner in OWNERS)
    yield from (f"{owner}/{name}" for owner in OWNERS if "/" not in name)
