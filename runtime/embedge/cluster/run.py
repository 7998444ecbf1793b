"""A run whose parts are made on a Ray cluster, through Ray Data: the driver's side.

The data set is the numbers of the parts still to do. Each actor writes its parts into the shared
folder and gives back their lines, which are noted here. Ray makes a part again whose node is lost;
a part that is made twice has the same bytes, and takes its place by a rename.
"""

import contextlib
import pickle
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedge import __version__
from embedge.cluster import nodes
from embedge.cluster.connect import quiet
from embedge.cluster.nodes import Seen, check_node, choose_threads, look
from embedge.cluster.worker import OUTCOME, Failed, Made, Outcome, PartWorker, Work
from embedge.embedder import Embedder
from embedge.engine.providers.register import provider_of
from embedge.errors import ClusterError
from embedge.parts.folder import RunFolder
from embedge.parts.part import Form
from embedge.parts.plan import Plan, Shard
from embedge.parts.run import Listener, Result, Step, part_name, started
from embedge.reasons import one_line

_MARKER = ".ray-"
_LOOK_SECONDS = 120.0  # for a node to start a process of Python


@dataclass(slots=True)
class Counts:
    """What the actors have counted so far."""

    tokens: int = 0
    cut: int = 0


def run_on_cluster(
    ray: Any,
    plan: Plan,
    folder: RunFolder,
    embedder: Embedder,
    encode: Callable[..., Any],
    form: Form,
    job: Mapping[str, Any],
    listener: Listener,
    counts: Counts,
    *,
    threads: int | None,
    verify: bool = False,
    stop_at_error: bool = False,
) -> Result:
    """Makes the parts that are not done, as `embedge.parts.run.run_parts` does in one process.

    Args:
        ray: the module, connected.
        plan: the work.
        folder: where it is done; the nodes see it under the same path.
        embedder: what the actors open again.
        encode: its method for the items, with its options bound.
        form: of the parts.
        job: what the run is; see `RunFolder.claim`.
        listener: what is called on the way.
        counts: is brought up to date before each step.
        threads: of an actor, and its CPUs; None: see `nodes.choose_threads`.
        verify: read what is done, and make again what differs from what was written.
        stop_at_error: raise for the first row that has no vector.

    Raises:
        ClusterError: the nodes are not alike, or actors die again and again.
        EmbedgeError, OSError: what an actor failed with; as `run_parts` and `Embedder`.
    """
    cpus = choose_threads([node["Resources"].get("CPU", 0) for node in _alive(ray)], threads)
    with started(plan, folder, job, listener, shard=Shard(), verify=verify) as start:
        todo, embedded, errors = start.todo, 0, 0
        rows = sum(len(plan.rows_of(part)) for part in todo)
        with _marker(folder) as marker:
            seen = Seen(str(marker), _versions(ray, job))
            if todo:
                _look_at_nodes(ray, seen)
            work = Work(
                plan,
                folder.parts.absolute(),
                form,
                embedder,
                encode,
                stop_at_error,
            )
            gpus = provider_of(embedder.device).gpus
            arguments = (pickle.dumps(work), str(Path.cwd()), seen)
            noted = set[int]()
            with contextlib.closing(_outcomes(ray, todo, arguments, cpus, gpus)) as outcomes:
                for outcome in outcomes:
                    made = _made(outcome)
                    if made.number in noted:
                        continue
                    noted.add(made.number)
                    for where, reason in made.refused:
                        listener.refused(where, reason)
                    start.finished.add(asdict(made.entry))
                    embedded += made.entry.rows
                    errors += made.entry.errors
                    counts.tokens += made.tokens
                    counts.cut += made.cut
                    listener.step(Step(embedded, rows, len(noted), len(todo) - len(noted)))
        folder.clean(part_name(part) for part in todo)  # what actors that died have left
    if len(noted) < len(todo):
        raise ClusterError(
            f"the Ray cluster gave back {len(noted):,} of {len(todo):,} parts; the same command "
            "makes the others"
        )
    return Result(embedded, errors, len(todo), start.skipped, plan.count - len(folder.done()))


def _outcomes(
    ray: Any, todo: Sequence[int], arguments: tuple[Any, ...], cpus: int, gpus: int
) -> Generator[Outcome, None, None]:
    """What came of each part, as the actors are ready with it."""
    if not todo:
        return
    room = sum(_places(node["Resources"], cpus, gpus) for node in _alive(ray))
    size = max(1, min(room, len(todo)))
    quiet(ray)
    dataset = ray.data.from_items(list(todo), override_num_blocks=len(todo)).map_batches(
        PartWorker,
        fn_constructor_args=arguments,
        batch_size=1,
        batch_format="pyarrow",
        # More than there is room for now, for nodes that join later. An actor has one part at a
        # time, so that none waits behind another at the end.
        compute=ray.data.ActorPoolStrategy(
            min_size=size, max_size=len(todo), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    quiet(ray)
    try:
        # Closed first of all at the end: Ray Data's thread is not to ask a cluster that is left.
        with contextlib.closing(iter(dataset.iter_rows())) as found:
            for row in found:
                yield pickle.loads(row[OUTCOME])
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the Ray cluster failed at a part ({one_line(error)[:300]}); the same command goes on"
        ) from None


def _places(resources: Mapping[str, float], cpus: int, gpus: int) -> int:
    """How many actors a node has room for."""
    places = int(resources.get("CPU", 0) // cpus)
    return min(places, int(resources.get("GPU", 0) // gpus)) if gpus else places


def _alive(ray: Any) -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _made(outcome: Outcome) -> Made:
    if isinstance(outcome, Failed):
        # Ray's processes end with this one: what they were at is worth a line of --debug.
        outcome.error.add_note(outcome.trace)
        raise outcome.error
    return outcome


def _versions(ray: Any, job: Mapping[str, Any]) -> dict[str, str]:
    """What all nodes must have: what the bytes of a part, and what Ray sends, depend on."""
    here = look("", ["python"])["versions"]
    return {**job["versions"], "embedge": __version__, **here, "ray": ray.__version__}


def _look_at_nodes(ray: Any, seen: Seen) -> None:
    """Refuses a cluster with a node that would make other parts, before the work."""
    by_id = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    ray.cloudpickle.register_pickle_by_value(nodes)  # a node may be without embedge
    try:
        remote = ray.remote(num_cpus=0, max_retries=0)(look)
        calls = [
            remote.options(scheduling_strategy=by_id(node["NodeID"], soft=False)).remote(
                seen.marker, list(seen.versions)
            )
            for node in _alive(ray)
            if node["Resources"].get("CPU", 0) >= 1
        ]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(nodes)
    try:
        for found in ray.get(calls, timeout=_LOOK_SECONDS):
            check_node(found, seen)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the nodes of the Ray cluster do not answer: {one_line(error)[:300]}"
        ) from None


@contextlib.contextmanager
def _marker(folder: RunFolder) -> Iterator[Path]:
    """A file in the folder of the run that no copy of it elsewhere has."""
    for left in folder.path.glob(f"{_MARKER}*"):  # of a process that was killed
        left.unlink(missing_ok=True)
    path = folder.path.absolute() / f"{_MARKER}{secrets.token_hex(8)}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
