"""What a model of whole pictures makes of nothing, and whether it learned its training pictures by heart.

    python benchmarks/faces.py card MODEL FOLDER -o OUTPUT            everything for the model card: see below
    python benchmarks/faces.py hole FOLDER -o hole.jpg                portraits without eyes and nose, filled
    python benchmarks/faces.py curve RUN -o curve.png                 the held-out denoising error over a run

FOLDER has subfolders ``train`` and ``test``. ``card`` writes ``samples.png``, ``neighbours-pixels.png`` and
``neighbours-features.png`` (each row a sample and the training pictures closest to it) and ``card.json``, and prints:

* KID of the samples against the test pictures, and for comparison that of as many training pictures, of the held-out
  ones, and of training pictures that were blurred. Features: the coarsest activations of the `photo` model, averaged
  over the picture; it has never seen the faces. Such numbers compare with each other and with no published KID.
* Near copies: the share of the samples that lie closer to a training picture, or its mirror image, than 95 % of the
  test pictures do, by the root mean square over pixels and by the features without the average. 5 % is what new
  pictures would have.
* The denoising PSNR of training, held-out and test pictures: a network that knows its training pictures by heart
  denoises them better than others.

``hole`` takes every third picture of ``test``, hides what the bundled portrait's mask does, and prints the mean PSNR
inside the hole with a 95 % interval over pictures. Its picture shows the first of them: what is known, ``photo`` and
``face`` by the default sampler, ``face`` by C-PiGDM and ``face-flow`` by C-PiGFM, 20 steps each, and the truth.

Samples are drawn by deterministic DDIM on a Karras grid from noise level 60 to 0.02. ``--churn 1`` draws its noise
afresh at each step (ancestral sampling): with ``--steps 100`` that looks better, and is less varied. Samples alone,
side by side, are what ``kintsugi sample`` draws.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from common import interval, psnr, table
from PIL import Image
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.metrics import KID
from kintsugi.operators import Mask
from kintsugi.priors import NetworkPrior, Prior
from kintsugi.samplers import Schedule
from kintsugi.training.data import find_images, read_signal, split
from kintsugi.training.pictures import unchanged_picture

app = typer.Typer(add_completion=False, help=__doc__)
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write.")]
Steps = Annotated[int, typer.Option(help="Network evaluations a sample.")]
Churn = Annotated[float, typer.Option(help="Fresh noise in each step, 0 to 1.", min=0, max=1)]
Threads = Annotated[int, typer.Option(help="CPU threads.")]
LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@app.command()
def card(
    model: str,
    folder: Path,
    output: Output,
    samples: int = 160,
    steps: Steps = 50,
    churn: Churn = 0.0,
    seed: int = 0,
    threads: Threads = 1,
) -> None:
    """Samples, neighbours, near copies, KID and denoising errors: see above."""
    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    prior = kintsugi.load_prior(model)
    kept, held_out = split(find_images(folder / "train"), 0.08)
    size = side(prior)
    train, held, test = (load(files, size) for files in (kept, held_out, find_images(folder / "test")))
    drawn = draw(prior, samples, steps, churn, seed).clamp(-1, 1)
    save(grid(drawn[:64], 8), output / "samples.png")
    numbers: dict[str, Any] = {"samples": samples, "steps": steps, "churn": churn, "seed": seed}
    numbers["step"] = prior.card.get("step")

    kid = KID(features=lambda x: features(x).mean((2, 3)))
    chosen = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:samples]]
    blurred = F.avg_pool2d(chosen, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    sets = {"samples": drawn, "training": chosen, "held out": held, "training, 2 x 2 averages": blurred}
    numbers["kid"] = {name: kid(x, test) for name, x in sets.items()}

    both = torch.cat((train, train.flip(-1)))
    spaces = {"pixels": lambda x: x, "features": features}
    numbers["near copies"] = {}
    for name, space in spaces.items():
        known, made, unseen = (space(x).flatten(1) for x in (both, drawn, test))
        root = known.shape[1] ** 0.5
        distances = torch.cdist(made, known) / root
        nearest, new = distances.amin(1), torch.cdist(unseen, known).amin(1) / root
        numbers["near copies"][name] = {
            "share": float((nearest < new.quantile(0.05)).double().mean()),
            "median distance of a sample": float(nearest.median()),
            "median distance of a test picture": float(new.median()),
            "smallest of a sample": float(nearest.min()),
            "smallest of a test picture": float(new.min()),
        }
        # The samples that are closest to a training picture, worst first: what is not among these is not copied.
        worst = nearest.argsort()[:10]
        rows = [torch.stack([drawn[i], *both[distances[i].argsort()[:5]]]) for i in worst]
        save(grid(torch.cat(rows), 6), output / f"neighbours-{name}.png")
    numbers["psnr"] = {
        name: {f"{level:g}": denoised(prior, x, level) for level in LEVELS}
        for name, x in (("training", chosen), ("held out", held), ("test", test))
    }
    (output / "card.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(
        table(["1000 KID against the test pictures", ""], [[k, f"{1000 * v:.3g}"] for k, v in numbers["kid"].items()])
        + "\n"
    )
    copies = numbers["near copies"]
    rows_ = [[key, *(f"{copies[name][key]:.3f}" for name in copies)] for key in copies["pixels"]]
    print(table(["near copies", *copies], rows_) + "\n")
    header = ["PSNR (dB) at noise level", *(f"{level:g}" for level in LEVELS)]
    print(table(header, [[k, *(f"{v:.2f}" for v in row.values())] for k, row in numbers["psnr"].items()]))


@app.command()
def hole(
    folder: Path,
    output: Output,
    photo: str = "photo",
    face: str = "face",
    flow: str = "face-flow",
    shown: Annotated[int, typer.Option(help="How many portraits the picture shows.", min=1)] = 4,
    threads: Threads = 1,
) -> None:
    """What models put into a hole over eyes and nose: see above."""
    torch.set_num_threads(threads)
    truth = load(find_images(folder / "test")[::3], 64)
    missing = torch.from_numpy(np.asarray(Image.open(kintsugi.data_path("portrait-mask.png")).convert("L")) > 127)
    operator = Mask(~missing, (3, 64, 64))
    problem = kintsugi.Problem(operator(truth), operator)
    runs = [("kintsugi", 10, (photo, face, flow)), ("cpigdm", 5, (photo, face)), ("cpigfm", 5, (photo, flow))]
    rows = []
    for sampler, steps, models in runs:
        for model in models:
            x = kintsugi.restore(problem, model, sampler, steps=steps).samples[:, 0]
            scores = psnr(x[..., missing][..., None], truth[..., missing][..., None])
            rows.append([model, sampler, str(steps), interval(scores)])
    print(table(["model", "sampler", "steps", "PSNR in the hole (dB)"], rows))
    few = kintsugi.Problem(operator(truth[:shown]), operator)
    asked = [(photo, "kintsugi"), (face, "kintsugi"), (face, "cpigdm"), (flow, "cpigfm")]
    filled = [kintsugi.restore(few, model, sampler, steps=20).samples[:, 0] for model, sampler in asked]
    save(grid(torch.stack([few.y, *filled, truth[:shown]], 1).flatten(0, 1), len(asked) + 2), output)


@app.command()
def curve(run: Path, output: Output) -> None:
    """The denoising PSNR of held-out pictures at each validation, less that of the first, and the training's loss."""
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    checks = [(r["step"], r["validation"]) for r in records if "validation" in r]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for level in checks[0][1]:
        gain = [scores[level] - checks[0][1][level] for _, scores in checks]
        axes.plot([step for step, _ in checks], gain, marker=".", label=f"noise level {level}")
    axes.set(xlabel="step", ylabel=f"PSNR of held-out pictures, dB above step {checks[0][0]}")
    axes.legend(fontsize="small")
    figure.savefig(output, dpi=120)
    print(f"{output}: {len(checks)} validations")


