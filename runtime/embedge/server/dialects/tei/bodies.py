"""The bodies of the routes, and their answers, as records."""

from typing import Annotated

import msgspec
from msgspec import Meta

# What stands in the OpenAPI document besides the type; the handlers check it, and say more.
Text = Annotated[str, Meta(extra_json_schema={"minLength": 1})]
Width = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
PromptName = Annotated[str, Meta(description="one of the pack's prompts, or of its tasks")]
Direction = Annotated[str, Meta(extra_json_schema={"enum": ["right", "Right", "left", "Left"]})]
Inputs = Text | Annotated[list[Text | int | list[int]], Meta(extra_json_schema={"minItems": 1})]


class EmbedRequest(msgspec.Struct):
    """The body of POST /embed."""

    inputs: Inputs
    truncate: bool | None = None
    truncation_direction: Direction | None = None
    prompt_name: PromptName | None = None
    normalize: bool | None = None
    dimensions: Width | None = None
    task: str | None = None
    model: str | None = None


class Sentences(msgspec.Struct):
    """One text, and those that it is compared with."""

    source_sentence: Text
    sentences: Annotated[list[Text], Meta(extra_json_schema={"minItems": 1})]


class SimilarityParameters(msgspec.Struct):
    """How the texts of POST /similarity are embedded."""

    truncate: bool | None = None
    truncation_direction: Direction | None = None
    prompt_name: PromptName | None = None
    task: str | None = None


class SimilarityRequest(msgspec.Struct):
    """The body of POST /similarity."""

    inputs: Sentences
    parameters: SimilarityParameters | None = None


class RootRequest(msgspec.Struct):
    """The body of POST /: that of /embed or of /similarity."""

    inputs: Inputs | Sentences


class TokenizeRequest(msgspec.Struct):
    """The body of POST /tokenize."""

    inputs: Text | Annotated[list[Text], Meta(extra_json_schema={"minItems": 1})]
    add_special_tokens: bool = True
    prompt_name: PromptName | None = None


class SimpleToken(msgspec.Struct):
    """One token; where it stands in the text, in characters, unless it is special."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeRequest(msgspec.Struct):
    """The body of POST /decode."""

    ids: list[int | list[int]]
    skip_special_tokens: bool = True


class VertexRequest(msgspec.Struct):
    """The body of POST /vertex."""

    instances: list[EmbedRequest]


class VertexResponse(msgspec.Struct):
    """The answer of POST /vertex."""

    predictions: list[list[list[float]]]
