"""What makes a better denoiser at a given price: variants of network and training, each on the same budget.

    python benchmarks/variants.py FOLDER -o RUNS                  all that RUNS/variants.jsonl does not have yet
    python benchmarks/variants.py FOLDER -o RUNS --table          what is there, as Markdown

FOLDER is one of photographs, as of `kintsugi train`. "scratch" variants are networks, trained from random weights, each
for as many steps as fit into ``--seconds`` of CPU time on one core. "tune" variants are settings of the training, or
deeper networks, each begun with the weights of ``--start-from`` and trained for ``--steps`` steps of 8 crops, or of
as many pixels. All cool down over the second half. They are judged by `kintsugi train`'s own validation: held-out
crops, the same noise, PSNR in dB. One seed: a twentieth of a dB may be chance.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from common import table
from torch import Tensor, nn

from kintsugi.priors import unet
from kintsugi.priors.embedded import prior_path
from kintsugi.priors.network import load_model
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.training.config import TrainConfig
from kintsugi.training.loop import train
from kintsugi.training.optimizer import make_optimizer

BASE = TrainConfig(
    batch=8, crop=96, optimizer="adam", lr=6e-4, ema=0.99, mixed_precision="bf16", focus=(0.06, 0.6), focus_share=0.7,
    seed=3, save_every=100_000, validate_every=100_000, validation_crops=96, net=UNetConfig(norm=True),
)  # fmt: skip


class GatedBlock(nn.Module):
    """The block of NAFNet (Chen et al., ECCV 2022) with FiLM: a depth-wise 3 x 3 and gates, between 1 x 1 ones."""

    def __init__(self, width: int, embedding: int, *rest: object) -> None:
        super().__init__()
        self.norm = unet.Modulation()
        self.film = nn.Linear(embedding, 2 * width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.spread = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.mix = nn.Conv2d(width, width, 1)
        self.feed = nn.Conv2d(width, 2 * width, 1)
        self.back = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb).chunk(2, dim=1)
        a, b = self.spread(self.widen(self.norm(x, scale, shift))).chunk(2, dim=1)
        x = x + self.mix(a * b)
        a, b = self.feed(x).chunk(2, dim=1)
        return x + self.back(a * b)


class FoldWithLevel(nn.PixelUnshuffle):
    """Folds a picture with one more channel, which is ``level`` (B, 1, 1, 1) everywhere."""

    level: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat((x, self.level.expand(-1, 1, *x.shape[-2:])), dim=1))


class MappedNet(UNet):
    """Told the noise level as DRUNet is: by a constant fourth channel, and not by FiLM."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.stem = nn.Conv2d((config.channels + 1) * config.patch**2, config.widths[0], 3, padding=1)
        self.fold = FoldWithLevel(config.patch)

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        self.fold.level = c_noise.view(-1, 1, 1, 1)
        return super().forward(x, torch.zeros_like(c_noise), labels)


@contextmanager
def networks(block: type[nn.Module] = unet.Block, net: type[UNet] = UNet) -> Iterator[None]:
    with (
        patch.object(unet, "Block", block),
        patch("kintsugi.training.loop.UNet", net),
        patch("kintsugi.priors.network.UNet", net),
    ):
        yield


