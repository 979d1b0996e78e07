"""Units of work on Ray: the driver claims, sends, and keeps what comes back.

A unit is one Ray task, so that Ray does the placement, and the retries where a worker or its machine is lost. Ray
keeps worker processes, and they keep their model. At most as many tasks are sent as there are workers: what waits,
waits here, and what a unit needs (pictures) is read only when it is sent. Results are given to the :class:`Job` as they
come.

When nothing waits and a worker is free, a unit that takes far longer than the others did for their cost is given to a
second worker. The first result counts, and the other task is cancelled; items are pure functions, so it does not matter
which one that is.
"""

from __future__ import annotations

import os
import statistics
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ..errors import InvalidArgument, KintsugiError
from ..optional import optional
from .units import Unit

Item = TypeVar("Item")
LOOK = 1.0  # seconds between two looks at the cluster while nothing comes back


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs, and what a worker is given.

    ``address``: of a running Ray, ``auto`` to find it; None for what ``RAY_ADDRESS`` says, else a Ray of our own on
    this machine, which ends with the work. ``workers``: tasks at a time; None for as many as there is room for.
    ``cpus`` and ``gpus``: of each; half a GPU is possible. ``retries``: of a unit whose worker was lost. ``patience``:
    a unit that takes so many times longer than others of its cost is given to a second worker.
    """

    workers: int | None = None
    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0
    retries: int = 3
    patience: float = 3.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InvalidArgument("workers", self.workers, "at least 1")
        if self.cpus < 1:
            raise InvalidArgument("cpus", self.cpus, "at least 1 a worker")
        if not 0 <= self.gpus < float("inf"):
            raise InvalidArgument("gpus", self.gpus, "a number of at least 0 a worker")
        if self.retries < 0:
            raise InvalidArgument("retries", self.retries, "at least 0")
        if not self.patience > 1:
            raise InvalidArgument("patience", self.patience, "more than 1")


class Job(Protocol[Item]):
    """What is to be done with items. ``function(shared, given, item)`` runs on a worker; it must stand in a module that
    the workers can import, and depend on its arguments alone. The methods run in the driver."""

    @property
    def function(self) -> Callable[[Any, Any, Item], Any]: ...

    def shared(self) -> Any:
        """What every item needs: it is put into Ray's object store once."""

    def take(self, items: Sequence[Item]) -> tuple[list[Item], Any]:
        """Those of ``items`` that are ours to do, and what they need besides, ``given``: called when they are sent."""

    def done(self, item: Item, result: Any) -> None:
        """The result of one item."""

    def failed(self, item: Item, reason: str, trace: str) -> None:
        """Why there is none."""


@dataclass(eq=False)
class _Sent:
    """A unit that was sent. ``tasks``: when each of its tasks was sent, by its reference."""

    items: list[Any]
    cost: float
    given: Any
    tasks: dict[Any, float] = field(default_factory=dict)


def run_on_ray(units: Sequence[Unit[Item]], job: Job[Item], cluster: Cluster) -> None:
    """Do all ``units``, in their order as workers become free.

    An item that raises an exception is given to ``job.failed`` and does not stop the others. A unit that costs its
    worker's life more than ``retries`` times is cut into its items, so that only those that do it are lost.

    Errors: :class:`MissingPackage` without Ray, :class:`InvalidArgument` where the cluster cannot be reached or has no
    room for a worker.
    """
    ray = optional("ray", "ray", "the engine ray")
    with _connected(ray, cluster):
        _Run(ray, job, cluster).all(units)


