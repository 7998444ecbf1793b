"""The ids that a tokenizer can give, held against the network's embedding table.

Takes an opened source and the rows of the table. An id beyond the table has no vector, and ends a
run in transformers. One that any text may need is refused. An added token that only a text which
spells it out can bring costs that text alone, because a pack says how long its table is.
"""

from embedge.errors import SourceError
from embedge.texts.tokenizer_library import read_tokenizer
from embedge_export.reading.fields import shown
from embedge_export.source.record import Source

_LISTED = 5  # tokens that a sentence names


def check_ids(source: Source, rows: int) -> list[str]:
    """Compares every id with the table.

    Args:
        source: what is exported.
        rows: of the embedding table.

    Returns:
        Notes for the user.

    Raises:
        SourceError: the padding, a text's first or last token, or an ordinary piece of a text has
            an id beyond the table.
    """
    path, pad = source.tokenizer, source.pad_token_id
    table = f"and the embedding table has {rows:,} rows"
    if pad >= rows:
        raise SourceError(
            f"{source.folder}: the token that fills short rows has the id {pad}, {table}. Correct "
            "pad_token in tokenizer_config.json, or pad_token_id in config.json"
        )
    tokenizer = read_tokenizer(path)
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    for number, token in beyond:
        if token not in added:
            raise SourceError(
                f"{path}: the piece {shown(token)} has the id {number}, {table}: tokenizer and "
                "weights are not of one model. Download both again"
            )
    special = not source.family.bare_tokenizer
    around = tokenizer.encode("", add_special_tokens=special).ids
    for number in around:
        if number >= rows:
            raise SourceError(
                f"{path}: its post-processor puts {shown(tokenizer.id_to_token(number))} at every "
                f"text, which has the id {number}, {table}: tokenizer and weights are not of one "
                "model. Download both again"
            )
    if not beyond:
        return []
    listed = ", ".join(f"{token!r} ({number})" for number, token in beyond[:_LISTED])
    more = f" and {len(beyond) - _LISTED} more" if len(beyond) > _LISTED else ""
    return [
        f"{path.name} has added tokens whose ids are beyond the {rows:,} rows of the embedding "
        f"table: {listed}{more}. A text that spells one out is refused when it is embedded"
    ]
