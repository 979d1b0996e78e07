"""Who is at what: a lock file an item, held while a process works on it.

The system lets go of the lock when the process dies, however it dies, so nothing has to be cleaned up and nothing
expires. A mark beside the lock stays then, which says that a process died at this item: it should come last, so that an
item that costs every process its life, for lack of memory say, does not keep the others waiting. On a folder that
machines share, its file system must honour locks (``flock``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Claim:
    """An item that is ours until it is released. ``again``: a process died at it before."""

    lock: FileLock
    mark: Path
    again: bool

    def release(self) -> None:
        """Let others have the item."""
        self.mark.unlink(missing_ok=True)
        self.lock.release()


class Claims:
    """Locks in ``folder``, which is made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def take(self, id: str) -> Claim | None:
        """The item ``id``, to be released when it is done; None if another holds it."""
        lock = FileLock(self._folder / id)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        mark = self._mark(id)
        again = mark.exists()
        mark.touch()
        return Claim(lock, mark, again)

    @contextmanager
    def claim(self, id: str) -> Iterator[bool]:
        """Whether ``id`` is ours within the block."""
        claim = self.take(id)
        try:
            yield claim is not None
        finally:
            if claim is not None:
                claim.release()

    @contextmanager
    def alone(self, id: str) -> Iterator[None]:
        """Wait until nobody else is in a block of this ``id``: for what several processes write, in a moment."""
        with FileLock(self._folder / id):
            yield

    def died(self, id: str) -> bool:
        """Whether a process died at ``id``, unless one is at it now."""
        return self._mark(id).exists()

    def forget(self, ids: Collection[str]) -> None:
        """Remove the marks of items that are done, as a process leaves one that was stopped after its last write."""
        for mark in self._folder.glob("*.at"):
            if mark.stem in ids:
                mark.unlink(missing_ok=True)

    def _mark(self, id: str) -> Path:
        return self._folder / f"{id}.at"
