"""Workers on Ray: an actor for each GPU or group of cores, each a process with a model of its own.

Ray is an optional package. It passes cases, records and what makes a worker as pickles between processes of one
program; who can reach the ports of a cluster can run programs on it, which a token of its own keeps others from where
``local`` starts one.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Generic, Protocol, TypeVar

from MedSAM3SegmentLib.errors import Cancelled, EngineError, InputError, MedSAM3Error, ModelError, PackageError

from .case import Case
from .schedule_cases import PER_WORKER, Answered, Began, Event, Lost

#: The word that starts a cluster on this machine alone, for the time of a run.
LOCAL = "local"

#: Cores of a worker without a GPU, and the most that one with a GPU gets, for reading and writing.
_CORES, _MOST_CORES_OF_GPU = 4, 8

#: What Ray keeps in shared memory: cases and records are small. Its own least is 75 MiB.
_STORE_BYTES = 100 * 2**20

#: Errors that end all, by their names: what a worker says of one is a sentence and not an object.
_ERRORS: dict[str, type[MedSAM3Error]] = {
    kind.__name__: kind for kind in (InputError, ModelError, PackageError, EngineError)
}

Info = TypeVar("Info")
Done = TypeVar("Done")
Told = TypeVar("Told", covariant=True)
Made = TypeVar("Made", covariant=True)


class Worker(Protocol[Told, Made]):
    """What an actor runs. Errors that it raises end all."""

    def load(self) -> Told:
        """Load the model; what the program should know of it, the same for all workers."""

    def do(self, case: Case) -> tuple[Made | None, float]:
        """What is known of a case then and the seconds it took; None where ``stop`` was asked for before."""

    def stop(self) -> None:
        """End after the slice that is looked at."""


@dataclass(frozen=True)
class WorkerPlan:
    """How many workers there are.

    Attributes:
        cores: of each.
        gpus: of each, 0 or 1.
    """

    count: int
    cores: int
    gpus: int = 0


def plan_workers(cpus: int, gpus: int, device: str, asked: int | None) -> WorkerPlan:
    """One worker for each GPU, or where there are none (or ``device`` is the CPU) for each four cores.

    Args:
        cpus, gpus: of the whole cluster.
        asked: how many workers are wanted; None for as many as fit.

    Raises:
        InputError: there are not enough GPUs, or the device is one that Ray does not give out.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            "Ray gives each worker a device of its own, so it cannot be '{device}'; give --device cuda or cpu.",
            device=device,
        )
    if device == "cpu" or (device == "auto" and not gpus):
        count = asked or max(1, cpus // _CORES)
        return WorkerPlan(count, max(1, cpus // count))
    count = asked or gpus
    if count > gpus or not gpus:
        raise InputError(
            "There are {gpus} GPUs for {count} workers; give fewer --workers, or --device cpu.",
            gpus=gpus,
            count=count or 1,
        )
    return WorkerPlan(count, min(max(1, cpus // count), _MOST_CORES_OF_GPU), 1)


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected with.

    Attributes:
        cpus, gpus: of all machines.
        others: how many machines there are besides this one.
    """

    cpus: int
    gpus: int
    others: int


def check_ray() -> None:
    """Make sure that Ray is there; it is not loaded yet, since it reads its settings then.

    Raises:
        PackageError: it is not installed.
    """
    if find_spec("ray") is None:
        raise PackageError(
            "The package ray, which --ray needs, is not installed; run pip install 'medsam3-slicer[ray]', or leave "
            "--ray out."
        )


@contextmanager
def connected(address: str, workers: int | None = None) -> Iterator[Cluster]:
    """Within, this process is connected with a cluster; ``local`` is one that ends with the block.

    Args:
        address: ``local``, or ``HOST:PORT`` or ``auto`` for a cluster that this machine belongs to.
        workers: how many are wanted; a local cluster has cores for them at least.

    Raises:
        PackageError: Ray is not installed.
        InputError: the address is none.
        EngineError: no cluster answers there, or none could be started.
    """
    check_ray()
    if "://" in address:
        raise InputError(
            "'{address}' is no address of a cluster that this machine belongs to; give HOST:PORT of its head, or "
            "'local' for this machine alone.",
            address=address,
        )
    # Otherwise Ray tells its makers how it is used.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="ms3-", ignore_cleanup_errors=True) as folder:
        if address == LOCAL:
            os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
        import ray

        try:
            if address == LOCAL:
                from MedSAM3SegmentLib.models.threads import count_usable_cores

                ray.init(
                    address="local",
                    num_cpus=max(count_usable_cores(), workers or 1),
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    _temp_dir=folder,
                    **_QUIET,
                )
            else:
                ray.init(address=address, **_QUIET)
        except Exception as error:
            what = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            if address == LOCAL:
                raise EngineError("Ray could not be started on this machine ({why}).", why=what) from error
            raise EngineError(
                "No Ray cluster that this machine belongs to answers at {address} ({why}); start one with 'ray start "
                "--head', join it with 'ray start --address', or give --ray local.",
                address=address,
                why=what,
            ) from error
        try:
            yield _describe_cluster(ray)
        finally:
            ray.shutdown()


#: Ray prints nothing of its own: what workers print may hold names of files.
_QUIET: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "CRITICAL"}


def _describe_cluster(ray: Any) -> Cluster:
    resources = ray.cluster_resources()
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    return Cluster(int(resources.get("CPU", 1)), int(resources.get("GPU", 0)), len(others))


class RayPool(Generic[Info, Done]):
    """A pool of ``schedule_cases.WorkerPool`` whose workers are actors of Ray.

    Args:
        make: makes what an actor runs; it and what it holds are sent to the actor.
        plan: cores and GPUs of each.

    Attributes:
        info: what the first worker said when it had loaded the model; None before.
    """

    def __init__(self, make: Callable[[], Worker[Info, Done]], plan: WorkerPlan) -> None:
        import ray

        self._ray = ray
        options = {"num_cpus": plan.cores, "num_gpus": plan.gpus, "max_restarts": 0, "max_task_retries": 0}
        # One thread more, which is told to stop.
        self._actor = ray.remote(_Actor).options(max_concurrency=PER_WORKER + 1, **options)
        self._make = make
        self._actors: dict[int, Any] = {}
        self._tasks: dict[Any, tuple[int, Case | None]] = {}
        self._numbers = 0
        self.info: Info | None = None

    def start(self) -> int:
        """As ``WorkerPool.start``."""
        self._numbers += 1
        actor = self._actor.remote(self._make)
        self._actors[self._numbers] = actor
        self._tasks[actor.load.remote()] = self._numbers, None
        return self._numbers

    def submit(self, worker: int, case: Case) -> None:
        """As ``WorkerPool.submit``."""
        self._tasks[self._actors[worker].do.remote(case)] = worker, case

    def wait(self, seconds: float) -> Sequence[Event[Done]]:
        """As ``WorkerPool.wait``.

        Raises:
            InputError, ModelError, PackageError, EngineError: a worker said what ends all.
        """
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        events: list[Event[Done]] = []
        for task in ready:
            if task not in self._tasks:  # of a worker that is known to be lost by now
                continue
            worker, case = self._tasks.pop(task)
            try:
                events.append(self._event(worker, case, self._ray.get(task)))
            except self._ray.exceptions.RayTaskError as error:
                raise EngineError(
                    "A worker ended with something that should not happen ({kind}); repeat with --verbose.",
                    kind=type(error.cause).__name__,
                ) from error
            except self._ray.exceptions.RayError:
                self._forget(worker)
                events.append(Lost(worker))
        return events

    def stop(self) -> None:
        """As ``WorkerPool.stop``."""
        for actor in self._actors.values():
            actor.stop.remote()

    def _event(self, worker: int, case: Case | None, answer: Any) -> Event[Done]:
        if answer[0] == "error":
            _, kind, sentence = answer
            raise _ERRORS[kind](sentence)
        if case is not None:
            return Answered(worker, case, *answer[1])
        if self.info is None:
            self.info = answer[1]
        elif self.info != answer[1]:
            raise EngineError(
                "Workers do not have the same model and program; install the same on all machines of the cluster."
            )
        return Began(worker)

    def _forget(self, worker: int) -> None:
        actor = self._actors.pop(worker)
        # Where only the connection was lost it must not go on.
        with suppress(Exception):
            self._ray.kill(actor)
        self._tasks = {task: of for task, of in self._tasks.items() if of[0] != worker}


class _Actor:
    """The process of a worker: what it raises on purpose becomes a sentence, since no error is sent as an object."""

    def __init__(self, make: Callable[[], Worker[Any, Any]]) -> None:
        self._make: Callable[[], Worker[Any, Any]] = make
        self._worker: Worker[Any, Any] | None = None

    def load(self) -> tuple[Any, ...]:
        def load() -> Any:
            self._worker = self._make()
            return self._worker.load()

        return _said(load)

    def do(self, case: Case) -> tuple[Any, ...]:
        assert self._worker is not None
        worker = self._worker
        return _said(lambda: worker.do(case))

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()


def _said(work: Callable[[], Any]) -> tuple[Any, ...]:
    try:
        return "done", work()
    except Cancelled:
        return "done", (None, 0.0)
    except MedSAM3Error as error:
        kind = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), "EngineError")
        return "error", kind, str(error)
