"""What is known of an opened source: a frozen record, which `folder.py` makes.

Everything an export needs to know before it reads a weight, and where the weights are. Reads the
tokenizer's file when it is asked for, and no other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedge_export.families.family import Family
from embedge_export.families.register import family_of
from embedge_export.head.head import Head
from embedge_export.reading.json_files import read_json
from embedge_export.source.files import places
from embedge_export.source.overrides import Overrides
from embedge_export.source.unchanged import Stamp, check_unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model that can be exported."""

    folder: Path
    model_id: str
    revision: str | None  # full commit, where the folder came from a hub
    license: str | None  # as the model card's front matter says
    languages: tuple[str, ...] = ()  # codes, as the model card says
    config: Mapping[str, Any]  # config.json
    via: str | None = None  # the library that its network is taken from; None: written here
    adapters: Mapping[str, Path]  # task -> adapter folder; none: "base", or among the weights
    tasks: tuple[str, ...]
    default_task: str
    prompts: Mapping[str, str]
    default_prompt: str | None
    head: Head  # how a text's rows become its vector
    matryoshka_dimensions: tuple[int, ...]
    max_length: int  # tokens
    pad_token_id: int
    tokenizer: Path  # tokenizer.json
    files: Mapping[str, str]  # name in the folder -> sha256 of all that the export depends on
    stamps: Mapping[str, Stamp]  # of these and of others, from before the first was read
    notes: tuple[str, ...] = ()  # what the user should know of how its settings were taken
    overrides: Overrides = field(default_factory=Overrides)  # what the caller said in their place
    base: Path | None = None  # where config.json and the weights stand, if not in `folder`

    @property
    def family(self) -> Family[Any]:
        """What is known of its network."""
        return family_of(self.config, self.via)

    @property
    def network(self) -> Path:
        """The folder of its tokenizer, and of its weights unless there is a base."""
        return self.tokenizer.parent

    @property
    def model_folder(self) -> Path:
        """The folder of config.json."""
        return self.base or self.folder

    @property
    def weights_folder(self) -> Path:
        """The folder of the weights."""
        return self.base or self.network

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that the model is read from."""
        return (self.folder, self.model_folder, *self.adapters.values())

    def tokenizer_bytes(self) -> bytes:
        """tokenizer.json for a pack.

        Where texts get no special tokens, the file is without the step that would add them.
        """
        if not self.family.bare_tokenizer:
            return self.tokenizer.read_bytes()
        file = {**read_json(self.tokenizer), "post_processor": None}
        return json.dumps(file, ensure_ascii=False).encode("utf-8")

    def check_unchanged(self) -> None:
        """Makes sure that the files are still those that were hashed.

        Raises:
            SourceError: one is gone or was written to.
        """
        found = places(self.files, self.folder, self.adapters, self.base)
        check_unchanged(found, self.stamps, self.files)