MUON = {"optimizer": "muon", "lr": 2e-3}
WIDER = {"norm": False, "widths": (48, 96, 160, 256)}
SCRATCH: dict[str, tuple[dict[str, Any], ...]] = {  # the network; its classes; the training
    "photo's network": ({}, {}),
    "fold 4 x 4, widths 64, 128, 256": ({"patch": 4, "widths": (64, 128, 256), "blocks": (2, 2, 3)}, {}),
    "no fold, a level of 16 more": ({"patch": 1, "widths": (16, 32, 64, 128, 256), "blocks": (1, 1, 2, 2, 2)}, {}),
    "depth-wise blocks (NAFNet)": ({"blocks": (1, 2, 2, 3)}, {"block": GatedBlock}),
    "without the pixel norm": ({"norm": False}, {}),
    "noise level as a channel": ({}, {"net": MappedNet}),
    "wider and shallower": ({"widths": (48, 80, 160, 256), "blocks": (1, 1, 1, 1)}, {}),
    "narrower and deeper": ({"widths": (24, 48, 96, 192), "blocks": (2, 4, 4, 4)}, {}),
    "photo's second network: without the norm, widths 48, 96, 160, 256": (WIDER, {}),
    "the second network, Muon": (WIDER, {}, MUON),
    "the second network, Muon, learning rate 4e-3": (WIDER, {}, MUON | {"lr": 4e-3}),
    "the second network, Muon, learning rate 1e-3": (WIDER, {}, MUON | {"lr": 1e-3}),
    "with the pixel norm, Muon": ({}, {}, MUON),
}  # fmt: skip

DEPTHS = ((2, 2, 2, 2), (1, 3, 2, 2), (1, 2, 3, 2), (1, 2, 2, 3), (2, 3, 3, 2), (3, 3, 2, 2))
TUNE: dict[str, dict[str, Any]] = {
    "as `photo` was": {},
    "balance 0.5": {"balance": 0.5},
    "balance 1": {"balance": 1.0},
    "crops of 128, 4.5 a step": {"crop": 128, "batch": 9, "steps": 0.5},
    "crops of 64, 18 a step": {"crop": 64, "batch": 18},
    "4 crops a step, twice the steps": {"batch": 4, "steps": 2.0, "lr": 4.2e-4},
    "16 crops a step, half the steps": {"batch": 16, "steps": 0.5, "lr": 8.5e-4},
    "7 % drawn": {"synthetic": 0.07},
    "20 % drawn": {"synthetic": 0.2},
    "enlarged to 1.5": {"max_scale": 1.5},
    "reduced to 0.6 at most": {"min_scale": 0.6},
    "every file alike": {"oversample": 0.0},
    "files by the root of their pixels": {"oversample": 0.5},
    "focus share 0": {"focus_share": 0.0},
    "focus share 1": {"focus_share": 1.0},
    "learning rate 3e-4": {"lr": 3e-4},
    "learning rate 1.2e-3": {"lr": 1.2e-3},
    "moving average 0.997": {"ema": 0.997},
    "no moving average": {"ema": 0.0},
    **{f"blocks {', '.join(map(str, blocks))}": {"blocks": blocks} for blocks in DEPTHS},
}  # fmt: skip


def main(
    folder: Path,
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for the runs.")],
    seconds: Annotated[float, typer.Option(help="CPU time of a variant from scratch.")] = 240.0,
    steps: Annotated[int, typer.Option(help="Steps of a variant begun with a model.")] = 700,
    start_from: Annotated[str, typer.Option(help="The model that those begin with.")] = "photo",
    only: Annotated[str, typer.Option(help="Variants whose name has this.")] = "",
    show: Annotated[bool, typer.Option("--table", help="Only print what is there.")] = False,
) -> None:
    """See above."""
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    record = output / "variants.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    done = {(row["kind"], row["name"]) for row in rows}
    for kind, name, run in () if show else jobs(folder, output, seconds, steps, prior_path(start_from)):
        if (kind, name) not in done and only in name:
            began = time.process_time()
            row = {"kind": kind, "name": name} | run()
            row["cpu"] = round(time.process_time() - began)
            print(row, flush=True)
            rows.append(row)
            with record.open("a") as file:
                file.write(json.dumps(row) + "\n")
    for kind in ("scratch", "tune"):
        print(f"\n{kind}\n\n{as_table([row for row in rows if row['kind'] == kind])}")


