"""``kintsugi restore``: from a degraded picture to a restored one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from . import options
from .app import app


@app.command()
def restore(
    source: options.Input,
    output: options.Output,
    task: options.TaskOption,
    mask: options.Mask = None,
    factor: options.Factor = 4,
    kernel: options.Kernel = None,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the noise, 0 to 1 from black to white (25 of 255 is 0.098), or auto to "
            "estimate it from the picture. Without it: the rounding of the file only.",
        ),
    ] = None,
    boundary: options.Boundary = "unknown",
    quality: options.Quality = None,
    bits: options.Bits = None,
    gain: options.Gain = 2.0,
    sampler: Annotated[str, typer.Option(help="The method; see 'kintsugi samplers'.")] = "kintsugi",
    steps: Annotated[int, typer.Option(help="Steps of the sampler.", min=1)] = 5,
    texture: Annotated[
        float | None,
        typer.Option(help="From 0, the most likely picture, to 1, a sample with the texture of the real thing."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another setting of the sampler; repeatable."),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many different restorations to draw.", min=1)] = 1,
    seed: options.Seed = 0,
    prior: Annotated[
        str, typer.Option(help="A model: a name of 'kintsugi priors', a file, a folder, or owner/name on the hub.")
    ] = "photo",
    prior_settings: Annotated[
        list[str] | None,
        typer.Option("--prior-set", metavar="NAME=VALUE", help="What the model's file does not say; repeatable."),
    ] = None,
    label: Annotated[int | None, typer.Option(help="A class of the model, where it has classes.", min=0)] = None,
    prompt: Annotated[str | None, typer.Option(help="What the picture shows, for a model that takes text.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How much --label or --prompt is exaggerated; 1 is not at all.")
    ] = None,
    windows: Annotated[
        bool, typer.Option("--windows", help="Overlapping windows, for a model of pictures of one size.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    compare: Annotated[bool, typer.Option("--compare", help="Also write OUT-compare.png: input and output.")] = False,
) -> None:
    """Restore a degraded picture.

    With --samples N the file OUT is the first of them, and OUT-sample1 to OUT-sampleN, OUT-mean and OUT-std.png are
    written too. OUT-std.png is the standard deviation at each pixel: black where all samples agree, white where they
    differ by a quarter of the range from black to white or more.
    """
    from . import picture

    recipe = picture.Recipe(
        task=task, mask=mask, factor=factor, kernel=kernel, noise=noise, boundary=boundary, quality=quality, bits=bits,
        gain=gain, sampler=sampler, steps=steps, texture=texture, settings=tuple(settings or ()), samples=samples,
        seed=seed, prior=prior, prior_settings=tuple(prior_settings or ()), label=label, prompt=prompt,
        guidance=guidance, windows=windows, compare=compare,
    )  # fmt: skip
    # Everything that can be wrong is found before the network is read.
    ready = picture.make_ready(options.input_path(source), output, recipe)
    method, target = picture.make_method(recipe), picture.find_device(device)
    options.say(*ready.notes)
    model = picture.make_model(recipe)
    with _bar() as show:
        cost = picture.restore_ready(ready, recipe, model, method, target, show)
    print(f"{output}: {picture.told(cost, target)}")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal, as a function of steps done and steps in all."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Elsewhere than on a terminal a bar would leave an empty line, also before an error.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("restoring", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