def side(prior: Prior) -> int:
    if prior.shape is None or len(prior.shape) != 3 or prior.shape[1] is None or prior.shape[1] != prior.shape[2]:
        raise InvalidArgument("model", prior.shape, "a model of square pictures of one size")
    return prior.shape[1]


def load(files: list[Path], size: int) -> Tensor:
    """``(N, 3, size, size)`` in [-1, 1], as training reads them."""
    return torch.stack([unchanged_picture(read_signal(path), size, path) for path in files])


def draw(prior: Prior, count: int, steps: int, churn: float, seed: int) -> Tensor:
    """``(count, 3, size, size)``: samples of the prior, at the levels that the card was made with."""
    schedule = Schedule(start="zero", eta=60.0, end=0.02)
    return kintsugi.sample(prior, count, steps=steps, churn=churn, seed=seed, schedule=schedule)


@torch.no_grad()
def features(x: Tensor) -> Tensor:
    """``(N, 256, 4, 4)`` of 64 x 64 pictures: what leaves the coarsest level of `photo` at noise level 0.1, with a mean
    square of one over the channels of each pixel."""
    photo = kintsugi.load_prior("photo")
    assert isinstance(photo, NetworkPrior)
    seen: list[Tensor] = []
    hook = photo.net.middle[-1].register_forward_hook(lambda module, args, out: seen.append(out))
    for part in x.split(32):
        photo.denoise(part, torch.full((len(part),), 0.1))
    hook.remove()
    out = torch.cat(seen)
    return out / out.square().mean(1, keepdim=True).sqrt()


@torch.no_grad()
def denoised(prior: Prior, x: Tensor, level: float) -> float:
    """PSNR in dB, of a range of 2, in the mean over pictures; the same noise for the n-th of every set."""
    generator = torch.Generator().manual_seed(0)
    scores = []
    for part in x.split(16):
        z = part + level * torch.randn(part.shape, generator=generator)
        error = prior.denoise(z, torch.full((len(part),), level)).clamp(-1, 1) - part
        scores.append(10 * torch.log10(4 / error.square().mean((1, 2, 3))))
    return float(torch.cat(scores).mean())


def grid(x: Tensor, columns: int) -> Tensor:
    """``(n, 3, h, w)`` as one picture, row by row."""
    return torch.cat([torch.cat(list(row), 2) for row in x.split(columns) if len(row) == columns], 1)


def save(x: Tensor, path: Path) -> None:
    """(3, H, W) in [-1, 1], twice as large, so that one can see it."""
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels)
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.LANCZOS).save(path)


if __name__ == "__main__":
    app()