class _Run:
    def __init__(self, ray: Any, job: Job[Any], cluster: Cluster) -> None:
        self._ray, self._job, self._cluster = ray, job, cluster
        # max_calls: Ray would else end a worker that has a GPU after every task, and the model with it.
        options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_calls": 0, "max_retries": cluster.retries}
        self._task = ray.remote(**options)(run_unit)
        self._function, self._shared = job.function, ray.put(job.shared())
        self._waiting: deque[_Sent | Unit[Any]] = deque()
        self._running: dict[Any, _Sent] = {}
        self._rates: list[float] = []

    def all(self, units: Sequence[Unit[Any]]) -> None:
        self._waiting.extend(units)
        while self._waiting or self._running:
            room = self._room()
            while self._waiting and len(self._running) < room:
                self._send(self._waiting.popleft())
            if not self._waiting and len(self._running) < room:
                self._send_again()
            if self._running:
                ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=LOOK)
                for task in ready:
                    self._collect(task)

    def _room(self) -> int:
        # A cluster that grows by demand may have none at first: one task asks for the first machine.
        return self._cluster.workers or max(_room(self._ray, self._cluster), 1)

    def _send(self, unit: _Sent | Unit[Any]) -> None:
        if isinstance(unit, Unit):
            items, given = self._job.take(unit.items)
            if not items:
                return
            unit = _Sent(items, unit.cost * len(items) / len(unit.items), self._ray.put(given))
        self._start(unit, {})

    def _start(self, unit: _Sent, options: dict[str, Any]) -> None:
        task = self._task.options(name="kintsugi", **options).remote(
            self._function, self._shared, unit.given, unit.items, self._cluster.cpus
        )
        unit.tasks[task] = time.monotonic()
        self._running[task] = unit

    def _send_again(self) -> None:
        """The unit that is most overdue, to a second worker, on another machine if there is one."""
        if not self._rates:
            return
        usual, now = statistics.median(self._rates), time.monotonic()

        def times(unit: _Sent) -> float:
            return (now - min(unit.tasks.values())) / max(usual * unit.cost, LOOK)

        alone = [unit for unit in self._running.values() if len(unit.tasks) == 1]
        late = max(alone, key=times, default=None)
        if late is not None and times(late) > self._cluster.patience:
            self._start(late, {"scheduling_strategy": "SPREAD"})

    def _collect(self, task: Any) -> None:
        unit = self._running.pop(task, None)
        if unit is None:
            return  # cancelled meanwhile
        began = unit.tasks.pop(task)
        try:
            outcomes = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            if not unit.tasks:  # or else its second task may still succeed
                self._lost(unit, error)
            return
        self._rates.append((time.monotonic() - began) / max(unit.cost, 1e-9))
        for other in list(unit.tasks):
            self._running.pop(other)
            # By force, since it may hang; the worker that this ends is not needed, for nothing waits.
            self._ray.cancel(other, force=True)
        for item, (well, value) in zip(unit.items, outcomes, strict=True):
            if well:
                self._job.done(item, value)
            else:
                self._job.failed(item, *value)

    def _lost(self, unit: _Sent, error: Exception) -> None:
        crashed = not isinstance(error, self._ray.exceptions.RayTaskError)
        if crashed and len(unit.items) > 1:
            share = unit.cost / len(unit.items)
            self._waiting.extend(_Sent([item], share, unit.given) for item in unit.items)
            return
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"{type(error).__name__}: {lines[-1] if not crashed else lines[0]}"
        for item in unit.items:
            self._job.failed(item, reason, str(error))


def run_unit(
    function: Callable[[Any, Any, Any], Any], shared: Any, given: Any, items: Sequence[Any], cpus: int
) -> list[tuple[bool, Any]]:
    """On a worker: of each item whether it went well, and its result or the reason and the traceback."""
    import torch

    torch.set_num_threads(cpus)
    outcomes: list[tuple[bool, Any]] = []
    for item in items:
        try:
            outcomes.append((True, function(shared, given, item)))
        except Exception as error:  # whatever it is, the other items are not to be lost for it
            outcomes.append((False, (reason_of(error), traceback.format_exc())))
    return outcomes


def reason_of(error: BaseException) -> str:
    """An exception in one line; of one that nobody expects, with its type."""
    line = " ".join(str(error).split())
    if isinstance(error, KintsugiError | FloatingPointError) and line:
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _room(ray: Any, cluster: Cluster) -> int:
    """How many workers fit on the machines of the cluster, each on one machine."""
    count = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            fit = has.get("CPU", 0) / cluster.cpus
            if cluster.gpus:
                fit = min(fit, has.get("GPU", 0) / cluster.gpus)
            count += int(fit)
    return count


@contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[None]:
    """Ray, which is left as it was found."""
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            cpus = None if cluster.workers is None else cluster.workers * cluster.cpus
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidArgument("address", address, f"a Ray that can be reached ({reason})") from error
    try:
        if address == "local" and _room(ray, cluster) < 1:
            wanted = f"{cluster.cpus} CPUs, {cluster.gpus:g} GPUs"
            raise InvalidArgument("gpus", wanted, "what this machine has for at least one worker")
        yield
    finally:
        ray.shutdown()
