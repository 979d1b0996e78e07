"""
Reading uncertainty
===================

A restoration is one of many that fit the data. Several samples show where they agree, and so where the picture was
measured, and where it was invented.
"""

# %%
# Several samples
# ---------------
#
# At texture 1 the default sampler draws from (an approximation of) the posterior; at texture 0 all its samples are
# close to the likeliest picture and their spread says nothing. A box is missing, and half of the other pixels.

import matplotlib.pyplot as plt
import torch

import kintsugi
from kintsugi.images import read_picture
from kintsugi.operators import Mask

photo = read_picture(kintsugi.data_path("lighthouse")).pixels[..., 16:112, 48:144].contiguous()
keep = torch.rand(96, 96, generator=torch.Generator().manual_seed(0)) < 0.5
keep[30:62, 30:62] = False
problem = kintsugi.Problem(Mask(keep, photo.shape)(photo[None]), Mask(keep, photo.shape))
result = kintsugi.restore(problem, texture=1.0, steps=10, samples=8)
result.samples.shape, result.mean.shape, result.std.shape

# %%
# Mean and standard deviation
# ---------------------------
#
# ``mean`` is the best guess, pixel by pixel, and smoother than any sample. ``std`` is near zero where pixels were
# measured, small where their neighbours were, and large in the middle of the box.

error = (result.mean[0] - photo).abs().mean(0)
std = result.std[0].mean(0)
panels = {
    "measured": problem.y[0], "a sample": result.samples[0, 0], "another": result.samples[0, 1],
    "mean": result.mean[0], "std": std, "error of the mean": error,
}  # fmt: skip
figure, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
for axis, (title, picture) in zip(axes.flat, panels.items(), strict=True):
    if picture.ndim == 3:
        axis.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0))
    else:
        axis.imshow(picture, vmin=0, vmax=0.5, cmap="inferno")
    axis.set_title(title, fontsize=10)
    axis.axis("off")

# %%
# Does it know what it does not know?
# -----------------------------------
#
# Where the spread is larger the error should be, and of about the same size. By groups of pixels, from certain to
# uncertain:

order = std[~keep].argsort()
e2, s2 = error[~keep].square()[order], std[~keep].square()[order]
print("  std   error   (root mean square, missing pixels)")
for part in torch.arange(len(order)).tensor_split(5):
    print(f"{float(s2[part].mean().sqrt()):5.3f}   {float(e2[part].mean().sqrt()):5.3f}")

# %%
# The order is right, and the size is not: here the error is up to twice the spread. So read the map as "more certain
# here than there". Widths that had the right coverage on held-out pictures, and intervals with a guarantee, are in
# :mod:`kintsugi.uncertainty`.

# %%
# What was invented
# -----------------
#
# A spread has two parts: what the measurement would notice, and what no measurement supports. The share of the second
# is the *invented* map; as gold on the picture, the seams of a mended bowl.

from kintsugi.uncertainty import gold, invented

share = invented(problem, result.samples)[0]
gilded = gold(result.mean[0], share, result.std[0])
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), layout="constrained")
for axis, title, picture in zip(axes, ("share that no measurement supports", "in gold"), (share, gilded), strict=True):
    axis.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0) if len(picture) == 3 else picture[0], cmap="inferno")
    axis.set_title(title, fontsize=10)
    axis.axis("off")

# %%
# Where pixels were measured nothing was invented, and in the box everything was:

known, unknown = float(share[0, keep].mean()), float(share[0, 34:58, 34:58].mean())
assert known < 0.05
assert unknown > 0.5
known, unknown

# %%
# One photograph proves nothing, and what all samples agree on may still be wrong where the model is. Against posteriors
# that are known exactly, :doc:`/oracles` has the spread of every method.
