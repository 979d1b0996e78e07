"""Writing files so that nothing half-written is ever visible under its final name."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InvalidArgument

LONGEST = 40  # characters of a name that its temporary file has too


def check_file(path: str | os.PathLike[str], suffixes: Collection[str], name: str = "output") -> Path:
    """Check, before any work, that a file whose name ends in one of ``suffixes`` can be written.

    Errors: :class:`InvalidArgument` for ``name``: another suffix, a folder, or one that is missing or not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise InvalidArgument(name, path, f"a file name that ends in one of {', '.join(suffixes)}")
    if path.is_dir():
        raise InvalidArgument(name, path, "a file name, not a folder")
    if not path.parent.is_dir():
        raise InvalidArgument(name, path, f"a file in a folder that exists ({path.parent} does not)")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidArgument(name, path, f"a file in a folder that can be written to ({path.parent} cannot)")
    return path


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``target``; moved onto it when the block ends well, removed when it does not.

    Errors: where the system cannot write, on a full disk say, an ``OSError`` that names ``target``, whatever the
    library that wrote has made of it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as path:
    ...         _ = path.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    target = Path(target)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem[:LONGEST]}.", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
    except Exception as error:
        if (reason := _unwritable(temporary)) is None:
            raise
        raise OSError(reason, os.strerror(reason), str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path) -> int | None:
    """Why nothing more can be written to a file, as an ``errno``: libraries do not always say so."""
    try:
        with path.open("ab") as file:
            file.write(bytes(2**16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno
    return None


def remove_half_written(target: Path) -> None:
    """Remove what a process that was killed in :func:`atomic_path` left beside ``target``, at which nobody is now.

    Names that are cut to fit are left alone: they might be those of another file.
    """
    if len(target.stem) <= LONGEST and target.parent.is_dir():
        # As tempfile makes them: eight letters, digits and underscores.
        half = re.compile(re.escape(f".{target.stem}.") + "[a-z0-9_]{8}" + re.escape(target.suffix))
        for path in target.parent.iterdir():
            if half.fullmatch(path.name):
                path.unlink(missing_ok=True)
