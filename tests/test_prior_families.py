"""Every sampler on a model of every family: what is not refused before the network runs restores an image.

The networks have random weights, made small so that no method diverges on them: what is tested is that everything fits
together. Latent models are slow: C-PiGDM's systems go through the decoder hundreds of times.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import kintsugi
import test_prior_diffusers as pixels
import test_priors_stable as latents
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Mask
from kintsugi.priors import Prior, adm, denoiser_prior, edm_adm, edm_song, load_prior, ncsnpp, velocity_prior
from kintsugi.priors.latent import LatentPrior
from kintsugi.problem import Problem
from kintsugi.samplers import available_samplers
from literal_adm import LiteralADM, randomise
from literal_edm_song import Song, random_state
from literal_ncsnpp import LiteralNCSNpp
from test_prior_adapters import TorchCFM, write_onnx
from test_prior_edm_adm import literal as edm_adm_literal
from test_prior_ncsnpp import CELEBA, DDPMPP
from toy import mixture

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")


def small(state: dict[str, Any]) -> dict[str, Any]:
    """The weights, of which the last layer answers quietly."""
    last = list(state)[-2:]
    return {name: 0.05 * value if name in last else value for name, value in state.items()}


def saved(pipe: Any, folder: Path, **options: Any) -> Prior:
    for name, parameter in (getattr(pipe, "unet", None) or pipe.transformer).named_parameters():
        if name.startswith(("conv_out", "proj_out")):
            parameter.data.mul_(0.05)
    pipe.save_pretrained(folder)
    return load_prior(folder, **options)


def onnx(folder: Path) -> Prior:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_onnx(folder / "model.onnx")
    return load_prior(folder / "model.onnx")


def of_pixels(make: Callable[[], Any]) -> Callable[[Path], Prior]:
    return lambda folder: saved(make(), folder)


def of_latents(name: str) -> Callable[[Path], Prior]:
    def make(folder: Path) -> Prior:
        with latents.others_warnings():
            prior = saved(latents.MAKERS[name](), folder, size=(16, 16))
            return prior.with_condition(label=3) if name == "dit" else prior.with_condition(prompt=latents.PROMPT)

    return make


def score_sde() -> Any:
    from diffusers.pipelines.deprecated import ScoreSdeVePipeline

    return ScoreSdeVePipeline(pixels.network(time_embedding_type="fourier"), diffusers.ScoreSdeVeScheduler())


FAMILIES: dict[str, Callable[[Path], Prior]] = {
    "photo": lambda _: load_prior("photo"),
    "ddpm": of_pixels(pixels.BETAS["ddpm"]),
    "ddim v": of_pixels(pixels.BETAS["ddim v"]),
    "zero snr": of_pixels(pixels.BETAS["zero snr"]),
    "edm": of_pixels(lambda: diffusers.DDPMPipeline(pixels.network(), diffusers.EDMEulerScheduler())),
    "score-sde": of_pixels(score_sde),
    "consistency": of_pixels(
        lambda: diffusers.ConsistencyModelPipeline(pixels.network(), diffusers.CMStochasticIterativeScheduler())
    ),
    "flow": of_pixels(lambda: diffusers.DDPMPipeline(pixels.network(), diffusers.FlowMatchEulerDiscreteScheduler())),
    "adm": lambda _: adm.load(small(randomise(LiteralADM()).state_dict()), size=8, head_channels=16),
    "adm classes": lambda _: adm.load(
        small(randomise(LiteralADM(classes=5)).state_dict()), size=8, head_channels=16
    ).with_condition(label=2),
    "rectified flow": lambda _: ncsnpp.load(small(LiteralNCSNpp(CELEBA).state_dict()), size=8),
    "score-sde vp": lambda _: ncsnpp.load(small(LiteralNCSNpp(DDPMPP).state_dict()), kind="vp", size=8),
    "edm adm": lambda _: edm_adm.load(edm_adm_literal().state_dict()),
    "edm song": lambda _: edm_song.load(random_state(Song())),
    "torchcfm": lambda _: velocity_prior(TorchCFM(mixture()), time_first=True, shape=(1, 4, 4)),
    "denoiser": lambda _: denoiser_prior(lambda x, s: x / (1 + 4 * s.view(-1, 1, 1, 1) ** 2), data_range=(0, 1)),
    "onnx": onnx,
}
LATENTS = {name: of_latents(name) for name in latents.MAKERS if name not in ("stable v", "schnell")}
_made: dict[str, Prior] = {}


@pytest.fixture
def prior(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    name = request.param
    if name not in _made:
        torch.manual_seed(0)
        _made[name] = (FAMILIES | LATENTS)[name](tmp_path_factory.mktemp("family"))
        _made[name].data_scale = math.inf  # not trained, they leave the range of their data
    return _made[name]


@pytest.mark.parametrize("sampler", available_samplers())
@pytest.mark.parametrize(
    "prior", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in LATENTS)], indirect=True
)
def test_every_sampler_on_every_family(prior: Prior, sampler: str) -> None:
    if isinstance(prior, LatentPrior):
        shape: tuple[int, ...] = prior.autoencoder.image_shape
    else:
        shape = tuple(n or 16 for n in prior.shape or (3, 16, 16))
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(shape[1:], generator=generator) < 0.6
    problem = Problem.simulate(torch.rand((1, *shape), generator=generator) - 0.5, Mask(keep, shape), noise=0.05)
    ran: list[int] = []
    refusal = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            restored = kintsugi.restore(problem, prior, sampler, steps=2, progress=lambda done, total: ran.append(done))
        except InvalidArgument as error:
            refusal = str(error)
    if refusal:
        assert not ran, "refused after a step"
        # A method for linear measurements, on latents; one that needs no noise, or gradients that are not there.
        reasons = ("linear operator", "noise", "gradients of the network", "velocity")
        assert any(reason in refusal for reason in reasons), refusal
    else:
        assert restored.samples.shape == (1, 1, *shape)
        assert restored.cost.forwards > 0
