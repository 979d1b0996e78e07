"""``kintsugi convert``: a checkpoint of another code as a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidArgument
from . import options
from .app import app


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A checkpoint: .pt, .pth, .ckpt, .bin or .safetensors.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: .safetensors.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--prior-set", metavar="NAME=VALUE", help="What the checkpoint does not say; repeatable."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="A name of 'kintsugi priors' whose settings the checkpoint has.")
    ] = None,
    full: Annotated[bool, typer.Option("--float32", help="Keep full precision; else half, at half the size.")] = False,
) -> None:
    """Write a checkpoint of ADM, NCSN++, DDPM++ or EDM as safetensors, with what its own file does not say.

    The result loads without further options, and without reading a pickle.
    """
    import torch

    from ..priors import KNOWN
    from ..priors import convert as run

    known = {}
    if like is not None:
        if like not in KNOWN:
            raise InvalidArgument("like", like, f"one of {', '.join(KNOWN)}")
        known = dict(KNOWN[like].options)
    words = known | options.parse_assignments(settings or [], "prior-set")
    run(source, output, dtype=torch.float32 if full else torch.float16, **words)
    print(f"{output}: {output.stat().st_size / 2**20:.1f} MiB")
