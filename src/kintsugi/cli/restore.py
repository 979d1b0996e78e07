"""``kintsugi restore``: from a degraded picture or sound to a restored one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidArgument
from . import options
from .app import app
from .as_json import JsonOption, emit, messages_aside
from .complete import prior_names, sampler_names


@app.command()
def restore(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="A picture or sound: a file, or example:NAME for a bundled one; or a folder of either."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: .png, .jpg, .webp, .tif or .bmp; .wav, .flac, .ogg or .mp3; or a folder for a "
            "folder.",
            show_default=False,
        ),
    ],
    task: options.TaskOption,
    mask: options.Mask = None,
    factor: options.Factor = None,
    kernel: options.Kernel = None,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the noise, 0 to 1 from black to white (25 of 255 is 0.098), of sounds of a "
            "full scale of 1; or auto to estimate it. Without it: the rounding of the file only; of sounds, with the "
            "tasks denoise and dereverb, auto.",
        ),
    ] = None,
    boundary: options.Boundary = "unknown",
    quality: options.Quality = None,
    bits: options.Bits = None,
    gain: options.Gain = 2.0,
    fade: options.Fade = None,
    level: options.Level = None,
    frequency: options.Frequency = None,
    sampler: Annotated[
        str, typer.Option(help="The method; see 'kintsugi samplers'.", autocompletion=sampler_names)
    ] = "kintsugi",
    preset: options.Preset = None,
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
        str | None,
        typer.Option(
            help="A model: a name of 'kintsugi priors', a file, a folder, or owner/name on the hub [default: photo; of "
            "sounds: sound].",
            autocompletion=prior_names,
        ),
    ] = None,
    second_prior: Annotated[
        str | None,
        typer.Option(help="separate: a model of the second source.", autocompletion=prior_names),
    ] = None,
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
    device: options.Device = "auto",
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also write OUT-compare.png: input and output, of sounds their spectrograms."),
    ] = False,
    max_memory: Annotated[
        str | None,
        typer.Option(help="Work in parts that fit into this, as in 4GiB (docs/reliability.md)."),
    ] = None,
    uncertainty: options.Uncertainty = None,
    invented: options.Invented = None,
    calibrated: options.Calibrated = False,
    strength: options.Strength = None,
    blend: options.Blend = 0.0,
    keep_grain: options.KeepGrain = 0.0,
    keep_surface: options.KeepSurface = 0.0,
    suffix: Annotated[
        str | None, typer.Option(help="Folders: of the files to write, as in .png [default: that of each picture].")
    ] = None,
    workers: options.Workers = None,
    engine: options.Engine = "process",
    address: options.Address = None,
    cpus: options.Cpus = 1,
    gpus: options.Gpus = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show the result in the terminal, if it can: iTerm2, kitty, sixel.")
    ] = False,
    json: JsonOption = False,
    as_worker: options.AsWorker = False,
) -> None:
    """Restore a degraded picture or sound, or all of a folder.

    With --samples N the file OUT is the first of them, and OUT-sample1 to OUT-sampleN, OUT-mean and OUT-std.png are
    written too. OUT-std.png is the standard deviation at each pixel: black where all samples agree, white where they
    differ by a quarter of the range from black to white or more.

    Of sounds there is no OUT-std; --task separate writes the second source to OUT-second.

    Every picture or sound below a folder keeps its name; --mask may be a folder of masks of the same names. What
    cannot be restored is told at the end and does not stop the others; the exit code is then 1. The same command again
    goes on, and does what failed or has changed.
    """
    from ..memory import wall
    from ..progress import shown
    from . import picture
    from .crafts import craft_of

    path = options.input_path(source)
    craft = craft_of(path, task)
    recipe = picture.Recipe(
        task=task, mask=mask, factor=craft.factor if factor is None else factor, kernel=kernel, noise=noise,
        boundary=boundary, quality=quality, bits=bits, gain=gain, fade=fade, sampler=sampler, preset=preset,
        steps=steps, texture=texture, settings=tuple(settings or ()), samples=samples, seed=seed,
        prior=prior or craft.prior, prior_settings=tuple(prior_settings or ()), label=label, prompt=prompt,
        guidance=guidance, windows=windows, compare=compare, max_memory=max_memory, uncertainty=uncertainty,
        invented=invented, calibrated=calibrated, strength=strength, blend=blend, keep_grain=keep_grain,
        keep_surface=keep_surface, level=level, frequency=frequency, second_prior=second_prior,
    )  # fmt: skip
    cluster = options.cluster(engine, workers, address, cpus, gpus, device)
    if path.is_dir():
        from .folder import Wanted, restore_folder

        single = (("show", show), ("uncertainty", uncertainty), ("invented", invented), ("calibrated", calibrated))
        for name, asked in single:
            if asked:
                raise InvalidArgument(name, source, "a single picture")
        wanted = Wanted(path, output, recipe, suffix, device, workers or 1, cluster)
        with messages_aside(json):
            failed = restore_folder(wanted, as_worker)
        if json:
            emit({"output": output, "failed": failed})
        if failed:
            raise typer.Exit(1)
        return
    for name, value in (("workers", workers), ("suffix", suffix), ("engine", None if cluster is None else engine)):
        if value is not None:
            raise InvalidArgument(name, value, f"none for a single file ({source} is no folder)")
    if show and craft.what == "sounds":
        raise InvalidArgument("show", show, "none for sounds; --compare writes a picture")
    # Everything that can be wrong is found before the network is read.
    target = picture.find_device(device)
    with wall(max_memory, target):
        ready = craft.make_ready(path, output, recipe)
        method = craft.make_method(recipe)
        options.say(*ready.notes)
        model = craft.make_model(recipe)
        with shown(True) as progress:
            cost, notes = craft.restore_ready(ready, recipe, model, method, target, progress)
    options.say(*notes)
    if json:
        done = {"output": output, "files": ready.files.all, "device": target, "cost": asdict(cost)}
        emit(done | {"notes": (*ready.notes, *notes), "recipe": asdict(recipe)})
    else:
        print(f"{output}: {picture.told(cost, target)}")
    if show:
        from .inline import show as show_picture

        if not show_picture(ready.files.compare or ready.files.first):
            options.say("this terminal shows no pictures; those of iTerm2 and kitty, and with sixel, do")
