"""Where `embedge bulk` makes its parts: in this process, or on a Ray cluster."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.parts.plan import Shard
    from embedge.parts.run import Result

Make = Callable[..., "Result"]  # `run_parts` or `run_on_cluster`, with what both take left
Counts = Callable[[], tuple[int, int]]  # tokens that were embedded so far, and texts that were cut


@contextlib.contextmanager
def open_maker(
    options: argparse.Namespace,
    embedder: "Embedder",
    encode: Callable[..., Any],
    work: Callable[..., Any],
    shard: "Shard",
) -> Iterator[tuple[Make, Counts]]:
    """What makes the parts, and what it counts.

    Args:
        options: of the command.
        embedder: opened here.
        encode: its method for the items, with its options bound.
        work: the same, cancelled by Ctrl-C in this process.
        shard: whose parts are made.

    Raises:
        ClusterError: the cluster that `--ray` names cannot be used.
        MissingExtraError: Ray is not installed.
    """
    if options.ray is None:
        from embedge.parts.run import run_parts

        if not options.images:
            embedder.load(options.task)

        make = partial(run_parts, encode=work, shard=shard)
        yield make, lambda: (embedder.encoder.tokens, embedder.truncations)
        return
    from embedge.cluster.connect import connected
    from embedge.cluster.run import Counts as Counted
    from embedge.cluster.run import run_on_cluster

    with connected(options.ray) as ray:
        counted = Counted()
        yield (
            partial(
                run_on_cluster,
                ray,
                embedder=embedder,
                encode=encode,
                counts=counted,
                threads=options.threads,
            ),
            lambda: (counted.tokens, counted.cut),
        )
