"""Connections to Dask: to a cluster that is started here, or to a scheduler elsewhere; plain or with TLS."""

from __future__ import annotations

import importlib
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mipverify_py.campaigns.executors._base import ExecutorError
from onnx_models.errors import InputError

CONNECT_SECONDS = 30.0
"""How long to wait for a scheduler."""

START_SECONDS = 120.0
"""How long workers that are started here may take to appear."""

CLOSE_SECONDS = 5.0
"""How long Dask may take to close."""

LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")
"""Those that Dask gives a level of their own, so that their parents' does not hold for them."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM format for connections that are encrypted, and where both sides prove who they are.

    Attributes:
        ca: certificate of the authority that has signed everybody's certificates.
        certificate: our own.
        key: its private key.
    """

    ca: str
    certificate: str
    key: str

    def security(self) -> Any:
        """The same as Dask's `Security`; plain connections are refused."""
        roles = {
            f"tls_{role}_{part}": file
            for role in ("client", "scheduler", "worker")
            for part, file in (("cert", self.certificate), ("key", self.key))
        }
        return dask().Security(tls_ca_file=self.ca, require_encryption=True, **roles)


def dask() -> Any:
    """The package `distributed`; raises ExecutorError if it is not installed."""
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ExecutorError("Dask is not installed; `pip install mipverify-py[cluster]` adds it.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Dask from writing to the terminal: what a user needs to know, the run says."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    dask()  # its import sets the levels
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def local_client(workers: int, tls: TlsFiles | None) -> Iterator[Any]:
    """A cluster on the loopback interface, without a dashboard, whose workers end with this process.

    A task whose worker is lost fails at once (`allowed_failures`), and memory is ours to watch, not Dask's.
    """
    from dask import config

    distributed = dask()
    settings: dict[str, list[str]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
    try:
        with config.set(settings):
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tcp://" if tls is None else "tls://",
                security=None if tls is None else tls.security(),
                dashboard_address="127.0.0.1:0",
                memory_limit=None,
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={"allowed_failures": 0, "dashboard": False},
            )
    except (OSError, RuntimeError) as error:
        raise ExecutorError(
            f"No Dask workers can be started here ({error}). A script that starts some has to do so below "
            '`if __name__ == "__main__":`, since every worker imports it.'
        ) from error
    try:
        with distributed.Client(cluster, timeout=CONNECT_SECONDS) as client:
            client.wait_for_workers(workers, timeout=START_SECONDS)
            client.register_plugin(_deaf_to_ctrl_c())
            yield client
    finally:
        _close(cluster)


def _deaf_to_ctrl_c() -> Any:
    """A plugin for workers started here, which Ctrl-C at the terminal reaches, too: it is for the run to see to."""
    from mipverify_py.campaigns.executors._dask_worker import DeafToCtrlC

    return DeafToCtrlC()


def _close(cluster: Any) -> None:
    """Ends a cluster without waiting for its workers to say goodbye: what they were doing is of no interest."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        cluster.close(timeout=CLOSE_SECONDS)


@contextmanager
def remote_client(address: str, tls: TlsFiles | None) -> Iterator[Any]:
    """A connection to the scheduler at `address`; without `tls` Dask's own configuration says who we are, if anything.

    Raises:
        InputError: the address asks for certificates, and there are none.
        ExecutorError: there is no scheduler, or it does not want us.
    """
    security = dask().Security() if tls is None else tls.security()
    if address.startswith("tls://") and None in (security.tls_ca_file, security.tls_client_cert):
        raise InputError(f"The scheduler {address} needs certificates; give the authority's, our own, and its key.")
    try:
        client = dask().Client(address, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExecutorError(f"No Dask scheduler can be reached at {address}: {error}") from error
    try:
        yield client
    finally:
        client.close(timeout=CLOSE_SECONDS)
