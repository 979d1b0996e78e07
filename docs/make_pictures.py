"""Make the bundled examples and the pictures of the README and docs, with the commands that the README shows.

python docs/make_pictures.py examples FOLDER_WITH_KODAK     writes src/kintsugi/data/*.png
python docs/make_pictures.py pictures                       writes docs/pictures/*.png from the examples
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
DATA = HERE.parent / "src" / "kintsugi" / "data"
PICTURES = HERE / "pictures"


def examples(kodak: Path) -> None:
    """Damage two Kodak photographs: scratches and writing on one, a quarter of the size for the other."""
    parrots = Image.open(kodak / "23.png").convert("RGB")
    mask = scratches(parrots.size, seed=3)
    damaged = np.asarray(parrots).copy()
    damaged[np.asarray(mask) > 0] = (238, 232, 220)
    Image.fromarray(damaged).save(DATA / "parrots.png", optimize=True)
    mask.save(DATA / "parrots-mask.png", optimize=True)
    lighthouse = Image.open(kodak / "21.png").convert("RGB")
    kintsugi("degrade", save(lighthouse), "-o", DATA / "lighthouse.png", "--task", "sr", "--factor", "4")


def scratches(size: tuple[int, int], seed: int) -> Image.Image:
    """White where paint has come off: curved scratches, blots, and a line of writing."""
    rng = np.random.default_rng(seed)
    width, height = size
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(14):
        point, direction = rng.uniform((0, 0), size), rng.uniform(0, 2 * np.pi)
        line = [tuple(point)]
        for _ in range(rng.integers(15, 45)):
            direction += rng.normal(0, 0.25)
            point = point + 12 * np.array((np.cos(direction), np.sin(direction)))
            line.append(tuple(point))
        draw.line(line, fill=255, width=int(rng.integers(3, 9)), joint="curve")
    for _ in range(9):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(5, 15)
        draw.ellipse((x - r, y - 0.8 * r, x + r, y + 0.8 * r), fill=255)
    font = ImageFont.load_default(size=44)
    draw.text((width * 0.24, height * 0.84), "kintsugi  1999 - 2026", fill=255, font=font)
    return mask.point(lambda v: 255 * (v > 0)).convert("1")  # antialiased edges are damaged too


def pictures() -> None:
    """Restore the examples and put them side by side."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.png"
        mask = ("--task", "inpaint", "--mask", "example:parrots-mask")
        kintsugi("restore", "example:parrots", "-o", out, *mask)
        side_by_side([Image.open(DATA / "parrots.png"), Image.open(out)], PICTURES / "inpaint.jpg")
        small = Image.open(DATA / "lighthouse.png")
        sr = ("--task", "sr", "--factor", "4")
        dial = []
        for texture in ("0", "0.5", "1"):
            kintsugi("restore", "example:lighthouse", "-o", out, *sr, "--texture", texture)
            dial.append(Image.open(out).copy())
        nearest = small.resize(dial[0].size, Image.Resampling.NEAREST)
        box = (230, 130, 486, 386)
        side_by_side([picture.crop(box) for picture in (nearest, *dial)], PICTURES / "texture.jpg")


def side_by_side(images: list[Image.Image], target: Path, gap: int = 8) -> None:
    """Paste images of one size next to each other."""
    width, height = images[0].size
    sheet = Image.new("RGB", (len(images) * (width + gap) - gap, height), "white")
    for i, image in enumerate(images):
        sheet.paste(image.convert("RGB"), (i * (width + gap), 0))
    sheet.save(target, quality=90)


def save(image: Image.Image) -> Path:
    """Write ``image`` into a temporary folder."""
    path = Path(tempfile.mkdtemp()) / "picture.png"
    image.save(path)
    return path


def kintsugi(*arguments: object) -> None:
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "kintsugi", *map(str, arguments)], check=True)


if __name__ == "__main__":
    examples(Path(sys.argv[2])) if sys.argv[1] == "examples" else pictures()
