"""Who is at what: a lock file an item, held while a process works on it.

The system lets go of the lock when the process dies, however it dies, so nothing has to be cleaned up and nothing
expires. On a folder that machines share, its file system must honour locks (``flock``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Claims:
    """Locks in ``folder``, which is made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def take(self, id: str) -> FileLock | None:
        """The lock of ``id``, to be released when the item is done; None if another holds it."""
        lock = FileLock(self._folder / id)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    @contextmanager
    def claim(self, id: str) -> Iterator[bool]:
        """Whether ``id`` is ours within the block."""
        lock = self.take(id)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()
