"""``kintsugi train`` and ``kintsugi plot-log``."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import InvalidArgument, InvalidFile
from . import options
from .app import app

if TYPE_CHECKING:
    from ..priors.network import NetworkPrior


@app.command()
def train(
    folder: Annotated[
        Path, typer.Argument(help="A folder of pictures, arrays or sounds, searched with its subfolders.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the model, checkpoint and log.")],
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser.")] = None,
    batch: Annotated[int | None, typer.Option(help="Crops a step and process.")] = None,
    crop: Annotated[int | None, typer.Option(help="Side of a crop in pixels.")] = None,
    optimizer: Annotated[
        Literal["muon", "adam"] | None, typer.Option(help="Muon, of the convolutions inside the network, or Adam.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate after the warm-up.")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps of the warm-up.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the moving average of the weights.")] = None,
    oversample: Annotated[float | None, typer.Option(help="0: every file alike; 1: every pixel alike.")] = None,
    min_scale: Annotated[float | None, typer.Option(help="The most a picture is reduced before a crop.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Whole pictures of this side, reduced to it, instead of crops.", min=1)
    ] = None,
    orientations: Annotated[
        Literal["all", "mirrored", "one"] | None, typer.Option(help="All eight; mirrored or not; as it is.")
    ] = None,
    augment: Annotated[
        float | None, typer.Option(help="Share of the pictures that are shifted, zoomed, turned, recoloured; 0 to 1.")
    ] = None,
    objective: Annotated[
        Literal["denoising", "flow"] | None, typer.Option(help="A denoiser, or the velocity of a flow.")
    ] = None,
    cooldown: Annotated[
        int | None, typer.Option(help="Last steps, in which the learning rate falls; before them it is constant.")
    ] = None,
    mixed_precision: Annotated[Literal["no", "bf16", "fp16"] | None, typer.Option(help="Of the network.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints and log lines.")] = None,
    validate_every: Annotated[
        int | None, typer.Option(help="Steps between validations; a multiple of the above.")
    ] = None,
    widths: Annotated[str | None, typer.Option(help="Channels of each level of the network, as in 32,64,128.")] = None,
    blocks: Annotated[str | None, typer.Option(help="Blocks of each level of the network, as in 1,2,2.")] = None,
    attention: Annotated[
        str | None, typer.Option(help="Levels with self-attention, counted from 0, as in 2,3; needs --size.")
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(help="Sounds instead of pictures, in frames of so many samples, as in 512.", min=2),
    ] = None,
    norm: Annotated[
        bool | None,
        typer.Option(help="Normalise the channels of each pixel inside a block; by default not for crops of pictures."),
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of activations that training drops.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", min=0)] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Begin with the weights of this model: a name of 'kintsugi priors', or a file.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another field of TrainConfig; repeatable.")
    ] = None,
) -> None:
    """Train a model on a folder of pictures, or go on with an interrupted run.

    Instead of pictures there may be .npy files: arrays of floats (channels, height, width) in [-1, 1], all with the
    same number of channels. With --frame it is sounds (WAV, FLAC, OGG, MP3), made mono and resampled to 16 kHz.

    A run whose output folder holds a checkpoint continues from it, at the exact step. Options that are not given have
    the defaults of TrainConfig, and those of the network what the model of --start-from has. Ctrl-C finishes the step,
    saves and stops.
    """
    from ..priors.embedded import prior_path
    from ..priors.network import load_model

    given = {
        "steps": steps, "batch": batch, "crop": crop, "optimizer": optimizer, "lr": lr, "warmup": warmup, "ema": ema,
        "seed": seed, "oversample": oversample, "min_scale": min_scale, "mixed_precision": mixed_precision,
        "save_every": save_every, "validate_every": validate_every, "size": size, "orientations": orientations,
        "augment": augment, "objective": objective, "cooldown": cooldown,
    }  # fmt: skip
    net: dict[str, Any] = {
        name: _integers(name, text, least)
        for name, text, least in (("widths", widths, 1), ("blocks", blocks, 1), ("attention", attention, 0))
        if text is not None
    }  # fmt: skip
    others = {"dropout": dropout, "frame": frame, "norm": norm}
    net |= {name: value for name, value in others.items() if value is not None}
    asked = {name: value for name, value in given.items() if value is not None}
    if start_from is not None:
        known, known_net = _like(load_model(prior_path(start_from)))
        asked, net = known | asked, known_net | net
    net["size"] = asked.get("size")
    whole = net["size"] is not None or net.get("frame") is not None
    net.setdefault("norm", whole)  # photographs do without it; of others we do not know
    config = _config(asked, net, settings or [])
    try:
        import accelerate  # noqa: F401
    except ImportError as error:
        raise InvalidArgument("train", "no accelerate", "pip install 'kintsugi-diffusion[train]'") from error
    from ..training.loop import train as run

    if output.exists() and not output.is_dir():
        raise InvalidArgument("output", output, "a folder, new or with a run to go on with")
    resumed = (output / "checkpoint.pt").exists()
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes the first
    if speaks:
        print(f"{'going on with' if resumed else 'starting'} {output}, {config.steps} steps", flush=True)
    prior = run(folder, output, config, start_from=start_from and prior_path(start_from), report=_report)
    if speaks:
        print(f"{output / 'model.safetensors'}: trained for {prior.card['step']} steps")


@app.command("plot-log")
def plot_log(
    folder: Annotated[Path, typer.Argument(help="The output folder of 'kintsugi train', or its log.jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to draw: .png, .svg or .pdf.")],
) -> None:
    """Draw the loss and the validation of a training run. Needs matplotlib."""
    if output.suffix.lower() not in (".png", ".svg", ".pdf") or not output.parent.is_dir():
        raise InvalidArgument("output", output, "a .png, .svg or .pdf file in a folder that exists")
    path = folder / "log.jsonl" if folder.is_dir() else folder
    records = read_log(path)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidArgument("plot-log", "no matplotlib", "pip install matplotlib") from error
    from ..files import atomic_path

    losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
    checks = [(r["step"], r["validation"]) for r in records if "validation" in r]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([step for step, _ in losses], [loss for _, loss in losses])
    left.set(xlabel="step", ylabel="loss")
    for level in checks[-1][1] if checks else ():
        known = [(step, scores[level]) for step, scores in checks if level in scores]
        right.plot([step for step, _ in known], [psnr for _, psnr in known], marker=".", label=f"eta {level}")
    right.set(xlabel="step", ylabel="denoising PSNR, dB (held-out crops)")
    if checks:
        right.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=120)
    print(f"{output}: {len(losses)} log lines, {len(checks)} validations")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a ``log.jsonl``, in order. Errors: :class:`InvalidFile`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        if not records or not all(map(_is_record, records)):
            raise ValueError("no records of a training run")
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidFile(path, f"not a readable training log ({error})") from error
    return records


def _is_record(value: Any) -> bool:
    """Whether it has a step, and where it has a loss and validations by level numbers that can be drawn, or NaN."""
    if not isinstance(value, dict) or not isinstance(value.get("validation", {}), dict):
        return False
    numbers = [value.get("step"), value.get("loss", 0.0), *value.get("validation", {}).values()]
    right = (isinstance(n, int | float) and not isinstance(n, bool) and not 1e300 < abs(n) < math.inf for n in numbers)
    return all(right) and abs(numbers[0]) < math.inf


def _like(model: NetworkPrior) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and network of a run that begins with ``model``, but for what pictures and augmentation decide."""
    net = {f.name: getattr(model.net.config, f.name) for f in fields(model.net.config)}
    del net["channels"], net["labels"]
    return {"data_variance": model.data_variance, "size": net["size"]}, net


