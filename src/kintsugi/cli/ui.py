"""``kintsugi ui``: the page."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from . import options
from .app import app


@app.command()
def ui(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in, whoever they are.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for the first free one from 7860.", min=0, max=65535)] = 0,
    prior: Annotated[
        list[str] | None,
        typer.Option(help="A model that visitors may choose, as of 'kintsugi restore'; repeatable. [photo, sound]"),
    ] = None,
    device: options.Device = "auto",
    max_upload: Annotated[float, typer.Option(help="Largest upload, in MiB.", min=0.1)] = 20,
    max_megapixels: Annotated[float, typer.Option(help="Largest picture, before and after.", min=0.01)] = 4,
    max_seconds: Annotated[float, typer.Option(help="Longest sound, of two channels at 48 kHz.", min=0.1)] = 60,
    queue: Annotated[int, typer.Option(help="Files that may wait, of all visitors.", min=1)] = 32,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open a page in the browser: drop a picture or a sound, say what is wrong with it, and get it mended.

    Nothing leaves this machine. One file is mended at a time; visitors take turns.
    """
    from ..optional import optional

    for package in ("gradio", "uvicorn"):
        optional(package, "ui", "the page")
    from ..ui.limits import Limits
    from ..ui.serve import LOCAL, listening, make_app, models, serve, standard
    from .picture import find_device

    limits = Limits(
        upload=round(max_upload * 2**20), megapixels=max_megapixels, seconds=max_seconds, queue=queue
    )  # fmt: skip
    where = str(find_device(device))
    priors = models(prior or standard())
    local = host in ("127.0.0.1", "localhost", "::1")
    with listening(host, port) as sock:
        served = make_app(priors, limits, LOCAL if local else (), where)
        address = f"http://{'127.0.0.1' if local else host}:{sock.getsockname()[1]}"
        print(f"{address} (Ctrl-C to stop)", flush=True)
        if browser and local:
            import webbrowser

            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            serve(served, sock)
