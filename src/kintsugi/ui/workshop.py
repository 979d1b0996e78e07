"""One restoration at a time, and who is next.

Clients take turns: whoever waits with ten files gets one mended, then everybody else who waits gets one. The queue
is bounded, and full for a client before it is full for all. A job that is stopped leaves the queue at once, or stops
computing within a step. What a client leaves behind is removed when it asks for more than is kept, when it says that
it leaves, or when nothing was heard of it for a while.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import KintsugiError
from .asked import Asked
from .limits import Limits
from .results import Mended, Report
from .steps import Stopped
from .words import plain

SWEEP = 60.0  # seconds between two looks for clients that are gone, while nothing waits
State = Literal["waiting", "running", "done", "stopped", "failed"]


class Full(KintsugiError):
    """No more can wait. ``alone``: of this client; else of all."""

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        super().__init__(
            "You already have files waiting: wait for one of them, or stop it."
            if alone
            else "Many people are mending just now, and the queue is full. Try again in a minute."
        )


@dataclass(eq=False)
class Job:
    """A restoration that a client asked for. Its folder is its own; ``name`` is what the visitor calls the file."""

    client: str
    asked: Asked
    folder: Path
    source: Path
    mask: Path | None
    name: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    report: Report = field(default_factory=Report)
    message: str = ""
    result: Mended | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

    def known_as(self) -> dict[str, str]:
        """Paths of the server, and what the visitor knows them as."""
        files = {str(self.source): self.name, str(self.folder) + "/": "", str(self.folder): "the server"}
        if self.mask is not None:
            files[str(self.mask)] = "the mask"
        return files


class Workshop:
    """Runs ``work(job)``, which returns a :class:`Mended`, for one job after another in a thread of its own."""

    def __init__(self, work: Callable[[Job], Mended], limits: Limits) -> None:
        self.work, self.limits = work, limits
        self.root = Path(tempfile.mkdtemp(prefix="kintsugi-ui-"))
        self._jobs: dict[str, Job] = {}
        self._turns: deque[str] = deque()  # clients that wait, the next one first
        self._waiting: dict[str, deque[Job]] = {}
        self._heard: dict[str, float] = {}
        self._change = threading.Condition(threading.RLock())
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="kintsugi-workshop", daemon=True)
        self._thread.start()

    def room(self, client: str) -> None:
        """Raise :class:`Full` where a further job of ``client`` would be refused."""
        with self._change:
            mine = sum(job.open for job in self._jobs.values() if job.client == client)
            if mine >= self.limits.each:
                raise Full(alone=True)
            if sum(len(waiting) for waiting in self._waiting.values()) >= self.limits.queue:
                raise Full(alone=False)

    def new_folder(self) -> Path:
        """An empty folder for a job."""
        return Path(tempfile.mkdtemp(dir=self.root))

    def submit(self, job: Job) -> None:
        """Queue a job. Errors: :class:`Full`; its folder is then removed."""
        try:
            with self._change:
                self.room(job.client)
                self._jobs[job.id] = job
                self._heard[job.client] = time.monotonic()
                if job.client not in self._waiting:
                    self._waiting[job.client] = deque()
                    self._turns.append(job.client)
                self._waiting[job.client].append(job)
                self._change.notify_all()
        except Full:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        self._keep_few(job.client)

    def find(self, client: str, id: str) -> Job:
        """A job of this client. Errors: ``KeyError``, also for one that is another's."""
        with self._change:
            job = self._jobs[id]
            if not secrets.compare_digest(job.client.encode(), client.encode()):
                raise KeyError(id)
            self._heard[client] = time.monotonic()
            return job

    def place(self, job: Job) -> int:
        """How many are mended before a waiting job, the running one included."""
        with self._change:
            if job.state != "waiting":
                return 0
            ahead = list(self._waiting[job.client]).index(job)
            turn = list(self._turns).index(job.client)
            count = ahead + sum(job.state == "running" for job in self._jobs.values())
            for at, client in enumerate(self._turns):
                if client != job.client:
                    count += min(len(self._waiting[client]), ahead + (at < turn))
            return count

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or stop it within a step."""
        job.stop.set()
        with self._change:
            if job.state == "waiting":
                self._take(job)
                self._end(job, "stopped")

    def forget(self, job: Job) -> None:
        """Stop a job and remove what there is of it."""
        self.cancel(job)
        with self._change:
            self._jobs.pop(job.id, None)
            if job.state != "running":  # else its thread removes the folder
                shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Forget clients of which nothing was heard for as long as the limits say."""
        before = time.monotonic() - self.limits.keep
        with self._change:
            gone = {client for client, at in self._heard.items() if at < before}
            jobs = [job for job in self._jobs.values() if job.client in gone]
            for client in gone:
                del self._heard[client]
        for job in jobs:
            self.forget(job)

    def close(self) -> None:
        """Stop everything and remove all files."""
        with self._change:
            self._closed = True
            jobs = list(self._jobs.values())
            self._change.notify_all()
        for job in jobs:
            self.cancel(job)
        self._thread.join(timeout=60)
        shutil.rmtree(self.root, ignore_errors=True)

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._turns and not self._closed:
                    if not self._change.wait(timeout=SWEEP):
                        self.sweep()
                if self._closed:
                    return
                job = self._waiting[self._turns[0]][0]
                self._take(job)
                if job.client in self._waiting:  # has more: the others first
                    self._turns.remove(job.client)
                    self._turns.append(job.client)
                job.state = "running"
            self._do(job)

    def _do(self, job: Job) -> None:
        state: State = "done"
        try:
            if job.stop.is_set():
                raise Stopped
            job.result = self.work(job)
        except Stopped:
            state = "stopped"
        except BaseException as error:  # the thread must live on for the others
            state, job.message = "failed", plain(error, job.known_as(), job.asked.craft)
            if not isinstance(error, KintsugiError | FloatingPointError | MemoryError):
                traceback.print_exc(file=sys.stderr)
        with self._change:
            self._end(job, state)
            if job.id not in self._jobs:
                shutil.rmtree(job.folder, ignore_errors=True)
        self._keep_few(job.client)

    def _take(self, job: Job) -> None:
        """Out of the queue."""
        waiting = self._waiting[job.client]
        waiting.remove(job)
        if not waiting:
            del self._waiting[job.client]
            self._turns.remove(job.client)

    def _end(self, job: Job, state: State) -> None:
        job.state, job.ended = state, time.monotonic()

    def _keep_few(self, client: str) -> None:
        with self._change:
            ended = [job for job in self._jobs.values() if job.client == client and not job.open]
        for job in ended[: max(0, len(ended) - self.limits.kept)]:
            self.forget(job)


def status(job: Job, place: int) -> dict[str, Any]:
    """What the page is told of a job: no path of the server in it. ``after``: milliseconds until it may ask again."""
    told: dict[str, Any] = {
        "id": job.id, "state": job.state, "name": job.name, "stage": job.report.stage, "done": job.report.done,
        "total": job.report.total, "frames": job.report.frames, "found": job.report.found, "message": job.message,
        "place": place, "after": min(3000, 250 + 150 * place),
    }  # fmt: skip
    if job.result is not None:
        result = job.result
        told["result"] = {
            "width": result.width, "height": result.height, "samples": result.samples, "files": dict(result.files),
            "frames": result.frames, "command": result.command, "python": result.python, "cost": result.cost,
            "notes": [plain(KintsugiError(note), job.known_as(), job.asked.craft) for note in result.notes],
            "found": result.found, "shown": dict(result.shown), "looks": result.looks or result.samples,
            "heard": dict(result.heard), "size": result.size, "says": result.says,
        }  # fmt: skip
    return told
