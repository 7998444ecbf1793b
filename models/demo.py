"""The demo: runs the four tasks of a pack on the kind of texts that the model card shows.

Takes a pack, by default made from a small model with random weights (`make demo`), and prints
similarities. With random weights they mean nothing: what the demo shows is that the whole road
works, from a model folder to vectors. Given a pack of real weights, the figures are real too.

    python models/demo.py models/packs/demo
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge import Embedder, EmbedgeError

SUNSETS = (
    ("German", "Ein wunderschöner Sonnenuntergang am Strand"),
    ("English", "A beautiful sunset over the beach"),
    ("Chinese", "海滩上美丽的日落"),
    ("Japanese", "浜辺に沈む美しい夕日"),
    ("Arabic", "غروب جميل على الشاطئ"),
    ("Spanish", "Una hermosa puesta de sol en la playa"),
    ("another", "The invoice is due at the end of the month"),
)
QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = (
    ("Venus", "Venus is often called Earth's twin because of its similar size and proximity."),
    ("Mars", "Mars, known for its reddish appearance, is often referred to as the Red Planet."),
    ("Jupiter", "Jupiter, the largest planet in our solar system, has a prominent red spot."),
    ("Saturn", "Saturn, famous for its rings, is sometimes mistaken for the Red Planet."),
)
LABELLED = (
    ("praise", "The staff were kind and the room was spotless."),
    ("praise", "Best headphones I have ever owned."),
    ("complaint", "The parcel arrived late and the box was torn."),
    ("complaint", "After two days the battery no longer charges."),
)
UNLABELLED = ("I would stay here again at once.", "The zip broke on the first day.")
TOPICS = (
    ("sport 1", "The home side scored twice in the last ten minutes."),
    ("sport 2", "She set a new record over 800 metres."),
    ("cooking 1", "Let the dough rest for an hour before baking."),
    ("cooking 2", "Roast the peppers until their skin turns black."),
    ("space 1", "The probe entered orbit around the moon."),
    ("space 2", "Astronomers found a planet with two suns."),
)


def main() -> int:
    """Runs the four tasks and prints what came out."""
    parser = argparse.ArgumentParser(description="Run the four tasks of a pack.")
    parser.add_argument("pack", type=Path)
    folder = parser.parse_args().pack
    try:
        with Embedder(folder) as embedder:
            show(embedder)
    except EmbedgeError as error:
        print(f"demo: {error}")
        return 2
    print_ending(folder)
    return 0


def show(embedder: Embedder) -> None:
    """Everything but the ending."""
    manifest = embedder.manifest
    random = manifest.model_id.startswith("seeded/")
    print(f"{manifest.model_id}: {embedder.dimension} dimensions, licence {manifest.license}")
    for name in ("precision", "device", "threads"):
        choice = embedder.choices[name]
        print(f"  {name}: {choice.value} ({choice.reason})")
    if random:
        print(
            "\nNOTE: the weights of this model are random. The figures below mean nothing; they "
            "show\nonly that the road works: tokenizer, adapters, graphs, prompts, pooling."
        )
    start = time.perf_counter()
    show_matching(embedder)
    show_retrieval(embedder)
    show_classification(embedder)
    show_clustering(embedder)
    print(f"\nfour tasks in {time.perf_counter() - start:.1f} s, loading included")
    show_precisions(embedder)


def show_matching(embedder: Embedder) -> None:
    """text-matching: the same meaning in many languages."""
    print('\ntext-matching: encode(texts, task="text-matching"), one sentence in six languages')
    vectors = embedder.encode([text for _, text in SUNSETS], task="text-matching")  # (7, D)
    print_matrix([name for name, _ in SUNSETS], embedder.similarity(vectors, vectors))


def show_retrieval(embedder: Embedder) -> None:
    """retrieval: a question and passages, each with its own prompt, at two widths."""
    print(f'\nretrieval: encode_query / encode_document, "{QUERY}"')
    texts = [text for _, text in DOCUMENTS]
    widths = sorted({*embedder.manifest.matryoshka_dimensions[-2:], embedder.dimension})
    columns = []
    for width in widths:
        query = embedder.encode_query(QUERY, truncate_dim=width)  # (width,)
        documents = embedder.encode_document(texts, truncate_dim=width)  # (4, width)
        columns.append(embedder.similarity(query, documents)[0])  # (4,)
    print(f"  {'':10}" + "".join(f"{f'{width} wide':>10}" for width in widths))
    for index, (name, text) in enumerate(DOCUMENTS):
        print(f"  {name:10}" + "".join(f"{c[index]:10.4f}" for c in columns) + f"  {text[:48]}…")


def show_classification(embedder: Embedder) -> None:
    """classification: each new text takes the label of the nearest labelled one."""
    print('\nclassification: encode(texts, task="classification"), nearest labelled example')
    known = embedder.encode([text for _, text in LABELLED], task="classification")  # (4, D)
    new = embedder.encode(list(UNLABELLED), task="classification")  # (2, D)
    cosines = embedder.similarity(new, known)  # (2, 4)
    for text, row in zip(UNLABELLED, cosines, strict=True):
        print(f"  {row.max():.4f}  {LABELLED[int(row.argmax())][0]:10}  {text}")


def show_clustering(embedder: Embedder) -> None:
    """clustering: texts of three topics."""
    print('\nclustering: encode(texts, task="clustering"), three topics of two texts')
    vectors = embedder.encode([text for _, text in TOPICS], task="clustering")  # (6, D)
    print_matrix([name for name, _ in TOPICS], embedder.similarity(vectors, vectors))


def show_precisions(embedder: Embedder) -> None:
    """How near the precision in use comes to fp32, where the pack has it."""
    if embedder.precision == "fp32" or "fp32" not in embedder.manifest.precisions():
        return
    texts = [text for _, text in (*SUNSETS, *DOCUMENTS, *TOPICS)]
    with Embedder(embedder.folder, precision="fp32", device="cpu") as exact:
        cosines = np.sum(embedder.encode(texts) * exact.encode(texts), axis=1)  # (n,)
    print(
        f"{embedder.precision} against fp32 on {len(texts)} texts: "
        f"cosine {cosines.min():.5f} at least, {cosines.mean():.5f} in the mean"
    )


def print_matrix(names: Sequence[str], cosines: NDArray[Any]) -> None:
    """Cosines of all with all; the columns are the rows' numbers."""
    print(f"  {'':14}" + "".join(f"{index + 1:>8}" for index in range(len(names))))
    for index, (name, row) in enumerate(zip(names, cosines, strict=True)):
        print(f"  {index + 1:2} {name:11}" + "".join(f"{value:8.4f}" for value in row))


def print_ending(folder: Path) -> None:
    """What to try next."""
    suggestions = (
        (f"embedge info {folder}", "what the pack says of itself"),
        (f"embedge verify {folder}", "every file and graph, against the NumPy reference"),
        (f'embedge search "the red planet" . -p {folder}', "this folder, by meaning"),
        (f'echo "some text" | embedge embed -p {folder}', "vectors as JSON lines"),
        ("make v5-text-small", "the real model (1.4 GB from the hub; CC BY-NC 4.0)"),
    )
    width = max(len(command) for command, _ in suggestions)
    print("\nTry next:")
    for command, what in suggestions:
        print(f"  {command:{width}}  {what}")
    print("The command lies in .venv/bin; `source .venv/bin/activate` puts it on the path.")


if __name__ == "__main__":
    raise SystemExit(main())
