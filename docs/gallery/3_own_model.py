"""
Your own model
==============

Any network that was trained on noisy signals is a prior. What an adapter must know is small: what the network predicts,
along which path, and what it calls the time. Published checkpoints load by one string (:doc:`/own-models`); here are
three networks of one's own.

To see that an adapter says the right thing, the networks are exact: the data are Gaussian signals of 64 numbers with a
known covariance, for which the best denoiser, noise predictor and velocity are formulas.
"""

# %%
# The data, and their denoiser
# ----------------------------
#
# For covariance C and ``z = x + eta e``, the mean of x given z is ``C (C + eta^2)^{-1} z``.

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import kintsugi
from kintsugi.operators import Mask
from kintsugi.paths import VP
from kintsugi.priors import ModelPrior, denoiser_prior, velocity_prior
from kintsugi.priors.clock import Time

n = 64
distance = (torch.arange(n)[:, None] - torch.arange(n)).abs()
C = 0.25 * torch.exp(-distance / 8.0)
values, vectors = torch.linalg.eigh(C)


def denoise(z: Tensor, eta: Tensor) -> Tensor:
    """``C (C + eta^2)^{-1} z`` for z (B, 1, 64) and eta (B,)."""
    gain = values / (values + eta.view(-1, 1, 1) ** 2)
    return (z @ vectors * gain) @ vectors.T


# %%
# A denoiser
# ----------
#
# Networks ``D(x, sigma)``, as in EDM and deepinv. ``data_range`` is what black and white are to the network.

as_denoiser = denoiser_prior(denoise, shape=(1, n))

# %%
# A noise predictor
# -----------------
#
# DDPM and its kin see ``x_t = alpha x_0 + sigma e`` and a step from 0 to 999, and predict e.

path = VP(0.1, 20.0)


def predict_noise(x: Tensor, step: Tensor) -> Tensor:
    """What a DDPM network of these data would have learnt."""
    t = step.double() / 999
    eta = path.eta(t).to(x)
    z = x / path.alpha_of_eta(eta).to(x).view(-1, 1, 1)
    return (z - denoise(z, eta)) / eta.view(-1, 1, 1)


as_noise = ModelPrior(predict_noise, path, "epsilon", Time(path, 999.0), shape=(1, n))

# %%
# A velocity network
# ------------------
#
# Flow matching: ``x_s = s x_0 + (1 - s) e`` with data at s = 1, and the velocity ``x_0 - e``.


def velocity(s: Tensor, x: Tensor) -> Tensor:
    """What a network of torchcfm, ``model(t, x)``, would have learnt."""
    s = s.view(-1, 1, 1)
    z, eta = x / s, (1 - s) / s
    x0 = denoise(z, eta)
    return x0 - (z - x0) / eta


as_flow = velocity_prior(velocity, data_at=1, time_first=True, shape=(1, n))

# %%
# They are one model
# ------------------
#
# All that a sampler ever calls is ``denoise(z, eta)``, and the three agree:

z, eta = torch.randn(2, 1, n, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 3.0])
reference = denoise(z, eta)
for name, prior in {"denoiser": as_denoiser, "noise": as_noise, "velocity": as_flow}.items():
    error = float((prior.denoise(z, eta) - reference).abs().max())
    print(f"{name:10} differs by {error:.1e}")
    assert error < 1e-3

# %%
# Every sampler runs on each, whatever kind of model it was published for. The distance is that to the posterior mean,
# which is known here.

truth = torch.randn(1, n, generator=torch.Generator().manual_seed(1)) * values.clamp(min=0).sqrt() @ vectors.T
keep = torch.arange(n) % 4 == 0
problem = kintsugi.Problem.simulate(truth[None], Mask(keep, (1, n)), noise=0.05)
K = C[:, keep] @ torch.linalg.inv(C[keep][:, keep] + 0.05**2 * torch.eye(int(keep.sum())))
exact = (K @ problem.y[0, 0, keep])[None, None]
for sampler in ("kintsugi", "ddrm", "mmps"):
    drawn = {
        name: kintsugi.restore(problem, prior, sampler, steps=20, samples=32, tile=None).mean
        for name, prior in (("denoiser", as_denoiser), ("noise", as_noise), ("velocity", as_flow))
    }
    print(f"{sampler:10}", *(f"{name} {float((m - exact).square().mean().sqrt()):.3f}  " for name, m in drawn.items()))

# %%
# The exact posterior mean, and samples of the velocity network at texture 1:

drawn = kintsugi.restore(problem, as_flow, texture=1.0, steps=20, samples=16, tile=None)
figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
axis.plot(drawn.samples[0, :, 0].T, color="goldenrod", alpha=0.35, lw=0.8)
axis.plot(exact[0, 0], color="black", label="exact posterior mean")
axis.plot(torch.arange(n)[keep], problem.y[0, 0, keep], "o", label="measured")
axis.plot(truth[0], ":", label="truth")
axis.legend(fontsize=8)
axis.set_xlim(0, n - 1)
