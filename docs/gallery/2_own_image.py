"""
Your own picture
================

From a file to a file, with what surrounds the pixels kept: size, depth, grey or colour, transparency, profile. The
command line does exactly this::

    kintsugi degrade small-part.png -o blurred.png --task deblur --kernel gaussian:1.5 --noise 0.01
    kintsugi restore blurred.png -o sharp.png --task deblur --kernel gaussian:1.5 --noise 0.01
"""

# %%
# A damaged file
# --------------
#
# To have one, a part of a bundled photograph is blurred and made noisy. Put your own file in its place.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch

import kintsugi
from kintsugi.images import Picture, read_picture, write_picture
from kintsugi.operators import gaussian_kernel
from kintsugi.tasks import Settings, prepare, simulate

folder = TemporaryDirectory()
file = Path(folder.name) / "blurred.png"
clean = Picture(read_picture(kintsugi.data_path("lighthouse")).pixels[..., 16:112, 32:160].contiguous())
settings = Settings(kernel=gaussian_kernel(1.5), noise=0.01)
write_picture(simulate("deblur", clean, settings), file).name

# %%
# What is known of the damage
# ---------------------------
#
# A *task* is a word of the command line for an operator: ``sr``, ``inpaint``, ``deblur``, ``denoise``, ``colorize``,
# ``jpeg``, ``dequantize``, ``hdr``. ``noise`` is a standard deviation, of 0 to 1 from black to white, or ``"auto"``.
# ``prepare`` makes the problem, whose border is that of the world: what lies beyond it is unknown, not wrapped around.

blurred = read_picture(file)
prepared = prepare("deblur", blurred, settings)
prepared.problem.operator, prepared.problem.noise

# %%
# Restore, and write it as it came
# --------------------------------

result = kintsugi.restore(prepared.problem, steps=5)
restored = prepared.finish(result.samples[0, 0])
write_picture(restored, Path(folder.name) / "sharp.png").name


# %%
def psnr(x: torch.Tensor) -> float:
    """In dB, of a range of 2."""
    return float(-10 * ((x - clean.pixels).square().mean() / 4).log10())


figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for axis, (title, picture) in zip(
    axes, {"what came": blurred, "restored": restored, "the truth": clean}.items(), strict=True
):
    axis.imshow((picture.pixels / 2 + 0.5).permute(1, 2, 0))
    axis.set_title(title if picture is clean else f"{title}, {psnr(picture.pixels):.1f} dB", fontsize=10)
    axis.axis("off")
folder.cleanup()

# %%
# If the blur or the noise is not known, :func:`kintsugi.blind.estimate` finds it: see :doc:`/blind`. A whole folder, by
# several processes or machines: :doc:`/cluster`.
