"""How fast a campaign's store takes results, and how many a run settles: `python -m tests.benchmarks.campaign_store`.

The store: results with an MNIST-sized example each are recorded one by one, so that each is durable before the next,
and many at a time; a result costs r seconds and a transaction c, told from both. For comparison, how often per second
the disk takes 4 kB for good. Reading gives the queries back, without and with their inputs; memory is what Python
allocated for them.

The run: `run_campaign` on 1 to 4 local workers, processes or those of Dask, with queries of no cost (so that only
leading costs), exact distances of a small model of the zoo, and of a network for MNIST. Starting is the time until the
first answer, "once started" the rate per second from there on; answering is the share of the workers' time that went
into answers, and the leader's milliseconds per query are what this process computed, for Dask with its scheduler.

    python -m tests.benchmarks.campaign_store [--results 2000] [--workers 1,2,3,4]
        [--executors processes,dask] [--networks B-standard] [--images 60] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mipverify_py.campaigns import (
    Answer,
    Completion,
    Finding,
    InputRecord,
    Limits,
    ModelRecord,
    QueryKind,
    QueryRecord,
    Rounds,
    Store,
    Task,
    run_campaign,
)
from mipverify_py.campaigns.executors import DaskExecutor, Executor, ProcessExecutor
from onnx_models import ReluNetwork
from tests.benchmarks.common import facts, new_table, show, words
from tests.benchmarks.mnist_networks import subject

if TYPE_CHECKING:
    from rich.table import Table

HERE = "tests.benchmarks.campaign_store"
EXACT = "mipverify_py.campaigns._answer:answer"
SHAPE = (1, 28, 28)
BATCHES = (1, 10, 100, 1000)
SMALL = "zoo:digits_small_standard"
QUESTION = {"norm": "linf", "margin": 0.0, "targets": None, "domain": [0.0, 1.0], "label": None}
OPTIONS = {"engine": "auto", "backend": "highs", "tightening": "lp", "restarts": 4, "device": "cpu"}
HOST = {"cpu": "a processor", "cores": 2, "memory_gib": 8, "system": "Linux", "gpu": None}
VERSIONS = {"python": "3", "mipverify-py": "0"}
LIMITS = Limits(60.0)


class Throughput(NamedTuple):
    """What one way of using a store took: how many of what, in which seconds."""

    what: str
    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """Per second."""
        return self.count / self.seconds


class Load(NamedTuple):
    """Queries for a run on workers: `count` about the first images of a network, which it answers itself or not."""

    name: str
    network: str
    count: int
    costs_nothing: bool = False


class Course(NamedTuple):
    """What a run took: seconds in all, until the first answer, and of workers on answers; core-seconds of leading."""

    seconds: float
    starting: float
    answering: float
    leading: float


# ---------------------------------------------------------------------------------------------------------- the store


def an_answer(record: QueryRecord) -> Answer:
    """An answer of usual size, with an example that no compression makes much smaller."""
    generator = np.random.default_rng(record.input.index)
    distance = float(generator.uniform(0.01, 0.1))
    moved = record.input.values + distance * generator.choice([-1.0, 1.0], record.input.values.shape)
    statistics = {"attack_seconds": 0.1, "nodes": 17, "layers": [{"units": 100, "unstable": 40}], "float32": None}
    return Answer(
        decided=True,
        verdict="adversarial",
        lower=distance * (1 - 1e-6),
        upper=distance,
        evidence="reproved",
        evidence_detail="9 targets, 17 nodes",
        stop_reason="solved",
        stop_detail="",
        predicted=3,
        reference=3,
        engine="auto",
        backend=None,
        seconds=0.0,
        findings=(Finding("exact", distance, 5, moved),),
        statistics=statistics,
    )


def at_once(task: Task, network: ReluNetwork, tell: Callable[[float | None, float | None], None]) -> Answer:
    """What a worker runs for a query of no cost."""
    return an_answer(task.record)


def queries(network: str, count: int, *, made_up: bool = False) -> tuple[ModelRecord, list[QueryRecord]]:
    """A network and queries for the distances of its first images, or of as many random ones."""
    about = subject(network)
    model = ModelRecord(about.network.digest, about.name, about.path.read_bytes(), {})
    generator = np.random.default_rng(0)

    def image(index: int) -> np.ndarray:
        # Grey levels on a quarter of the pixels: about as compressible as MNIST.
        random = generator.integers(1, 256, SHAPE) / 255 * (generator.random(SHAPE) < 0.25)
        return random if made_up else about.data.image(index).reshape(about.network.input_shape)

    inputs = [InputRecord(image(index), "made up" if made_up else "test", index, None) for index in range(count)]
    return model, [
        QueryRecord(about.name, model.digest, each, QueryKind.DISTANCE, QUESTION, OPTIONS, 0) for each in inputs
    ]


def recording(folder: Path, network: str, count: int) -> list[Throughput]:
    """How fast `count` queries are added, and as many results recorded, with every size of transaction."""
    model, asked = queries(network, count, made_up=True)
    found = []
    for batch in BATCHES:
        with Store.create(folder / f"record-{batch}.sqlite") as store:
            store.add_model(model)
            began = time.perf_counter()
            store.add_queries(asked)
            if batch == BATCHES[0]:
                found.append(Throughput("queries added, one transaction", count, time.perf_counter() - began))
            completions = [
                Completion(
                    Task(each.row, 1, each.record, LIMITS), an_answer(each.record), "worker", HOST, VERSIONS, 0.3
                )
                for each in store.queries()
            ]
            began = time.perf_counter()
            for first in range(0, count, batch):
                store.record_many(completions[first : first + batch])
            found.append(Throughput(f"results recorded, {batch} at a time", count, time.perf_counter() - began))
    return found


def reading(store_file: Path) -> Iterator[tuple[Throughput, float]]:
    """How fast the queries of a store are read, and the bytes that each takes in memory."""
    for with_inputs in (False, True):
        with Store.open(store_file, read_only=True) as store:
            began = time.perf_counter()
            found = store.queries(LIMITS, with_inputs=with_inputs)
            seconds = time.perf_counter() - began
            del found
            tracemalloc.start()
            found = store.queries(LIMITS, with_inputs=with_inputs)
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
        what = f"queries read, {'with' if with_inputs else 'without'} inputs"
        yield Throughput(what, len(found), seconds), held / len(found)


def syncing(folder: Path, count: int = 200) -> Throughput:
    """How fast the disk takes 4 kB for good."""
    with (folder / "sync").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(count):
            file.write(bytes(4096))
            os.fsync(file.fileno())
        return Throughput("4 kB written and synchronised", count, time.perf_counter() - began)


def transaction(measured: Sequence[Throughput]) -> tuple[float, float]:
    """Seconds (c, r) of a transaction and of a result in it, from the rates one at a time and many at a time."""
    one, many = (next(m for m in measured if m.what.endswith(f" {batch} at a time")) for batch in (1, BATCHES[-1]))
    batch = min(BATCHES[-1], many.count)
    commit = max(0.0, (1 / one.rate - 1 / many.rate) / (1 - 1 / batch))
    return commit, max(0.0, 1 / one.rate - commit)


# ------------------------------------------------------------------------------------------------------------ the run


EXECUTORS: dict[str, Callable[[str, Sequence[ModelRecord], int], Executor]] = {
    "processes": ProcessExecutor,
    "dask": lambda answerer, models, workers: DaskExecutor(answerer, models, workers=workers),
}


def run(folder: Path, load: Load, executor_name: str, workers: int) -> Course:
    """One run on that many local workers, with a store of its own."""
    model, asked = queries(load.network, load.count, made_up=load.costs_nothing)
    starts: list[float] = []
    answerer = f"{HERE}:{at_once.__name__}" if load.costs_nothing else EXACT
    with tempfile.TemporaryDirectory(dir=folder) as own, Store.create(Path(own) / "campaign.sqlite") as store:
        store.add_model(model)
        store.add_queries(asked)
        began, busy = time.perf_counter(), time.process_time()

        def watch(progress: object) -> None:
            if getattr(progress, "finished", 0) and not starts:
                starts.append(time.perf_counter() - began)

        with EXECUTORS[executor_name](answerer, [model], workers) as executor:
            run_campaign(store, store.queries(with_inputs=False), executor, Rounds(LIMITS, shares=(1.0,)), watch=watch)
            seconds, leading = time.perf_counter() - began, time.process_time() - busy
        answered = [each for each in store.queries(LIMITS, with_inputs=False) if each.history]
        if len(answered) != load.count:
            raise RuntimeError(f"{load.name}: {len(answered)} of {load.count} queries have an attempt.")
        return Course(seconds, starts[0], sum(each.seconds for each in answered), leading)


def _store_table(folder: Path, count: int) -> tuple[Table, str]:
    headings = ("what", "number", "seconds", "per second", "bytes each")
    table = new_table("The store", headings, left=headings[:1], caption=facts(1))
    measured = recording(folder, SMALL, count)
    file = folder / f"record-{BATCHES[-1]}.sqlite"
    sizes = {measured[-1]: f"{file.stat().st_size / count:,.0f} on disk"}
    read = {each: f"{held:,.0f} in memory" for each, held in reading(file)}
    for each in (syncing(folder), *measured, *read):
        size = (sizes | read).get(each, "-")
        table.add_row(each.what, str(each.count), f"{each.seconds:.2f}", f"{each.rate:,.0f}", size)
    commit, record = transaction(measured)
    return table, f"A transaction takes {1e3 * commit:.2f} ms, a result in it {1e3 * record:.2f} ms more."


def _run_table(folder: Path, loads: Sequence[Load], executor: str, workers: Sequence[int]) -> Table:
    headings = (
        "queries",
        "workers",
        "number",
        "seconds",
        "starting",
        "per second",
        "once started",
        "answering",
        "leader ms",
    )
    table = new_table(f"Runs on local workers ({executor})", headings, left=headings[:1], caption="")
    for load in loads:
        for count in workers:
            course = run(folder, load, executor, count)
            left = max(course.seconds - course.starting, 1e-9)
            table.add_row(
                load.name,
                str(count),
                str(load.count),
                *(f"{seconds:.2f}" for seconds in (course.seconds, course.starting)),
                *(f"{load.count / seconds:,.1f}" for seconds in (course.seconds, left)),
                f"{100 * course.answering / (count * course.seconds):.0f} %",
                f"{1e3 * course.leading / load.count:.2f}",
            )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Throughput of a campaign's store, and of runs on local workers.")
    parser.add_argument("--results", type=int, default=2000, help="to record; a tenth in runs of a small model")
    parser.add_argument("--workers", type=words, default=("1", "2", "3", "4"), help="default 1,2,3,4")
    parser.add_argument("--executors", type=words, default=tuple(EXECUTORS), help=f"default {','.join(EXECUTORS)}")
    parser.add_argument("--networks", type=words, default=("B-standard",), help="of the runs, default B-standard")
    parser.add_argument("--images", type=int, default=60, help="per network, default 60")
    parser.add_argument("--folder", type=Path, help="on the disk that is measured, default that of temporary files")
    chosen = parser.parse_args(arguments)
    loads = [
        Load("no cost", SMALL, chosen.results, costs_nothing=True),
        Load("small", SMALL, max(1, chosen.results // 10)),
        *(Load(name, name, chosen.images) for name in chosen.networks),
    ]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        show(*_store_table(Path(name), chosen.results))
        for executor in chosen.executors:
            show(_run_table(Path(name), loads, executor, [int(count) for count in chosen.workers]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