def _config(given: dict[str, Any], net: dict[str, Any], pairs: list[str]) -> Any:
    from ..priors.unet import UNetConfig
    from ..training.config import TrainConfig

    extra = options.parse_assignments(pairs)
    known = {f.name for f in fields(TrainConfig)} - {"net"}
    unknown = sorted(set(extra) - known)
    if unknown:
        raise InvalidArgument("set", unknown[0], f"one of {', '.join(sorted(known))}")
    try:
        if net.get("frame") is not None:
            return TrainConfig.for_sounds(UNetConfig(channels=1, **net), **given | extra)
        return TrainConfig(**given | extra, net=UNetConfig(**net))
    except TypeError as error:  # a value of another type, which no comparison accepts
        raise InvalidArgument("set", " ".join(pairs), f"values of the fields' types ({error})") from error


def _integers(name: str, text: str, least: int) -> tuple[int, ...]:
    try:
        values = tuple(int(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < least:
        kind = "positive whole numbers" if least else "whole numbers of at least 0"
        raise InvalidArgument(name, text, f"{kind}, as in {'32,64,128' if least else '2,3'}")
    return values


def duration(seconds: float) -> str:
    """A time in the units that suit it, rounded up to two figures or so.

    >>> duration(50), duration(1000), duration(20_000), duration(400_000)
    ('about a minute', 'about 17 minutes', 'about 5 h 40 min', 'about 4.7 days')
    """
    if seconds <= 60:
        return "about a minute"
    if seconds < 5400:
        return f"about {math.ceil(seconds / 60)} minutes"
    if seconds < 2 * 86_400:
        hours, minutes = divmod(math.ceil(seconds / 600) * 10, 60)
        return f"about {hours} h {minutes} min"
    return f"about {math.ceil(seconds / 8640) / 10:g} days"


def _report(record: dict[str, Any]) -> None:
    if "expected" in record:
        steps, seconds = record["left"], record["expected"]
        print("{pictures} to train on, each seen {passes:.3g} times, and {held_out} held out".format(**record))
        print(
            f"{steps} steps, {seconds:.3g} s each: {duration(steps * seconds)}, if this machine stays as busy as it is"
        )
    elif "validation" in record:
        scores = "  ".join(f"eta {level}: {psnr}" for level, psnr in record["validation"].items())
        print(f"step {record['step']}  PSNR in dB  {scores}", flush=True)
    else:
        print("step {step}  loss {loss:.4f}  lr {lr:.2e}  {seconds:.3f} s a step".format(**record), flush=True)
