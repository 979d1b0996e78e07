"""``kintsugi restore``: from a degraded picture to a restored one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidArgument
from . import options
from .app import app

if TYPE_CHECKING:
    from .. import Problem, Restoration
    from ..samplers import Sampler


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
    from .. import load_prior
    from .. import restore as run
    from ..images import losses, read_picture
    from ..tasks import prepare
    from . import outputs

    # Everything that can be wrong is found before the network is read.
    files = outputs.plan(output, samples, compare)
    path = options.input_path(source)
    options.refuse_overwriting([path, mask, kernel, prior], files.all)
    picture = read_picture(path)
    words = options.task_settings(
        size=(picture.height, picture.width), factor=factor, mask=mask, kernel=kernel, noise=noise, boundary=boundary,
        quality=quality, bits=bits, gain=gain, compressed=path if task == "jpeg" else None,
    )  # fmt: skip
    prepared = prepare(task, picture, words)
    files.check(picture.bits, prepared.size)
    method = _method(sampler, texture, settings or [])
    target = _device(device)
    options.say(*picture.notes, *losses(picture, output))

    model = load_prior(prior, windows=windows, **options.parse_assignments(prior_settings or [], "prior-set"))
    if label is not None or prompt is not None or guidance is not None:
        model = model.with_condition(label=label, prompt=prompt, guidance_scale=guidance)
    problem = prepared.problem.with_rows(prepared.problem.y.to(target))
    result = _run_with_bar(run, problem, model, method, steps=steps, samples=samples, seed=seed)
    outputs.write(files, prepared, result, words.mask)
    cost = result.cost
    print(f"{output}: {cost.forwards:g} forwards, {cost.vjps:g} VJPs, {cost.seconds:.1f} s on {target}")


def _run_with_bar(
    run: Any, problem: Problem, model: Any, method: Sampler, *, steps: int, samples: int, seed: int
) -> Restoration:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Elsewhere than on a terminal a bar would leave an empty line, also before an error.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("restoring", total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        result: Restoration = run(problem, model, method, steps=steps, samples=samples, seed=seed, progress=show)
    return result


def _method(name: str, texture: float | None, pairs: list[str]) -> Sampler:
    """The sampler with ``--texture`` and ``--set``. Errors: :class:`InvalidArgument` for a setting it does not have."""
    from dataclasses import fields

    from ..samplers import available_samplers, make_sampler

    settings = options.parse_assignments(pairs)
    if texture is not None:
        cls = available_samplers().get(name)
        if cls is not None and "texture" not in {f.name for f in fields(cls)}:  # type: ignore[arg-type]
            raise InvalidArgument("texture", texture, f"no such setting: the sampler {name!r} has no texture dial")
        settings["texture"] = texture
    try:
        return make_sampler(name, **settings)
    except TypeError as error:  # a word where a number belongs, which no comparison accepts
        raise InvalidArgument("set", " ".join(pairs), f"values that {name} can use ({error})") from error


def _device(name: str) -> Any:
    """A torch device that is there. Errors: :class:`InvalidArgument` for ``device``."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidArgument("device", name, "a device of this machine: auto, cpu, cuda, cuda:1, mps") from error
    return device
