"""Memory: how an error says that there is none left, sizes in words, and what the tensors of a block take."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from .errors import InvalidArgument, KintsugiError, is_whole

# What allocators say in a RuntimeError: PyTorch's on a CPU, on Apple's GPUs, and what oneDNN, cuDNN and cuBLAS need.
_SAYS = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|out of memory|std::bad_alloc|"
    r"could not (create|execute) a primitive$|(CUDNN|CUBLAS)\w*_ALLOC_FAILED"
)
_UNITS = {"": 1, **{f"{k}b": 1000**n for n, k in enumerate(("", "k", "m", "g", "t"))}}
_UNITS |= {f"{k}ib": 1024**n for n, k in enumerate(("k", "m", "g", "t"), 1)}

SPARE = 32 * 2**20  # bytes


class OutOfMemory(KintsugiError, MemoryError):
    """Memory ran out, and nothing is left that could be done in smaller parts."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a device or of the process.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("shapes cannot be multiplied"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAYS.search(str(error)) is not None


def release(device: torch.device) -> None:
    """Give what the allocator of ``device`` keeps back to it: it may lie in pieces, none of them large enough."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def bytes_of(size: int | str, name: str = "max_memory") -> int:
    """A size in bytes, which words may state. Errors: :class:`InvalidArgument` for ``name``.

    >>> bytes_of("4GiB"), bytes_of("1.5 MB"), bytes_of(1000)
    (4294967296, 1500000, 1000)
    """
    if is_whole(size, 1):
        return int(size)
    match = (
        re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?i?b)", size.strip().lower())
        if isinstance(size, str)
        else None
    )
    value = 0 if match is None or match[2] not in _UNITS else round(float(match[1]) * _UNITS[match[2]])
    if value < 1:
        raise InvalidArgument(name, size, "a size such as 4GiB or 500MB")
    return value


def in_words(size: float) -> str:
    """Bytes in words, rounded up.

    >>> in_words(3 * 2**30), in_words(1_000_000)
    ('3.0 GiB', '1 MiB')
    """
    if size >= 2**30:
        return f"{-(-size * 10 // 2**30) / 10:.1f} GiB"
    return f"{-(-size // 2**20):.0f} MiB"


def in_use(device: torch.device) -> int:
    """Bytes in use now: of tensors on a GPU, of the process elsewhere; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status().get("VmRSS", 0)


def room(device: torch.device, limit: float) -> float:
    """Bytes that may still be taken on ``device`` before ``limit``, or a :func:`wall`, is reached."""
    free = limit - in_use(device)
    if device.type != "cpu":
        return free
    if status := _status():
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if most != resource.RLIM_INFINITY:
            free = min(free, most - status["VmData"])
    return free


@contextmanager
def wall(size: int | str | None, device: torch.device) -> Iterator[None]:
    """Let the process have no more than ``size`` of memory (:func:`bytes_of`) while a block runs on a CPU; None: as it
    was.

    Allocations beyond it fail as if memory had run out, at which whoever asked makes smaller parts. What the system
    limits is what a process may write to (``RLIMIT_DATA``), written to yet or not: it may grow by as much as the
    process is below the limit, less ``SPARE`` for code that is not read in yet and for what was mapped before and is
    used later. Linux only: elsewhere nothing is done.

    Errors: :class:`InvalidArgument` for ``max_memory`` where the process has more already; :class:`OutOfMemory` where
    nothing is left that could be made smaller.
    """
    limit = None if size is None else bytes_of(size)
    if limit is None or device.type != "cpu" or not _status():
        yield
        return
    import resource

    torch.zeros(1 << 20).add_(1)  # makes the threads, which cannot be made, and end the process, where no room is left
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = _status()
    least = status["VmRSS"] + SPARE
    if limit <= least:
        expected = f"more than the {in_words(least)} that the process needs before it starts"
        raise InvalidArgument("max_memory", in_words(limit), expected)
    resource.setrlimit(resource.RLIMIT_DATA, (status["VmData"] + limit - least, hard))
    try:
        yield
    except Exception as error:  # whoever reads a file may have taken it for a damaged one
        if isinstance(error, OutOfMemory) or not any(map(ran_out, _chain(error))):
            raise
        raise OutOfMemory(f"memory ran out within max_memory, {in_words(limit)}") from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def _status() -> dict[str, int]:
    """What Linux says of the memory of this process, in bytes; empty elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: 1024 * int(words.split()[0]) for name, _, words in (line.partition(":") for line in lines)
            if words.endswith("kB")}  # fmt: skip


class TooMuch(Exception):
    """Tensors of a block of :class:`Meter` would take more than its limit."""


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that a block makes: ``live`` now, ``peak`` at most, on every device.

    What operations take for themselves, and give back before they end, is not seen. ``limit``: raise :class:`TooMuch`
    at the first tensor beyond it.
    """

    def __init__(self, limit: float = float("inf")) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._limit, self._known = limit, WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for given in tree_iter((args, kwargs)):
            if isinstance(given, Tensor):
                self._known.setdefault(given.untyped_storage(), True)  # made before the block, or seen already
        out = func(*args, **kwargs)
        for made in tree_iter(out):
            if isinstance(made, Tensor):
                self._count(made.untyped_storage())
        if self.live > self._limit:
            raise TooMuch
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = True
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.live -= size
