"""
Training, in miniature
======================

A model of your own kind of signal, from a folder of examples. Here it is a small network, a minute of data and some
hundred steps, which is enough to see that it works and far from enough to be good. In earnest it is one command,
:doc:`/train`::

    kintsugi train FOLDER -o run
"""

# %%
# A folder of signals
# -------------------
#
# Pictures, or arrays ``(C, H, W)`` of floats in [-1, 1] as ``.npy``: here smooth bumps, grey.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch

import kintsugi
from kintsugi.priors.unet import UNetConfig
from kintsugi.training.config import TrainConfig
from kintsugi.training.loop import train

folder = TemporaryDirectory()
data = Path(folder.name) / "data"
data.mkdir()
generator = np.random.default_rng(0)
y, x = np.mgrid[:32, :32] / 32


def bumps() -> np.ndarray:
    """Two soft discs, white on black, (1, 32, 32)."""
    discs = [
        1 / (1 + np.exp(((x - cx) ** 2 + (y - cy) ** 2 - r**2) * 200))
        for cx, cy, r in zip(generator.random(2), generator.random(2), generator.uniform(0.15, 0.3, 2), strict=True)
    ]
    return (2 * np.maximum(*discs) - 1)[None].astype(np.float32)


for i in range(64):
    np.save(data / f"{i:03}.npy", bumps())

# %%
# A run
# -----
#
# Stopped at any moment, the same call goes on where it was.

config = TrainConfig(
    steps=120, batch=8, crop=32, lr=2e-3, warmup=10, min_scale=1.0, grey_share=0.0, ema=0.95, validation_crops=4,
    validation_levels=(0.1, 0.5, 2.0), save_every=60, validate_every=120,
    net=UNetConfig(channels=1, widths=(16, 32), blocks=(1, 1)),
)  # fmt: skip
prior = train(data, Path(folder.name) / "run", config)
prior.card["step"], prior.card["validation"]

# %%
# Used
# ----
#
# The file ``run/model.safetensors`` is the model; its name goes wherever a prior is asked for. A third of the pixels of
# a new pair of bumps is seen:

model = Path(folder.name) / "run" / "model.safetensors"
truth = torch.from_numpy(bumps())
keep = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.33
problem = kintsugi.Problem.simulate(truth[None], kintsugi.operators.Mask(keep, truth.shape), noise=0.05)
result = kintsugi.restore(problem, model, steps=5)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, (title, picture) in zip(
    axes, {"measured": problem.y[0], "restored": result.samples[0, 0], "truth": truth}.items(), strict=True
):
    axis.imshow(picture[0], vmin=-1, vmax=1, cmap="gray")
    axis.set_title(title, fontsize=10)
    axis.axis("off")
folder.cleanup()

# %%
# The network learnt to fill in what it saw many times; its error is a fraction of what interpolation by mid-grey has:

before, after = (float((x - truth).square().mean().sqrt()) for x in (problem.y[0], result.mean[0]))
assert after < 0.6 * before
before, after
