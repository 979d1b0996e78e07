"""``kintsugi calibrate``: measure what the spread of a model's samples is worth, and write it into its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidArgument
from . import options
from .app import app


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model file, or a name of 'kintsugi priors'.")],
    folder: Annotated[Path, typer.Argument(help="A folder of pictures that the model was not trained on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.", show_default=False)],
    sampler: Annotated[str, typer.Option(help="The method; see 'kintsugi samplers'.")] = "kintsugi",
    texture: Annotated[
        float | None, typer.Option(help="Of the default sampler: 1 for samples, 0 for likeliest pictures.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the sampler; repeatable.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of the sampler.", min=1)] = 5,
    samples: Annotated[int, typer.Option(help="Samples of each problem.", min=2)] = 8,
    crops: Annotated[int, typer.Option(help="Crops of the pictures, in all.", min=1)] = 64,
    size: Annotated[int, typer.Option(help="Side of a crop in pixels.", min=16)] = 64,
    max_scale: Annotated[
        float,
        typer.Option(help="The largest scale of a picture before a crop; 0.3 makes a photograph small."),
    ] = 0.35,
    held_out: Annotated[
        float | None, typer.Option(help="Of FOLDER only what 'kintsugi train' held out with this validation_share.")
    ] = None,
    seed: options.Seed = 0,
) -> None:
    """Measure how wide intervals must be, on pictures with known truth, and add that to a copy of a model.

    Crops of the pictures are degraded in the ways of the command line's tasks and restored; for each kind of problem
    the errors among pixels of the same spread are stored, for this sampler, its settings and this number of steps.
    --calibrated of 'kintsugi restore' uses them. Entries for other settings are kept.
    """
    from ..priors import NetworkPrior, load_prior, prior_path
    from ..priors.network import save_model
    from ..progress import shown
    from ..training.data import find_images, split
    from ..uncertainty import heldout
    from .picture import Recipe, make_method

    if output.suffix != ".safetensors" or not output.absolute().parent.is_dir():
        raise InvalidArgument("output", output, "a .safetensors file in a folder that exists")
    recipe = Recipe("denoise", sampler=sampler, texture=texture, settings=tuple(settings or ()))
    method = make_method(recipe)
    if held_out is not None and not 0 < held_out < 1:
        raise InvalidArgument("held_out", held_out, "a number between 0 and 1, as training had it")
    prior = load_prior(model)
    if not isinstance(prior, NetworkPrior):
        raise InvalidArgument("model", model, "a model file of Kintsugi's own format")
    if prior.net.config.size is not None or prior.net.config.channels != 3:
        raise InvalidArgument("model", model, "a model of colour pictures of any size")
    files = find_images(folder)
    if held_out is not None:
        files = split(files, held_out)[1]
    truth = heldout.crops(files, crops, size, seed, max_scale)
    with shown(True) as show:
        found = heldout.calibrate(prior, truth, method, steps, samples, heldout.problems(size), show)
    prior.calibrations = heldout.merged(prior.calibrations, found)
    save_model(prior, output, _precision(prior_path(model)))
    for entry in found:
        pairs = zip(entry.levels, entry.raw, strict=True)
        raw = ", ".join(f"{covered:.0%} of {level:.0%}" for level, covered in pairs)
        print(f"{entry.kind}: raw coverage {raw}")
    print(f"{output}: {len(found)} calibrations of {found[0].sampler}, {steps} steps, on {len(truth)} crops")


def _precision(path: Path) -> Any:
    """The type of the weights in a model file, so that the copy has the same."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        name = next(name for name in file.keys() if name.startswith("net."))  # noqa: SIM118
        return file.get_tensor(name).dtype
