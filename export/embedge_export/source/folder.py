"""A model folder or hub id, opened: everything an export needs to know before it reads a weight.

Takes a folder in the Hugging Face layout (config.json, *.safetensors, tokenizer.json, and task
adapters in adapters/<task>/), or a hub id that `hub.py` turns into such a folder. Gives a
`Source`. A local folder never touches the network, and no code of a model is ever run. It reads no
weight and knows nothing of networks; `checkpoint.py` and `lora.py` read what it points to.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from embedge.errors import OptionError, SourceError
from embedge_export.families.register import check_via, completed, family_of
from embedge_export.reading.json_files import read_json
from embedge_export.source import hub
from embedge_export.source.adapters import base_of, given_adapters, is_lone
from embedge_export.source.card import languages_of, licenses, own_name, read_card
from embedge_export.source.files import (
    CARD,
    CONFIG,
    MODULES,
    TOKENIZER,
    places,
    read_files,
    static_place,
)
from embedge_export.source.head import read_head, read_widths
from embedge_export.source.overrides import Overrides, checked, plain_name
from embedge_export.source.places import (
    is_local,
    is_text,
    local_folder,
    not_a_model,
    not_a_model_folder,
)
from embedge_export.source.record import Source
from embedge_export.source.sentence_transformers import (
    lowercases,
    read_max_length,
    read_prompts,
    tokenizer_arguments,
)
from embedge_export.source.tasks import choose_tasks, default_task, named_adapters
from embedge_export.source.tokenizer.classes import check_class
from embedge_export.source.tokenizer.settings import (
    check_lower_case,
    check_prompts,
    check_types,
    open_tokenizer_files,
    pad_token_id,
)
from embedge_export.source.tokenizer.versions import notes_on_padding
from embedge_export.source.unchanged import hash_files, take_stamps
from embedge_export.tensors import lora
from embedge_export.tensors.checkpoint import open_weights

_BASE = "base"  # the task of a model without an adapter


def open_source(
    spec: str | Path,
    *,
    revision: str | None = None,
    offline: bool = False,
    tasks: Sequence[str] | None = None,
    via: str | None = None,
    check_config: Callable[[Mapping[str, Any]], object] = lambda config: None,
    **overrides: Unpack[Overrides],
) -> Source:
    """Opens a local model folder, or fetches a hub id (`owner/name`) and opens that.

    Args:
        spec: A folder, or a hub id. A folder that exists is always taken as the folder.
        revision: Branch, tag or commit; for a hub id only.
        offline: Take the hub's local cache as it is. HF_HUB_OFFLINE is obeyed too.
        tasks: Only these tasks; all of them unless given.
        via: "optimum" takes the network from transformers and Optimum, where it is not written
            here.
        check_config: Called with config.json before weights are fetched or hashed; raises
            SourceError for a model that the caller has no use for.
        overrides: `adapters`, `base`, `pooling`, `prompts`, `default_task`, `license`, `name`: what
            counts in place of what the model's files say; see `Overrides`.

    Raises:
        SourceError: it cannot be exported; the message says why and what to do.
        OptionError: an override cannot be used.
    """
    stated = checked(overrides)
    check_via(via)
    local = local_folder(spec)
    if local is not None and is_lone(local):
        return _open_lone(
            local,
            stated,
            revision=revision,
            offline=offline,
            tasks=tasks,
            via=via,
            check_config=check_config,
        )
    if local is not None:
        if revision is not None:
            raise SourceError(
                f"{local} is a local folder and has no revision {revision!r}; leave it out, or "
                "name a model on the hub"
            )
        if stated.get("base") is not None:
            raise OptionError(
                f"--base (base=) is for a source that is an adapter alone; {local} is a model "
                "of its own"
            )
        name, commit = _cached_identity(local)
        return _open_folder(local, name, commit, tasks, via, check_config, stated)
    name = str(spec)
    if isinstance(spec, Path) or hub.REPOSITORY.fullmatch(name) is None or is_local(name):
        raise SourceError(not_a_model(name))

    def check(folder: Path) -> None:
        if (folder / "config.json").exists():
            _read_config(folder, via, check_config)

    folder, commit = hub.download(name, revision=revision, offline=offline, check=check)
    return _open_folder(folder, name, commit, tasks, via, check_config, stated)


def _open_folder(
    folder: Path,
    name: str | None,
    commit: str | None,
    chosen: Sequence[str] | None,
    via: str | None,
    check: Callable[[Mapping[str, Any]], object],
    overrides: Overrides,
    base: Path | None = None,
) -> Source:
    if not is_text(folder):
        raise SourceError(
            f"{str(folder)!r} is in a folder whose name is not UTF-8; rename it, for the libraries "
            "that read a model cannot open such names"
        )
    if base is None and is_lone(folder):
        raise SourceError(
            f"{name or folder} is a LoRA adapter, not a model; download it to a folder of its own "
            "and name that, or export its base model with --adapter TASK=FOLDER (adapters=)"
        )
    given = given_adapters(
        overrides.get("adapters") or {},
        settings_are_known=base is not None or "pooling" in overrides,
    )
    stamps = take_stamps(folder, given, base)
    if base is None and (folder / lora.CONFIG).exists():
        raise SourceError(
            f"{folder} has {lora.CONFIG} beside {CONFIG}, so that it is a model and an adapter. "
            "Export the model that it is an adapter of with --adapter TASK=FOLDER, or, if the "
            "weights are merged already, remove the adapter's files"
        )
    model = base or folder
    if not (model / "config.json").exists() and static_place(model) is None:
        raise SourceError(not_a_model_folder(model))
    config = _read_config(model, via, check)
    family = family_of(config, via)
    card = read_card(folder / "README.md")
    stored = family.stored_adapters(folder, config)
    found = {} if stored or base is not None else named_adapters(folder, config)
    for task in given:
        if stored or task in found:
            raise SourceError(
                f"{folder} has {'adapters among its weights' if stored else 'an adapter'} already, "
                f"so that none can be added for {task!r}"
                + ("" if stored else "; give it another name")
            )
    found |= given
    known = (stored.tasks if stored else tuple(found)) or (_BASE,)
    wanted = (chosen,) if isinstance(chosen, str) else tuple(chosen or ())
    if _BASE in wanted and not stored and _BASE not in known:
        known = (_BASE, *known)  # the model without an adapter, if it is asked for
    order = choose_tasks(folder, known, chosen)
    adapters = {task: path for task, path in found.items() if task in order}
    for path in adapters.values():
        lora.adapter_files(path)  # going on without one would export the bare base under its name
    head, noted = read_head(folder, config, family, overrides.get("pooling"))
    prompts, default_prompt = read_prompts(folder, config, family, head)
    prompts |= overrides.get("prompts") or {}
    network = family.network_folder(folder, config)
    if not (network / TOKENIZER).exists():
        raise SourceError(
            f"{network} has no {TOKENIZER}. With transformers, "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it"
        )
    tokenizer = open_tokenizer_files(network, bare=family.bare_tokenizer)
    notes = [*noted, *family.notes(folder, config)]
    if not family.bare_tokenizer:
        check_lower_case(tokenizer, lowercases(folder))
        check_types(tokenizer, family)
        side = tokenizer_arguments(folder).get("padding_side")
        notes += check_class(config, tokenizer, family)
        notes += notes_on_padding(tokenizer, family, side)
    max_length = read_max_length(folder, config, family)
    check_prompts(tokenizer, prompts, max_length)
    cards = [given[task] for task in adapters if task in given]
    open_weights(
        base or network, family.dtypes
    )  # a damaged file is named before a gigabyte is hashed
    return Source(
        folder=folder,
        model_id=overrides.get("name")
        or name
        or own_name(config, card)
        or plain_name(folder.resolve().name)
        or "model",
        revision=commit,
        license=overrides.get("license")
        or licenses([read_card(model / CARD), *(read_card(path / CARD) for path in cards)]),
        languages=languages_of(card) or languages_of(read_card(model / CARD)),
        config=config,
        via=via,
        adapters=adapters,
        tasks=order,
        default_task=default_task(overrides.get("default_task"), order),
        prompts=prompts,
        default_prompt=default_prompt,
        head=head,
        matryoshka_dimensions=read_widths(folder, config, family, head.width),
        max_length=max_length,
        pad_token_id=pad_token_id(tokenizer, config),
        tokenizer=network / TOKENIZER,
        files=hash_files(
            places(read_files(folder, adapters, network, base), folder, adapters, base), stamps
        ),
        stamps=stamps,
        notes=tuple(notes),
        overrides=_noted(overrides),
        base=base,
    )


def _open_lone(folder: Path, overrides: Overrides, **about: Any) -> Source:
    """A folder that is an adapter alone: its base model, with this one task."""
    base = base_of(folder, overrides.get("base"))
    task = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("._-") or "adapter"
    if overrides.get("adapters"):
        raise OptionError(
            f"{folder} is an adapter itself; name its base model as the source, and this folder "
            "among the adapters"
        )
    place = local_folder(base)
    if place is not None and is_lone(place):
        raise SourceError(f"{folder} is a LoRA adapter of {place}, which is one itself")
    own = {"name": plain_name(folder.resolve().name) or "model", **overrides, "base": None}
    about = {**about, "tasks": about["tasks"] or (task,)}
    try:
        if (folder / MODULES).exists():
            source = _open_sentence_adapter(folder, base, task, own, **about)
        else:
            source = open_source(base, **{**about, **own, "adapters": {task: folder}})
    except SourceError as error:
        if place is not None:
            raise
        raise SourceError(
            f"{folder} is a LoRA adapter of {str(base)!r}: {error}. If its base model is "
            "elsewhere, pass --base FOLDER (base=)"
        ) from error
    return replace(source, overrides=_noted(overrides))


def _open_sentence_adapter(
    folder: Path,
    base: str | Path,
    task: str,
    overrides: Mapping[str, Any],
    *,
    revision: str | None,
    offline: bool,
    tasks: Sequence[str],
    via: str | None,
    check_config: Callable[[Mapping[str, Any]], object],
) -> Source:
    """An adapter as Sentence Transformers saves it: with all settings, without config.json.

    Its tokenizer, pooling, prompts and length limit count; the base gives config.json and weights.
    """
    place, commit = local_folder(base), None
    if place is None:
        name = str(base)
        if isinstance(base, Path) or hub.REPOSITORY.fullmatch(name) is None or is_local(name):
            raise SourceError(not_a_model(name))
        place, commit = hub.download(name, revision=revision, offline=offline)
    elif revision is not None:
        raise SourceError(f"{place} is a local folder and has no revision {revision!r}")
    if not is_text(place):
        raise SourceError(f"{str(place)!r} is in a folder whose name is not UTF-8; rename it")
    stated = checked({**overrides, "adapters": {task: folder}})
    source = _open_folder(folder, None, commit, tasks, via, check_config, stated, place.absolute())
    note = f"{folder}: settings are those of the adapter's folder, weights those of {place}"
    return replace(source, notes=(*source.notes, note))


def _noted(overrides: Overrides) -> Overrides:
    """What a manifest notes: no place on this machine."""
    noted = overrides.copy()
    noted.pop("adapters", None)
    noted.pop("base", None)
    return noted


def _read_config(
    folder: Path, via: str | None, check: Callable[[Mapping[str, Any]], object]
) -> Mapping[str, Any]:
    """config.json, of a model type that is known and that `check` takes."""
    config = completed(read_json(folder / "config.json"), static_place(folder))
    family_of(config, via)
    check(config)
    return config


def _cached_identity(folder: Path) -> tuple[str | None, str | None]:
    """Hub id and commit of a folder in the hub's cache: models--owner--name/snapshots/<commit>."""
    *_, repository, snapshots, commit = ("", "", *folder.absolute().parts)
    if snapshots != "snapshots" or re.fullmatch(r"[0-9a-f]{40}", commit) is None:
        return None, None
    kind, _, name = repository.partition("--")
    return (name.replace("--", "/"), commit) if kind == "models" else (None, None)
