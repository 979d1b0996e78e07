"""
Choosing a sampler
==================

The same problem by several methods, at equal and unequal cost. :doc:`/choosing` draws the conclusions, from many
photographs; a single one, as here, proves nothing.
"""

# %%
# A problem
# ---------
#
# 70 % of the pixels are missing, and the others are noisy.

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import kintsugi
from kintsugi.images import read_picture
from kintsugi.operators import Mask

photo = read_picture(kintsugi.data_path("lighthouse")).pixels[..., 16:112, 48:144].contiguous()
keep = torch.rand(96, 96, generator=torch.Generator().manual_seed(0)) < 0.3
problem = kintsugi.Problem.simulate(photo[None], Mask(keep, photo.shape), noise=0.05)


def psnr(x: Tensor) -> float:
    """In dB, of a range of 2."""
    return float(-10 * ((x - photo).square().mean() / 4).log10())


# %%
# Methods
# -------
#
# A method and its steps; everything else is its default for that number of steps. A forward and a VJP (the derivative
# of the network) cost about the same time.

prior = kintsugi.load_prior("photo")
restored = {}
print(f"{'method':20} {'steps':>5} {'PSNR':>6}  forwards + VJPs")
for name, steps, settings in (
    ("kintsugi", 5, {}),
    ("kintsugi", 5, {"texture": 1.0}),
    ("ddnm", 10, {}),
    ("ddrm", 20, {}),
    ("diffpir", 20, {}),
    ("cpigdm", 5, {}),
    ("reddiff", 20, {}),
):
    result = kintsugi.restore(problem, prior, name, steps=steps, **settings)
    title = " ".join((name, *(f"{key} {value:g}" for key, value in settings.items())))
    restored[title] = result.samples[0, 0]
    cost = result.cost
    print(f"{title:20} {steps:5} {psnr(restored[title]):6.2f}  {cost.forwards:g} + {cost.vjps:g}")

# %%
# Look at them
# ------------
#
# PSNR rewards the mean of all that is plausible; texture is lost in it. Look before you choose.

figure, axes = plt.subplots(2, 4, figsize=(10, 5.4), layout="constrained")
for axis, (title, picture) in zip(axes.flat, {"measured": problem.y[0], **restored}.items(), strict=True):
    axis.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0))
    axis.set_title(title, fontsize=10)
    axis.axis("off")

# %%
# What a method takes
# -------------------
#
# Some methods are for linear measurements only, and say so before any network runs:

from kintsugi.operators import HDR

clipped = kintsugi.Problem(HDR(photo.shape)(photo[None]), HDR(photo.shape))
for name in ("kintsugi", "ddrm"):
    try:
        kintsugi.restore(clipped, prior, name, steps=1)
        print(f"{name}: done")
    except kintsugi.InvalidArgument as error:
        print(f"{name}: {error}")

# %%
# What it is, costs and takes, of every method, is in its docstring, in ``kintsugi samplers``, and in
# :doc:`/samplers`.

print(kintsugi.samplers.about(kintsugi.available_samplers()["ddrm"]))
