"""The same damaged photograph by every method: the pictures of "How to choose a sampler".

    python docs/make_methods.py                  # pictures/methods-*.jpg and pictures/methods.json, for the page
    python docs/make_methods.py --only dps,ddim  # just these, and the sheets whose pictures are all here

The photograph is the bundled lighthouse; 70 % of its pixels are missing, at random. Each method runs
with its defaults at 5, 20 and 100 steps. A result that exists is not computed again (delete ``methods.json`` for that).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw, ImageFont

import kintsugi
from kintsugi.errors import KintsugiError
from kintsugi.operators import Mask
from kintsugi.samplers import available_samplers

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
STEPS = (5, 20, 100)
PER_SHEET = 10


def photograph() -> torch.Tensor:
    """The bundled lighthouse: (3, 128, 192) in [-1, 1]."""
    source = Path(kintsugi.__file__).parent / "data" / "lighthouse.png"
    small = Image.open(source).convert("RGB")
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 127.5 - 1


def to_image(x: torch.Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] as a picture."""
    return Image.fromarray(((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def psnr(x: torch.Tensor, truth: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (x.clamp(-1, 1) - truth).square().mean()))


def main(only: Annotated[str, typer.Option(help="Names of samplers, with commas; all if empty.")] = "") -> None:
    """Restore the photograph by each method and lay the results out."""
    folder = PICTURES / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "methods.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    truth = photograph()
    keep = torch.rand(truth.shape[1:], generator=torch.Generator().manual_seed(0)) > 0.7
    problem = kintsugi.Problem.simulate(truth[None], Mask(keep, truth.shape))
    names = [name for name in available_samplers() if not only or name in only.split(",")]
    for name in names:
        for steps in STEPS:
            key, path = f"{name}-{steps}", folder / f"{name}-{steps}.png"
            if key in known and path.exists() and not only:
                continue
            try:
                result = kintsugi.restore(problem, "photo", name, steps=steps)
            except (KintsugiError, FloatingPointError) as error:
                known[key] = {"error": str(error)[:80]}
                Image.new("RGB", (192, 128), "white").save(path)
            else:
                x = result.samples[0, 0]
                to_image(x).save(path)
                cost = result.cost
                known[key] = {
                    "psnr": round(psnr(x, truth), 2),
                    "forwards": cost.forwards,
                    "vjps": cost.vjps,
                    "seconds": round(cost.seconds, 2),
                }
            print(key, known[key], flush=True)
            record.write_text(json.dumps(known, indent=1))
    sheets(list(available_samplers()), known, folder, problem.y[0], truth)


def sheets(
    names: list[str], known: dict[str, dict[str, float]], folder: Path, y: torch.Tensor, truth: torch.Tensor
) -> None:
    """``methods-1.jpg``, ...: a row a method, a column a number of steps, the first row what was given."""
    font, small = ImageFont.load_default(size=14), ImageFont.load_default(size=11)
    for number, first in enumerate(range(0, len(names), PER_SHEET), 1):
        rows = names[first : first + PER_SHEET]
        wanted = [f"{name}-{steps}" for name in rows for steps in STEPS]
        if any(key in known and not (folder / f"{key}.png").exists() for key in wanted):
            print(f"methods-{number}.jpg: as it is, some of its pictures are not here")
            continue
        sheet = Image.new("RGB", (100 + 3 * 196, (len(rows) + 1) * 150), "white")
        draw = ImageDraw.Draw(sheet)
        for column, (label, x) in enumerate((("measured", y), ("truth", truth))):
            sheet.paste(to_image(x), (100 + 196 * column, 16))
            draw.text((100 + 196 * column, 0), label, fill="black", font=small)
        for i, name in enumerate(rows, 1):
            draw.text((4, 150 * i + 60), name, fill="black", font=font)
            for column, steps in enumerate(STEPS):
                entry = known.get(f"{name}-{steps}")
                if entry is None:
                    continue
                at = (100 + 196 * column, 150 * i + 16)
                sheet.paste(Image.open(folder / f"{name}-{steps}.png"), at)
                said = (
                    f"{steps} steps: {entry['psnr']} dB, {entry['forwards']:.0f} + {entry['vjps']:.0f}"
                    if "psnr" in entry
                    else f"{steps} steps: {entry['error']}"[:34]
                )
                draw.text((at[0], at[1] - 14), said, fill="black", font=small)
        sheet.save(PICTURES / f"methods-{number}.jpg", quality=88)


if __name__ == "__main__":
    typer.run(main)
