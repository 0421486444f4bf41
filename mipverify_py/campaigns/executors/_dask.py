"""On a Dask cluster: one that is started here, or one whose scheduler's address is known."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import time
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from mipverify_py.campaigns._host import host_class, versions
from mipverify_py.campaigns._records import Completion, Failure, FailureReason, ModelRecord, Task
from mipverify_py.campaigns.executors._answering import check_answerer, check_model, failure_of, models_by_digest
from mipverify_py.campaigns.executors._base import Executor, ExecutorError, Running
from mipverify_py.campaigns.executors._dask_client import (
    CONNECT_SECONDS,
    TlsFiles,
    dask,
    local_client,
    quiet,
    remote_client,
)
from mipverify_py.campaigns.executors._processes import GRACE_SECONDS, at_least_one
from onnx_models.errors import InputError

SILENCE_SECONDS = 20.0
"""A Dask worker that sends no sign of life for so long is restarted: it tells one twice a second."""

LOOK_SECONDS = 2.0
"""How often signs of life are looked at."""

ANSWER_SECONDS = 20.0
LOOKS_IN_VAIN = 3
"""A scheduler that has not answered so many times in a row, each within so many seconds, is lost: it may be stopped."""

RESTART_SECONDS = 5.0
"""How long a worker may take to end before the scheduler forgets it."""

PART_SECONDS = 0.5
"""How long a cluster may take to let us go."""

MOVES = 10
"""How often a task that waits is sent anew when the worker it waits for is lost: that is no failure of its own."""

LOST = "its Dask worker was lost: killed, cut off, or silent for long"


@dataclass(slots=True, eq=False)
class _Sent:
    """A task that Dask has, our handles on it, and what was told about it."""

    task: Task
    future: Any
    moves: int
    collected: concurrent.futures.Future[Completion | None] | None = None
    sent: float = field(default_factory=time.monotonic)
    worker: str | None = None
    address: str | None = None
    lower: float | None = None
    upper: float | None = None
    is_lost: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.sent


class DaskExecutor(Executor):
    """Attempts tasks on Dask workers, each in a worker process of ours beside its Dask worker.

    Models go to each Dask worker once. A Dask worker that dies, is cut off or stands still loses its task, which comes
    back as a failure: Dask does not run a task twice unnoticed. While there is no worker, tasks wait.

    Args:
        answerer: what answers tasks, "package.module:function"; Dask workers have to have the package.
        models: all that tasks ask about.
        workers: how many to start here, >= 1, in a cluster that only this machine can reach; None with a `scheduler`.
        scheduler: address of a scheduler, "tcp://HOST:PORT" or "tls://HOST:PORT", to use the workers that it has.
        tls: how to prove who we are to the scheduler and workers.
        memory_limit, grace: as in `ProcessExecutor`.

    Raises:
        InputError: neither or both of workers and scheduler, no certificates for a scheduler that needs them, no such
            answerer, or a task about another model.
        ExecutorError: the cluster cannot be started, reached or used, or, while it runs, the scheduler is lost.
    """

    def __init__(
        self,
        answerer: str,
        models: Sequence[ModelRecord],
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        tls: TlsFiles | None = None,
        memory_limit: int | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        check_answerer(answerer)
        if (workers is None) == (scheduler is None):
            raise InputError("Give either the number of workers to start, or the address of a scheduler.")
        limit = None if memory_limit is None else at_least_one(memory_limit, "memory_limit")
        self._models = models_by_digest(models)
        self._name = f"mipverify-{uuid.uuid4().hex[:12]}"
        self._place = "here" if scheduler is None else f"at {scheduler}"
        self._over: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._sent: dict[str, _Sent] = {}
        self._avoid: dict[int, str] = {}
        self._threads = self._tries = self._looks_in_vain = 0
        self._signs: dict[str, tuple[float, float]] = {}
        self._stopping = False
        with ExitStack() as stack:
            stack.enter_context(quiet())
            self._client: Any
            if scheduler is None:
                self._client = stack.enter_context(local_client(at_least_one(workers, "workers"), tls))
            else:
                self._client = stack.enter_context(remote_client(scheduler, tls))
            self._loop = self._client.loop.asyncio_loop
            self._register((answerer, models, limit, grace))
            stack.callback(self._leave)
            self._resources = stack.pop_all()

    def _register(self, setup: tuple[str, Sequence[ModelRecord], int | None, float]) -> None:
        from mipverify_py.campaigns.executors._dask_worker import Desk

        try:
            self._client.register_plugin(Desk(self._name, *setup))
            self._client.subscribe_topic(self._name, self._hear)
            self._await(self._look(), CONNECT_SECONDS)
        except Exception as error:  # whatever a worker raises on taking the plugin is raised here
            raise ExecutorError(
                f"The Dask workers {self._place} cannot be used ({type(error).__name__}: {error}); they need the same "
                "packages as this process."
            ) from error
        self._attending = asyncio.run_coroutine_threadsafe(self._attend(), self._loop)

    def _await(self, coroutine: Coroutine[Any, Any, Any], seconds: float) -> None:
        """Runs a coroutine in the client's thread, and waits for it for so long at most."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    # ------------------------------------------------------------------------------------- called by the run's thread

    @property
    def workers(self) -> int:
        return self._threads

    @property
    def outstanding(self) -> int:
        return len(self._sent)

    def submit(self, task: Task) -> None:
        check_model(self._models, task)
        assert not self._stopping
        self._check_connection()
        self._send(task, moves=0)

    def _send(self, task: Task, moves: int) -> None:
        from mipverify_py.campaigns.executors._dask_worker import attempt

        self._tries += 1
        key = f"{self._name}-{task.query}-{task.number}-{self._tries}"
        avoided = self._avoid.get(task.query)
        others = [address for address in self._signs if address != avoided] if avoided is not None else []
        future = self._client.submit(
            attempt,
            self._name,
            task,
            key,
            key=key,
            pure=False,
            retries=0,
            workers=others or None,
            allow_other_workers=bool(others),
        )
        sent = self._sent[key] = _Sent(task, future, moves)
        sent.collected = asyncio.run_coroutine_threadsafe(self._collect(future), self._loop)
        sent.collected.add_done_callback(lambda _: self._over.put(key))

    def completions(self, timeout: float) -> list[Completion]:
        deadline = time.monotonic() + timeout
        found: list[Completion] = []
        while not found and (left := deadline - time.monotonic()) > 0:
            try:
                key = self._over.get(timeout=left)
                while True:
                    found += self._settle(key)
                    key = self._over.get_nowait()
            except queue.Empty:
                pass
            except ExecutorError:
                if not found:  # otherwise what has come is handed over first, and the next call raises
                    raise
            if not found:
                self._check_connection()
        return found

    def running(self) -> list[Running]:
        return [
            Running(sent.task, sent.worker, sent.seconds, sent.lower, sent.upper)
            for sent in list(self._sent.values())
            if sent.worker is not None
        ]

    def interrupt(self) -> None:
        self._stopping = True
        for key, sent in list(self._sent.items()):
            if sent.worker is None:
                del self._sent[key]
        asyncio.run_coroutine_threadsafe(self._interrupt(), self._loop)

    def close(self) -> None:
        self._resources.close()

    def _leave(self) -> None:
        """Lets the cluster forget us."""
        self._attending.cancel()
        for sent in self._sent.values():
            if sent.collected is not None:
                sent.collected.cancel()
        self._sent.clear()
        with suppress(Exception):  # it may be gone; if it is not, it finds out by itself that we are
            self._await(self._part(), PART_SECONDS)

    def _check_connection(self) -> None:
        if self._client.status != "running":
            fate = f"The connection to the Dask scheduler {self._place} is lost"
        elif self._looks_in_vain >= LOOKS_IN_VAIN:
            fate = f"The Dask scheduler {self._place} does not answer"
        else:
            return
        raise ExecutorError(f"{fate}; what was recorded is in the store, and `resume` goes on from there.")

    def _settle(self, key: str) -> list[Completion]:
        """What came of a task that Dask is done with; nothing if that is known or of no interest."""
        sent = self._sent.get(key)
        if sent is None or sent.collected is None:
            return []
        if sent.is_lost:
            outcome: Completion | Failure | None = Failure(FailureReason.LOST, LOST)
        elif sent.collected.done():
            outcome = self._outcome(sent, sent.collected)
        else:
            return []
        del self._sent[key]
        if outcome is None:
            return []
        if isinstance(outcome, Failure):
            outcome = Completion(sent.task, outcome, sent.worker or "dask", host_class(), versions(), sent.seconds)
        for member in sent.task.members:
            if isinstance(outcome.outcome, Failure) and sent.address is not None:
                self._avoid[member.query] = sent.address
            else:
                self._avoid.pop(member.query, None)
        return [outcome]

    def _outcome(
        self, sent: _Sent, collected: concurrent.futures.Future[Completion | None]
    ) -> Completion | Failure | None:
        """What Dask says; None if that is nothing, or the task was sent anew since it had not been begun."""
        try:
            completion = collected.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError, dask().KilledWorker):
            self._check_connection()
            if sent.worker is None and sent.moves < MOVES and not self._stopping:
                self._send(sent.task, sent.moves + 1)
                return None
            return None if self._stopping else Failure(FailureReason.LOST, LOST)
        except Exception as error:  # noqa: BLE001 - whatever went wrong on the way to our worker process
            return failure_of(error)
        if completion is None and not self._stopping:
            return Failure(FailureReason.LOST, "nobody seemed to wait for its answer any more")
        return completion

    # ---------------------------------------------------------------------------------- called by the client's thread

    async def _collect(self, future: Any) -> Completion | None:
        found: list[Completion | None] = await self._client.gather([future])
        return found[0]

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """Notes that a task was begun, or its bracket; one that is begun anew has lost its first worker."""
        message = event[1]
        sent = self._sent.get(message["key"])
        if sent is None:
            return
        if message["begins"] and sent.worker is not None:
            sent.is_lost = True
            self._client.loop.add_callback(sent.future.cancel)
            self._over.put(message["key"])
        sent.worker, sent.address = message["worker"], message["address"]
        sent.lower, sent.upper = message["lower"], message["upper"]

    async def _interrupt(self) -> None:
        from mipverify_py.campaigns.executors._dask_worker import interrupt

        await self._client.run(interrupt, self._name, on_error="ignore")

    async def _part(self) -> None:
        await self._client.unregister_worker_plugin(self._name)

    async def _attend(self) -> None:
        """Looks for signs of life now and then."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.wait_for(self._look(), ANSWER_SECONDS)
                self._looks_in_vain = 0
            except TimeoutError:
                self._looks_in_vain += 1
            except OSError:  # `submit` and `completions` notice that the connection is lost
                continue

    async def _look(self) -> None:
        """Counts workers, and restarts those of ours that have given no sign of life for long.

        A sign of life is told by its number alone, which is a time on the scheduler's clock: whether it has changed.
        """
        known = (await self._client.scheduler.identity(n_workers=-1))["workers"]
        self._threads = sum(worker["nthreads"] for worker in known.values())
        now = time.monotonic()
        signs = {address: worker["last_seen"] for address, worker in known.items()}
        self._signs = {
            address: old if (old := self._signs.get(address, (sign, now)))[0] == sign else (sign, now)
            for address, sign in signs.items()
        }
        silent = [address for address, (_, since) in self._signs.items() if now - since > SILENCE_SECONDS]
        if not silent:
            return
        tasks = await self._client.scheduler.processing(workers=silent)
        ours = [address for address in silent if any(str(key).startswith(self._name) for key in tasks.get(address, ()))]
        await self._client.scheduler.restart_workers(
            workers=ours, timeout=RESTART_SECONDS, wait_for_workers=False, on_error="return", stimulus_id=self._name
        )
