"""Peak memory of a block: what was allocated on a device, or the whole process where the system tells.

Of a process it is the resident memory at its highest, the interpreter and the model included: what a block adds to that
cannot be told, since memory that was freed before is used again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch


class Peak:
    """``mib`` after the block; nan where it is not known."""

    def __init__(self, device: str) -> None:
        self._device, self._cuda = device, device.startswith("cuda")
        self.mib = float("nan")

    def __enter__(self) -> Self:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
            return self
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        except OSError:
            self._known = False
        else:
            self._known = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._cuda:
            self.mib = torch.cuda.max_memory_allocated(self._device) / 2**20
        elif self._known:
            lines = Path("/proc/self/status").read_text().splitlines()
            kib = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
            self.mib = float("nan") if kib is None else kib / 2**10
