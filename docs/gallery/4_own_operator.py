"""
Your own operator
=================

A measurement that the library does not have, in twenty lines. An interlaced camera reads the even rows at one moment
and the odd rows a moment later; here the second field is lost, and what is left of a row is smeared to the right by the
amplifier. Nobody has a task for that.
"""

# %%
# The least: a function
# ---------------------
#
# Anything linear that PyTorch can differentiate is an operator; the adjoint is found by differentiation, and functions
# of ``A A^T`` by Krylov methods.

from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import kintsugi
from kintsugi.images import read_picture
from kintsugi.operators import FromFunction, LinearOperator, check_adjoint, check_gram, check_pinv


def camera(x: Tensor) -> Tensor:
    """Even rows, each smeared: ``y_i = 0.6 x_i + 0.4 x_{i-1}``, circular."""
    field = x[..., ::2, :]
    return 0.6 * field + 0.4 * field.roll(1, -1)


photo = read_picture(kintsugi.data_path("parrots")).pixels[:, 180:276, 240:368].contiguous()
quick = FromFunction(camera, photo.shape)
quick.out_shape

# %%
# The whole: structure
# --------------------
#
# Better is an operator that says what it knows: the adjoint, and ``gram(h, u)``, which is ``h(A A^T) u``. A row's
# ``A A^T`` is diagonal in Fourier. Pseudo-inverse, projection, filters and noisy solves follow from these three.


class Interlaced(LinearOperator):
    """Even rows of a picture (C, H, W), each smeared along itself by 0.6 and 0.4, circular."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        self.in_shape, self.out_shape = (channels, height, width), (channels, (height + 1) // 2, width)
        self.cutoff = 1e-3
        kernel = torch.zeros(width, dtype=torch.float64)
        kernel[0], kernel[1] = 0.6, 0.4
        self.spectrum = torch.fft.rfft(kernel)  # of a row; A A^T has the eigenvalues |spectrum|^2

    def _along_rows(self, u: Tensor, factors: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(u) * factors.to(u.device), n=u.shape[-1]).to(u)

    def _forward(self, x: Tensor) -> Tensor:
        return self._along_rows(x[..., ::2, :], self.spectrum)

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), *self.in_shape)
        x[..., ::2, :] = self._along_rows(y, self.spectrum.conj())
        return x

    def gram(self, h: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
        return self._along_rows(u, h(self.spectrum.abs() ** 2))


operator = Interlaced(tuple(photo.shape))

# %%
# Checked
# -------
#
# Three functions hold an operator to what it promises, on random signals: ``<A x, y> = <x, A^T y>``,
# ``A A^+ A = A`` and ``P^2 = P``, and ``gram`` against the operator's own dense matrix. They return relative errors.

small = Interlaced((1, 6, 8))
errors = {"adjoint": check_adjoint(small), **check_pinv(small), "gram": check_gram(small, torch.sqrt)}
errors

# %%
assert max(errors.values()) < 1e-9
assert (operator(photo[None]) - quick(photo[None])).abs().max() < 1e-5

# %%
# Used
# ----
#
# Every sampler that takes linear operators takes this one.

problem = kintsugi.Problem.simulate(photo[None], operator, noise=0.02)
start = operator.pinv(problem.y)[0]
restored = kintsugi.restore(problem, steps=5).samples[0, 0]


def psnr(x: Tensor) -> float:
    """In dB, of a range of 2."""
    return float(-10 * ((x - photo).square().mean() / 4).log10())


figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for axis, (title, picture) in zip(
    axes, {"pseudo-inverse": start, "restored": restored, "the truth": photo}.items(), strict=True
):
    axis.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0))
    axis.set_title(title if picture is photo else f"{title}, {psnr(picture):.1f} dB", fontsize=10)
    axis.axis("off")
assert psnr(restored) > psnr(start) + 5

# %%
# Add it to the library: :doc:`/contributing`. What there is already: :doc:`/operators`.
