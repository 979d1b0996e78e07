"""``kintsugi tune`` and ``kintsugi presets``: settings of samplers, chosen on held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import app
from .describe import _table

if TYPE_CHECKING:
    from ..presets import Preset


@app.command()
def tune(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="A YAML file, or a plan's name: photo-psnr, photo-texture.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The preset to write: a .yaml file.", show_default=False)
    ],
    images: Annotated[Path | None, typer.Option(help="A folder of pictures, instead of the plan's own.")] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            help="The folder of what was measured, which plans for other objectives may share [default: beside]."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count the trials, estimate the time, and stop.")
    ] = False,
    so_far: Annotated[
        bool, typer.Option("--so-far", help="Search no further: write a preset of the cases that are finished.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Search for better settings of samplers, problem by problem, and write them as a preset.

    One half of the images is for searching; what was found replaces the defaults only where it is better on the other
    half, beyond the 95 % interval. Killed at any moment, the same command goes on. Several of it divide the cases.
    """
    from ..tune import ahead, load_plan
    from ..tune import tune as run

    checked = load_plan(plan, images)
    todo = ahead(checked, output, measured=measured, device=device)
    took = f", at most about {todo.seconds / 60:.1f} minutes of one process" if todo.left else ""
    print(f"{checked.name}: {todo.cases} cases, {todo.trials} trials, {todo.left} to do{took}", flush=True)
    if dry_run:
        return
    if run(checked, output, measured=measured, device=device, so_far=so_far, say=lambda text: print(text, flush=True)):
        print(output)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="One of them, or a file: its entries too.")] = None,
) -> None:
    """List the presets that come with the package; with a name, what it has."""
    from ..presets import available_presets, load_preset

    if name is None:
        _table(("preset", "what it is for"), [(key, _told(load_preset(key))) for key in available_presets()], leading=1)
        return
    lines = [
        (entry.sampler, entry.place.shown, entry.steps, _settings(entry.settings), _gain(entry.content))
        for entry in load_preset(name).entries
    ]
    _table(("sampler", "problem", "steps", "settings", "gain"), lines)


def _told(preset: Preset) -> str:
    """What a preset is for, and what it has."""
    samplers = ", ".join(dict.fromkeys(entry.sampler for entry in preset.entries))
    found = sum(bool(entry.settings) for entry in preset.entries)
    counts = f"{len(preset.entries)} entries, {found} of them other than the defaults"
    return f"{preset.summary}\nprior {preset.prior}; {samplers}\n{counts}"


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "defaults"


def _gain(content: Mapping[str, Any]) -> str:
    """How much better than the defaults the settings are, on the images that the search did not see."""
    found = content.get("difference")
    return "" if not found else f"{found['mean']:+.2f} ± {found['half'] or 0:.2f}"