def jobs(
    folder: Path, output: Path, seconds: float, steps: int, known: Path
) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Kind, name and work of each, alternately of both kinds, so that a part of them says something of both."""
    scratch = [
        ("scratch", n, lambda n=n: from_scratch(folder, output / f"scratch-{n}", seconds, *SCRATCH[n])) for n in SCRATCH
    ]
    tune = [("tune", n, lambda n=n: tuned(folder, output / f"tune-{n}", steps, dict(TUNE[n]), known)) for n in TUNE]
    yield from tune[:3] + scratch + tune[3:]


def from_scratch(
    folder: Path, output: Path, seconds: float, shape: Any, kinds: Any, settings: Any = None
) -> dict[str, Any]:
    with networks(**kinds):
        config = replace(BASE, **{"lr": 1e-3} | (settings or {}), net=replace(BASE.net, **shape))
        net = UNet(config.net) if "net" not in kinds else kinds["net"](config.net)
        cost = price(net, config)
        steps = round(seconds / cost["step"])
        return cost | run(folder, output, replace(config, steps=steps, cooldown=steps // 2), None)


def tuned(folder: Path, output: Path, steps: int, settings: dict[str, Any], known: Path) -> dict[str, Any]:
    steps = round(steps * settings.pop("steps", 1))
    net = load_model(known).net.config
    net = replace(net, blocks=settings.pop("blocks", net.blocks))
    config = replace(BASE, **settings, net=net, steps=steps, cooldown=steps // 2, warmup=50)
    return price(UNet(config.net), config) | run(folder, output, config, known)


def run(folder: Path, output: Path, config: TrainConfig, start_from: Path | None) -> dict[str, Any]:
    prior = train(folder, output, config, start_from=start_from)
    return {"steps": config.steps, "validation": prior.card["validation"]}


def price(net: UNet, config: TrainConfig) -> dict[str, float]:
    """Millions of weights, and CPU seconds of a forward at 768 x 512 and of a training step."""
    count = sum(p.numel() for p in net.parameters())
    return {"millions": round(count / 1e6, 2), "forward": forward(net), "step": training_step(net, config)}


@torch.inference_mode()
def forward(net: nn.Module) -> float:
    """CPU seconds of a forward at 768 x 512, the least of five."""
    x, eta = torch.randn(1, 3, 512, 768), torch.zeros(1)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return round(min(cpu_time(lambda: net(x, eta)) for _ in range(5)), 3)


def training_step(net: UNet, config: TrainConfig) -> float:
    """CPU seconds of forward, backward, optimiser and average, the median of five."""
    optimizer = make_optimizer(net, [], replace(config, lr=1e-9))
    x, eta = torch.randn(config.batch, 3, config.crop, config.crop), torch.zeros(config.batch)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(x, eta).float().square().mean()
        loss.backward()
        optimizer.step()

    return round(sorted(cpu_time(step) for _ in range(6))[2], 3)


def cpu_time(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def as_table(rows: list[dict[str, Any]]) -> str:
    """The first row is what the others are compared with."""
    if not rows:
        return "(none yet)"
    levels = list(rows[0]["validation"])
    of_kodak = levels[2:5]  # sigma 15, 25 and 50 of 255
    others = [level for level in levels if level not in of_kodak]

    def gain(row: dict[str, Any], which: list[str]) -> str:
        return f"{sum(row['validation'][n] - rows[0]['validation'][n] for n in which) / len(which):+.3f}"

    def cells(row: dict[str, Any]) -> list[str]:
        price = [
            f"{row['millions']:.1f} M",
            f"{row['forward']:.2f} s",
            f"{1000 * row['step']:.0f} ms",
            str(row["steps"]),
        ]
        scores = [f"{row['validation'][level]:.2f}" for level in of_kodak]
        return [row["name"], *price, *scores, gain(row, of_kodak), gain(row, others)]

    head = ["variant", "parameters", "forward", "step", "steps", "15", "25", "50", "gain, these", "gain, other levels"]
    return table(head, [cells(row) for row in rows])


if __name__ == "__main__":
    typer.run(main)
