"""The server: the page of gradio, our routes and the door around them, on one port."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidArgument
from ..optional import optional
from ..priors import available_priors, load_prior
from ..priors.base import Prior
from .asked import Craft
from .limits import Limits
from .mend import Mended, Work, mend
from .workshop import Job, Workshop

LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, eq=False)
class Served:
    """The ASGI application, and the workshop behind it, to be closed."""

    app: Any
    workshop: Workshop


def models(names: Sequence[str]) -> dict[str, Prior]:
    """Models by the names that visitors see: of a file its name, without the folder.

    Errors: those of :func:`kintsugi.load_prior`, and :class:`InvalidArgument` for ``prior`` where one is neither of
    pictures in colour nor of sounds.
    """
    loaded = {}
    for name in names:
        prior = load_prior(name)
        sounds = craft_of(prior) == "sounds"
        if sounds:
            optional("soundfile", "audio", "sounds in the page")
        if prior.shape is not None and (len(prior.shape), prior.shape[0]) not in (
            [(2, 1), (2, None)] if sounds else [(3, 3), (3, None)]
        ):
            raise InvalidArgument("prior", name, "a model of pictures in colour, or of sounds of one channel")
        loaded[name.replace(os.sep, "/").split("/")[-1]] = prior
    return loaded


def craft_of(prior: Prior) -> Craft:
    """Of what a model is."""
    return "sounds" if prior.shape is not None and len(prior.shape) == 2 else "pictures"


def standard() -> list[str]:
    """The models that the page offers where nothing else is said: the package's own, sounds where they can be read."""
    sounds = "sound" in available_priors() and importlib.util.find_spec("soundfile") is not None
    return ["photo", "sound"] if sounds else ["photo"]


def make_app(
    priors: Mapping[str, Prior], limits: Limits | None = None, hosts: Sequence[str] = LOCAL, device: str = "cpu"
) -> Served:
    """The application that serves the page to visitors who call it by one of ``hosts``; empty for any name."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    optional("gradio", "ui", "the page")
    from .door import Door
    from .page import mount
    from .service import Service

    limits = limits or Limits()

    def work(job: Job) -> Mended:
        return mend(Work(
            job.asked, job.source, job.mask, job.name, job.folder, priors[job.asked.prior], limits, job.report,
            job.stop.is_set, device,
        ))  # fmt: skip

    workshop = Workshop(work, limits)
    service = Service(workshop, limits, {name: craft_of(prior) for name, prior in priors.items()})
    return Served(Door(mount(service), limits.upload, hosts), workshop)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there; a free port near it if ``port`` is taken and was not asked for (0: 7860 or above).

    Errors: :class:`InvalidArgument` for ``host`` or ``port``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for candidate in range(7860, 7900) if port == 0 else (port,):
            try:
                sock.bind((host, candidate))
                break
            except socket.gaierror:
                raise InvalidArgument("host", host, "an address of this machine: 127.0.0.1, 0.0.0.0") from None
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
        else:
            raise InvalidArgument("port", port or "7860 to 7899", f"a free port ({reason})")
        sock.listen(128)  # a browser that is opened at once waits until the server answers
        yield sock


def serve(served: Served, sock: socket.socket) -> None:
    """Answer until interrupted or told to end (SIGTERM); then every file of a visitor is removed."""
    import uvicorn

    # uvicorn passes a signal on when it has ended; the usual handler of this one would leave the files where they are.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    config = uvicorn.Config(
        served.app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        served.workshop.close()
