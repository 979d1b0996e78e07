"""Peak memory of a block: of the device, or of the process where the system tells."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch


class Peak:
    """``mib`` after the block: what it took at its peak beyond what was there; nan where that is not known."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self.mib = float("nan")

    def __enter__(self) -> Self:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
            except OSError:
                self._before = -1
            else:
                self._before = _status("VmRSS")
        return self

    def __exit__(self, *error: object) -> None:
        if self._cuda:
            self.mib = (torch.cuda.max_memory_allocated() - self._before) / 2**20
        elif self._before >= 0:
            self.mib = (_status("VmHWM") - self._before) / 2**20


def _status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(key)), 0)
