"""
Quickstart
==========

Five minutes: a photograph with scratches, mended by the model that comes in the package. On the command line it is::

    kintsugi restore example:parrots -o restored.png --task inpaint --mask example:parrots-mask
"""

# %%
# A picture and its holes
# -----------------------
#
# Pictures are tensors ``(3, H, W)`` in [-1, 1], black to white. A mask is white where pixels are missing. Only a part
# of the photograph is taken here, so that this page builds in seconds.

import matplotlib.pyplot as plt
import torch

import kintsugi
from kintsugi.images import read_mask, read_picture
from kintsugi.operators import Mask

damaged = read_picture(kintsugi.data_path("parrots")).pixels[:, 60:220, 300:500]
missing = read_mask(kintsugi.data_path("parrots-mask"))[:, 60:220, 300:500]
damaged.shape, f"{missing.float().mean():.0%} missing"

# %%
# A problem
# ---------
#
# What was measured, how, and with how much noise: ``y = A(x) + noise``. Here A keeps the known pixels. That is all that
# the library is told; nothing is trained for it.

operator = Mask(~missing, damaged.shape)
problem = kintsugi.Problem(operator(damaged[None]), operator)

# %%
# A restoration
# -------------
#
# Five evaluations of the network. ``prior`` is the model, ``sampler`` the method; both are the defaults.

result = kintsugi.restore(problem, prior="photo", sampler="kintsugi", steps=5)
restored = result.samples[0, 0]
result.cost


# %%
def show(*pictures: tuple[str, torch.Tensor]) -> None:
    """Pictures beside each other."""
    _, axes = plt.subplots(1, len(pictures), figsize=(3 * len(pictures), 2.9), layout="constrained")
    for axis, (title, picture) in zip(axes, pictures, strict=True):
        axis.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0))
        axis.set_title(title, fontsize=10)
        axis.axis("off")


gold = torch.tensor([0.72, 0.3, -0.74]).view(3, 1, 1)
show(("what came", damaged), ("its holes", torch.where(missing, gold, damaged)), ("restored", restored))

# %%
# What was measured stays as it was; the largest difference, of a range of 2:

float((operator(restored[None]) - problem.y).abs().max())

# %%
# Likeliest, or textured
# ----------------------
#
# One dial: at texture 0 (the default) the likeliest picture, at 1 a sample with the texture of the real thing. It is
# easiest to see where a picture is enlarged, here four times:

from kintsugi.operators import Bicubic

photo = read_picture(kintsugi.data_path("lighthouse")).pixels[..., 8:120, 40:168]
shrink = Bicubic(photo.shape, 4)
enlarge = kintsugi.Problem(shrink(shrink.extend(photo[None])), shrink)
likeliest, textured = (kintsugi.restore(enlarge, texture=texture).samples[0, 0] for texture in (0.0, 1.0))
show(("what came", enlarge.y[0]), ("texture 0", likeliest), ("texture 1", textured), ("the truth", photo))

# %%
# Next: :doc:`2_own_image`, or :doc:`7_uncertainty`: which part of it is real?
