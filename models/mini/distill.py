"""The base: first a table of static token vectors, then the decoder that starts from it.

The static model (the mean of its tokens' vectors, as in Model2Vec) learns in minutes what words
mean. The decoder begins as nearly the same function: its last layer spreads attention evenly
and carries values through, the layers before it change little. From there all of it learns.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from mini import batches, losses
from mini.batches import DOCUMENT, QUERY
from mini.descent import descend, save
from mini.network import Linear, Shape, Student

STATIC_EPOCHS, STATIC_BATCH = 8, 1024
EPOCHS, BATCH = 1.5, 256
RATE, TABLE_RATE, WARMUP = 2e-3, 1e-3, 200  # of AdamW at its height; steps
SAVE_EVERY = 400  # steps
TABLE_SIZE = 0.1  # root mean square of the table's values when the decoder starts


def static(
    texts: list[str], targets: NDArray[np.float16], tokenizer: Tokenizer, file: Path
) -> Tensor:
    """The table (V, D) of the static model; read from `file` if it is there."""
    if file.exists():
        return torch.load(file)
    torch.manual_seed(0)
    table = nn.EmbeddingBag(tokenizer.get_vocab_size(), targets.shape[1], mode="mean")
    nn.init.normal_(table.weight, std=0.1)
    optimizer = torch.optim.AdamW(table.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    steps = STATIC_EPOCHS * math.ceil(len(texts) / STATIC_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for epoch in range(STATIC_EPOCHS):
        generator = np.random.default_rng(epoch)
        tokens = batches.tokenize(tokenizer, batches.varied(texts, (DOCUMENT, QUERY), generator))
        total, order = 0.0, generator.permutation(len(texts))
        for start in range(0, len(order), STATIC_BATCH):
            rows = order[start : start + STATIC_BATCH]
            pieces = [tokens.ids[tokens.starts[row] : tokens.starts[row + 1]] for row in rows]
            offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])[:-1]])
            vectors = table(
                torch.from_numpy(np.concatenate(pieces).astype(np.int64)),
                torch.from_numpy(offsets),
            )
            loss = losses.nearness(vectors, torch.from_numpy(targets[rows].astype(np.float32)))
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item() * len(rows)
        print(
            f"static: epoch {epoch + 1}/{STATIC_EPOCHS}, loss {total / len(order):.4f}", flush=True
        )
    found = table.weight.detach().clone()
    save(found, file)
    return found


def new_student(shape: Shape, table: Tensor) -> Student:
    """A decoder that gives about what the static table gives."""
    torch.manual_seed(0)
    student = Student(shape)
    for module in student.modules():
        if isinstance(module, Linear):
            nn.init.normal_(module.weight, std=shape.hidden**-0.5)
    with torch.no_grad():
        student.embed_tokens.weight.copy_(table * (TABLE_SIZE / table.square().mean().sqrt()))
        for number, layer in enumerate(student.layers):
            layer.self_attn.k_norm.weight.fill_(0.5)  # attention nearly even
            layer.mlp["down_proj"].weight.mul_(0.05)
            layer.self_attn.o_proj.weight.mul_(0.1)
            if number == shape.layers - 1:
                # Any orthogonal matrix and its inverse carry the values through.
                square = torch.linalg.qr(layer.self_attn.v_proj.weight)[0]
                layer.self_attn.v_proj.weight.copy_(square)
                layer.self_attn.o_proj.weight.copy_(square.T)
    return student


def train(
    student: Student,
    texts: list[str],
    targets: NDArray[np.float16],
    tokenizer: Tokenizer,
    state: Path,
    *,
    epochs: float = EPOCHS,
    watch: Callable[[Student], str] = lambda _: "",
) -> None:
    """Trains the decoder in place; goes on from `state` if it is there.

    Args:
        student: changed in place.
        texts: without prompts.
        targets: (N, D), float16.
        tokenizer: of the student.
        state: file of the interrupted run.
        epochs: over all texts.
        watch: called at each save; what it gives is printed.
    """
    table = [student.embed_tokens.weight]
    others = [parameter for parameter in student.parameters() if parameter is not table[0]]
    of_an_epoch = math.ceil(len(texts) / BATCH)

    def losses_after(done: int) -> Iterator[Tensor]:
        for epoch in range(done // of_an_epoch, math.ceil(epochs)):
            generator = np.random.default_rng(1000 + epoch)
            drawn = batches.varied(texts, (DOCUMENT, QUERY), generator)
            tokens = batches.tokenize(tokenizer, drawn)
            batched = batches.by_length(tokens.lengths, BATCH, generator)
            for rows in islice(batched, max(0, done - epoch * of_an_epoch), None):
                wanted = torch.from_numpy(targets[rows].astype(np.float32))
                vectors = student(*tokens.batch(rows))
                yield losses.nearness(vectors, wanted) + 2 * losses.likeness(vectors, wanted)

    descend(
        student,
        [{"params": others, "lr": RATE}, {"params": table, "lr": TABLE_RATE}],
        losses_after,
        steps=round(epochs * of_an_epoch),
        warmup=WARMUP,
        state=state,
        save_every=SAVE_EVERY,
        name="base",
        watch=watch,
    )
