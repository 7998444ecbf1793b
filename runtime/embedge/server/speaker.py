"""Which protocol a request speaks where several share a path: the one place that decides it.

/v1/embeddings is Jina's and OpenAI's. Their answers and errors are the same JSON for both
(`answers`), so what is decided here is only what the same body would mean otherwise: an empty text
(Jina's clients probe with one and need a vector, OpenAI's API refuses it), lists of token ids
(OpenAI's alone), and the status of some errors. In this order:

1. A field that only Jina's API has says Jina, also where an OpenAI SDK sends it as an extra field;
   so does an input whose first item is an object.
2. `encoding_format` or `user`, or a header of OpenAI's SDKs, says OpenAI. The SDKs always send the
   field.
3. Token ids say OpenAI.
4. Anything else (curl, Weaviate, Open WebUI: a model and an input) is taken as Jina's, which
   refuses less.
"""

from collections.abc import Mapping

import msgspec

JINA, OPENAI = "jina", "openai"
JINA_FIELDS = frozenset(
    {
        "task",
        "embedding_type",
        "encoding_type",
        "normalized",
        "truncate",
        "late_chunking",
        "return_multivector",
        "return_tokenized_input",
    }
)
OPENAI_FIELDS = frozenset({"encoding_format", "user"})

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def speaker(headers: Mapping[str, str], body: bytes) -> str:
    """The name of the dialect: "jina" or "openai".

    Args:
        headers: lower-case names.
        body: whole; b"" where it was not read, and the headers decide alone.
    """
    try:
        fields = _fields(body) if body else {}
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
    ):  # the dialect says what is wrong with it
        fields = {}
    start = bytes(memoryview(fields["input"])[:64]).lstrip() if "input" in fields else b""
    first = start[1:32].lstrip() if start.startswith(b"[") else start
    if first.startswith(b"{") or not JINA_FIELDS.isdisjoint(fields):
        return JINA
    if not OPENAI_FIELDS.isdisjoint(fields):
        return OPENAI
    if headers.get("user-agent", "").startswith("OpenAI/") or "x-stainless-lang" in headers:
        return OPENAI
    numbers = start.startswith(b"[") and (first[:1].isdigit() or first.startswith(b"["))
    return OPENAI if numbers else JINA
