"""/tokenize and /decode."""

from typing import Any

from embedge.errors import TextError
from embedge.server import answers
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Service
from embedge.server.dialects.tei.bodies import DecodeRequest, TokenizeRequest
from embedge.server.dialects.tei.vectors import check_count, work_of
from embedge.server.refusals import Kind, Refusal
from embedge.texts.tokenizer_library import Piece

# Of all texts of one /tokenize, and ids of one /decode: each takes hundreds of bytes meanwhile.
MOST_CHARACTERS = 2**20
MOST_IDS = 2**20
PIECE_BYTES = 100  # of an answer of /tokenize, for each character


async def tokenize(ask: Ask, service: Service) -> Answer:
    """POST /tokenize: the tokens that /embed would run of each text, prompt included, uncut."""
    body = await service.off_loop(len(ask.body), decode, ask.body, TokenizeRequest)
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    check_count(len(texts), service)
    model, task = service.models.find((ask.model,), (ask.task,))
    prompt = work_of(model, [], task, body.prompt_name).text.prompt
    characters = sum(len(prompt) + len(text) for text in texts)
    if characters > MOST_CHARACTERS:
        raise Refusal(
            Kind.INVALID,
            f"the texts and their prompts have {characters:,} characters, and "
            f"{MOST_CHARACTERS:,} are the most; send several requests",
            "inputs",
        )
    ask.hold.more(characters * PIECE_BYTES)

    def write_tokens() -> Answer:
        tokenizer = model.embedder.encoder.tokenizer()
        rows = []
        for index, text in enumerate(texts):
            if not text:
                raise Refusal(Kind.EMPTY, f"`inputs` cannot be empty: inputs[{index}]", "inputs")
            try:
                pieces = tokenizer.pieces(prompt + text, special=body.add_special_tokens)
            except TextError as error:
                raise Refusal(
                    Kind.INVALID, f"inputs[{index}] {error.items[0][1]}", "inputs", (index,)
                ) from None
            rows.append([_token(piece) for piece in pieces])
        return answers.json_answer(rows)

    return await service.off_loop(PIECE_BYTES * characters, write_tokens)


def _token(piece: Piece) -> dict[str, Any]:
    return {
        "id": piece.id,
        "text": piece.text,
        "special": piece.special,
        "start": None if piece.special else piece.start,
        "stop": None if piece.special else piece.stop,
    }


async def decode_ids(ask: Ask, service: Service) -> Answer:
    """POST /decode: the texts of token ids."""
    body = await service.off_loop(len(ask.body), decode, ask.body, DecodeRequest)
    model, _ = service.models.find((ask.model,))

    def write_texts() -> Answer:
        lists = [one for one in body.ids if isinstance(one, list)]
        numbers = [one for one in body.ids if isinstance(one, int)]
        if lists and numbers:
            raise Refusal(Kind.INVALID, "ids holds numbers and lists of them; send one kind", "ids")
        rows = lists or [numbers]
        if not body.ids:
            raise Refusal(Kind.EMPTY, "`ids` cannot be empty", "ids")
        check_count(len(rows), service)
        if (count := sum(map(len, rows))) > MOST_IDS:
            raise Refusal(
                Kind.INVALID, f"there are {count:,} ids; send {MOST_IDS:,} at most", "ids"
            )
        tokenizer = model.embedder.encoder.tokenizer()
        try:
            texts = [tokenizer.decode(row, skip_special=body.skip_special_tokens) for row in rows]
        except TextError as error:
            raise Refusal(Kind.INVALID, error.items[0][1], "ids") from None
        return answers.json_answer(texts)

    return await service.off_loop(PIECE_BYTES * len(ask.body), write_texts)
