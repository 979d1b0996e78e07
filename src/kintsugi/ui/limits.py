"""What a visitor may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import InvalidArgument


@dataclass(frozen=True)
class Limits:
    """Bounds that hold for every client of the page.

    upload: bytes of a request. megapixels: of the picture that comes, and of the one that is made. seconds: of a sound
    of one or two channels, at 48 kHz or with as few samples at another rate. samples, steps: of one restoration. queue:
    restorations that wait, of all clients; each: that wait or run, of one. kept: finished restorations of one client
    whose files are kept. keep: seconds without a sign of a client until all of it is removed.
    """

    upload: int = 20 * 2**20
    megapixels: float = 4.0
    seconds: float = 60.0
    samples: int = 8
    steps: int = 50
    queue: int = 32
    each: int = 2
    kept: int = 4
    keep: float = 1800.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise InvalidArgument(field.name, value, "a number above 0")
