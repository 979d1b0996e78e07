"""Small jobs of the commands that run for hours: each takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml
from killing import Job, content_of_folder, content_of_preset, content_of_run, content_of_training

from kintsugi.priors.network import NetworkPrior, save_model
from kintsugi.priors.unet import UNet, UNetConfig

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import draw_picture


def make_jobs(folder: Path, pictures: int = 8, trials: int = 6, steps: int = 12) -> dict[str, Job]:
    """The jobs, by name, with all that they read in ``folder``; their outputs are in it too."""
    model = folder / "model.safetensors"
    torch.manual_seed(0)
    save_model(NetworkPrior(UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=16))), model)
    photos = folder / "photos"
    (photos / "more").mkdir(parents=True)
    for seed in range(pictures):
        name = f"more/p{seed}.png" if seed % 4 == 3 else f"p{seed}.png"
        draw_picture((40 + 2 * seed, 44), seed).save(photos / name)
    suite, plan = folder / "suite.yaml", folder / "plan.yaml"
    suite.write_text(yaml.safe_dump({
        "name": "kills", "priors": [str(model)], "images": {"folder": str(photos), "crop": 32, "limit": 3},
        "problems": [{"name": "sr", "operator": "bicubic", "factor": 4},
                     {"name": "holes", "operator": "random", "keep": 0.5, "noise": 0.1}],
        "samplers": ["ddnm", "mcg"], "steps": [2], "seeds": [0], "metrics": ["psnr", "consistency"],
        "keep_images": True,
    }))  # fmt: skip
    plan.write_text(yaml.safe_dump({
        "name": "kills", "prior": str(model), "trials": trials, "samplers": ["ddrm", "ddnm"], "steps": [2],
        "images": {"folder": str(photos), "held_out": False, "at_least": 40, "crop": 32, "crops": 2},
        "problems": [{"name": "holes", "operator": "random", "keep": 0.5, "noise": 0.1}],
    }))  # fmt: skip
    out = folder / "out"
    restore = (
        "restore", photos, "-o", out, "-t", "denoise", "--noise", 0.1, "--prior", model, "--steps", 2, "--samples", 2,
        "--compare", "--device", "cpu",
    )  # fmt: skip
    bench = ("bench", suite, "-o", out, "--device", "cpu")
    train = (
        "train", photos, "-o", out, "--steps", steps, "--batch", 2, "--crop", 16, "--save-every", 2,
        "--validate-every", 4, "--widths", "4,6", "--blocks", "1,1", "--set", "validation_crops=2",
    )  # fmt: skip
    preset = folder / "preset.yaml"
    jobs = (
        Job("restore", restore, out, content_of_folder),
        Job("bench", bench, out, content_of_run),
        Job("tune", ("tune", plan, "-o", preset, "--device", "cpu"), preset, content_of_preset),
        Job("train", train, out, content_of_training),
        Job("restore by two", restore, out, content_of_folder, 2),
        Job("bench by two", bench, out, content_of_run, 2),
    )
    return {job.name: job for job in jobs}
