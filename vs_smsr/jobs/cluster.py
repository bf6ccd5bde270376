"""A dask cluster, as far as jobs need it; `jobs.crew` gives its workers something to do.

dask.distributed is an extra: it is imported only where a cluster is asked for.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vs_smsr.errors import JobError, OptionError
from vs_smsr.options import JobOptions

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)
LOGGERS = ("distributed", "distributed.client", "tornado.application")  # those that dask gives a level
RESOURCE = "ENGINE"  # what workers declare that take chunks, and what a chunk takes one of
POLL = 0.1  # seconds between two looks at a task
LOOK = 1.0  # seconds between two looks at who is there
SILENT = 60.0  # seconds without a sign of life, which workers give every few seconds, after which one is taken for gone
CONNECT = 10.0  # seconds for reaching a scheduler
GATHER = 60.0  # seconds for getting what a task returned, which is small
CLOSE = 5.0  # seconds for taking leave
END = 30.0  # seconds for ending the processes of a local cluster
EXTRA = "--cluster: needs dask.distributed. Install it with pip install 'vs-smsr[cluster]'."
CERTIFICATES = (
    "--cluster: tls:// needs certificates. Name them in dask's configuration: distributed.comm.tls.ca-file, "
    "client.cert and client.key."
)


class LostError(Exception):
    """A worker is gone, or what it was given to do was dropped."""


class Cluster:
    """A connection to a scheduler; its methods may be called from several threads.

    Attributes:
        name: what the user calls it.
        address: of its scheduler.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.name, self.address = name, str(client.scheduler.address)
        self._client = client
        self._looking = threading.Lock()
        self._workers: set[str] = set()
        self._heard: dict[str, tuple[float, float]] = {}  # by address: its last sign of life by its clock and by ours
        self._looked = -LOOK
        self._leaving = threading.Event()

    def workers(self) -> set[str]:
        """Addresses of the workers that take chunks, as it was a moment ago.

        Raises:
            JobError: the scheduler is gone.
        """
        with self._looking:
            now = time.monotonic()
            if now - self._looked > LOOK:
                found = self._client.scheduler_info(n_workers=-1)["workers"]
                for address, worker in found.items():
                    if worker["last_seen"] != self._heard.get(address, (None,))[0]:
                        self._heard[address] = worker["last_seen"], now
                self._workers = {
                    address
                    for address, worker in found.items()
                    if worker["resources"].get(RESOURCE, 0) >= 1 and now - self._heard[address][1] < SILENT
                }
                self._looked = time.monotonic()
            if self._client.status != "running":
                raise JobError(
                    f"--cluster: the scheduler at {self.name} is gone. Once it is back, the same command goes on."
                )
            return self._workers

    def call[T](self, address: str, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a worker at once, beside its chunk; the worker is its keyword `dask_worker`, if it has one.

        Raises:
            LostError: the worker is gone. Exception: what the function raises, or why the worker is not reached.
        """
        asked = self._client._run(function, *arguments, workers=[address])  # run() waits for a worker that hangs
        pending = asyncio.run_coroutine_threadsafe(asked, self._client.loop.asyncio_loop)
        while True:
            try:
                result: T = pending.result(POLL)[address]
                return result
            except TimeoutError:
                if pending.done():  # it is the function's
                    raise
            if address not in self.workers():
                pending.cancel()
                raise LostError("it is gone")

    def compute[T](self, address: str, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a worker as a task that takes its engine.

        Raises:
            LostError: the worker is gone, or we leave. Exception: what the function raises.
        """
        future = self._client.submit(
            function, *arguments, workers=[address], resources={RESOURCE: 1}, pure=False, retries=0
        )
        try:
            while not future.done():
                if self._leaving.wait(POLL) or address not in self.workers():
                    raise LostError("it is gone")
            result: T = _result(future)
            return result
        finally:
            with suppress(Exception):  # without a scheduler there is no task either
                self._client.cancel([future], force=True)

    def leave(self) -> None:
        """What is still waited for is dropped."""
        self._leaving.set()

    @property
    def left(self) -> bool:
        return self._leaving.is_set()

    def listen(self, topic: str, heard: Callable[[Any], None]) -> None:
        """Hear what workers say on a topic, in another thread."""
        self._client.subscribe_topic(topic, lambda event: heard(event[1]))


def _result(future: Future) -> Any:
    from distributed import KilledWorker

    if future.status == "finished":
        try:
            return future.result(timeout=GATHER)
        except TimeoutError as late:
            raise LostError("what it made did not come") from late
    error: BaseException | None = future.exception(timeout=GATHER) if future.status == "error" else None
    if error is None or isinstance(error, KilledWorker):
        raise LostError(f"its work was {future.status}")
    raise error


@contextmanager
def connected(job: JobOptions) -> Iterator[Cluster]:
    """Connect to the cluster that a job asks for; a local one lives as long as the block.

    Raises:
        OptionError: the extra is not installed, or there are no certificates.
        JobError: no scheduler is there, or not one that we can trust.
    """
    if importlib.util.find_spec("distributed") is None:
        raise OptionError(EXTRA)
    from distributed import Client, LocalCluster

    kind, _, count = job.cluster.partition(":")
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        address = job.cluster
        if kind == "local":
            local = LocalCluster(
                n_workers=int(count),
                threads_per_worker=1,
                resources={RESOURCE: 1},
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=None,  # an engine keeps its own
                silence_logs=logging.CRITICAL,
            )
            stack.callback(_close, local, END)
            address = local.scheduler_address
        if kind == "tls":
            _check_certificates()
        try:
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except OSError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise JobError(
                    f"--cluster: the certificate of {address} is not by the authority in distributed.comm.tls.ca-file "
                    f"({getattr(error.__cause__, 'verify_message', '') or error.__cause__.reason})."
                ) from error
            raise JobError(f"--cluster: no scheduler answers at {address}. Start it with dask scheduler.") from error
        stack.callback(_close, client, CLOSE)
        yield Cluster(client, job.cluster)


def _check_certificates() -> None:
    from distributed.security import Security

    try:
        context = Security().get_connection_args("client").get("ssl_context")
    except OSError as error:
        raise OptionError(f"--cluster: dask's certificates cannot be read ({error}).") from error
    if context is None:
        raise OptionError(CERTIFICATES)


@contextmanager
def _quiet() -> Iterator[None]:
    """What dask logs is kept from the user, unless it is to be debugged: we say what matters of it."""
    found = [] if log.isEnabledFor(logging.DEBUG) else [logging.getLogger(name) for name in LOGGERS]
    before = [one.level for one in found]
    for one in found:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(found, before, strict=True):
            one.setLevel(level)


def _close(what: Any, timeout: float) -> None:
    with suppress(Exception):  # who does not answer in time is left alone
        what.close(timeout=timeout)
