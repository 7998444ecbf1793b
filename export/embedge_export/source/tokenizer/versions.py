"""Settings that the versions of transformers take in different ways: notes for the user.

Takes a model's tokenizer files; gives sentences. A pack follows tokenizer.json, as transformers 5
does, and the user should know where another program does not.
"""

from typing import Any

from embedge_export.families.family import Family
from embedge_export.reading.fields import shown
from embedge_export.source.files import TOKENIZER as FILE
from embedge_export.source.files import TOKENIZER_CONFIG as CONFIG
from embedge_export.source.tokenizer.settings import TokenizerFiles


def notes_on_ends(name: str, files: TokenizerFiles) -> list[str]:
    """Where transformers 4 puts a token at an end of every text and the file does not, or so."""
    ids = files.tokenizer.encode("a", add_special_tokens=True).ids
    named = files.config.values.get("tokenizer_class")
    llama = isinstance(named, str) and named.removesuffix("Fast") == "LlamaTokenizer"
    notes = []
    for field, token, place, usual in (
        ("add_bos_token", files.token("bos_token"), 0, True),
        ("add_eos_token", files.token("eos_token"), -1, False),
    ):
        value = files.config.get(field)
        if value is not None and not isinstance(value, bool):
            raise files.config.error(field, "it must be true or false")
        there = bool(ids) and token is not None and ids[place] == files.tokenizer.token_to_id(token)
        asked = value if value is not None else (usual if llama else None)
        # Only Llama's class ever took a false at its word.
        if asked is not None and asked != there and (asked or llama):
            notes.append(
                f"{CONFIG}: {field} is {shown(value)}, and {FILE} "
                f"{'puts that token there' if there else 'adds no such token'}. The pack follows "
                f"{FILE}, as transformers 5 does; transformers 4, or code of the model's own, may "
                "not"
            )
    return notes


def notes_on_prefix_space(files: TokenizerFiles) -> list[str]:
    """Transformers 4 set a byte-level cut's first space by tokenizer_config.json, 5 does not."""
    cut = files.file.get("pre_tokenizer")
    asked = files.config.get("add_prefix_space") or False
    if not isinstance(cut, dict) or cut.get("type") != "ByteLevel":
        return []
    if cut.get("add_prefix_space") is asked:
        return []
    return [
        f"{CONFIG}: add_prefix_space is {shown(asked)}, and {FILE} says "
        f"{shown(cut.get('add_prefix_space'))}. The pack follows {FILE}, as transformers 5 does; "
        "transformers 4 does not"
    ]


def notes_on_padding(files: TokenizerFiles, family: Family[Any], argument: object) -> list[str]:
    """Where padding on the left moves a text's places, so that its vector depends on its batch.

    Only BERT counts places from the row's start; the others count a text's own tokens, or see
    distances alone.

    Args:
        files: of the model.
        family: its network's.
        argument: the side that Sentence Transformers' own settings ask for, if they do.
    """
    padding = files.file.get("padding")
    own = padding.get("direction") if isinstance(padding, dict) else None
    side = argument or files.config.get("padding_side") or own
    if not family.counts_padding or str(side).lower() != "left":
        return []
    return [
        "padding_side is 'left': transformers then gives a text of this network another vector in "
        "every batch. The pack gives that of a text alone"
    ]
