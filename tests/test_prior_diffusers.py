"""diffusers pipelines with random weights, saved by the library itself and loaded by one string.

The adapter's denoiser is held to the scheduler's own formula, and sampling to the pipeline's own, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.operators import Mask
from kintsugi.paths import VE, DiscreteVP, FlowMatching
from kintsugi.priors import ModelPrior
from kintsugi.priors.diffusers import meaning
from kintsugi.problem import Problem
from kintsugi.samplers.schedule import Schedule

diffusers = pytest.importorskip("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore")

SIZE, ETAS = 16, [0.05, 0.4, 2.0, 20.0]


def network(**config: Any) -> Any:
    torch.manual_seed(0)
    words = {
        "sample_size": SIZE, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
    }  # fmt: skip
    return diffusers.UNet2DModel(**{**words, **config}).eval()


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


Pipelines = dict[str, Callable[[], Any]]
BETAS: Pipelines = {
    "ddpm": lambda: diffusers.DDPMPipeline(network(), diffusers.DDPMScheduler(clip_sample=False)),
    "ddim cosine": lambda: diffusers.DDIMPipeline(
        network(), diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False)
    ),
    "ddim v": lambda: diffusers.DDIMPipeline(
        network(), diffusers.DDIMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear")
    ),
    "ddpm sample": lambda: diffusers.DDPMPipeline(network(), diffusers.DDPMScheduler(prediction_type="sample")),
    "zero snr": lambda: diffusers.DDIMPipeline(
        network(), diffusers.DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    ),
    "own betas": lambda: diffusers.DDPMPipeline(
        network(), diffusers.DDPMScheduler(num_train_timesteps=50, trained_betas=[0.002 * (k + 1) for k in range(50)])
    ),
}


def load(pipe: Any, folder: Path, **options: Any) -> ModelPrior:
    """Saved by the library, loaded by the public entry."""
    pipe.save_pretrained(folder)
    prior = kintsugi.load_prior(folder, **options)
    assert isinstance(prior, ModelPrior)
    return prior


# --- the denoiser against each scheduler's own words ------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", BETAS)
def test_pipelines_with_betas(name: str, tmp_path: Path) -> None:
    """At its own steps the scheduler says what x_0 is: ``pred_original_sample``."""
    pipe = BETAS[name]()
    prior = load(pipe, tmp_path)
    scheduler = diffusers.DDIMScheduler.from_config(
        pipe.scheduler.config, clip_sample=False, set_alpha_to_one=True, thresholding=False
    )
    steps = len(scheduler.alphas_cumprod)
    scheduler.set_timesteps(steps)
    assert isinstance(prior.path, DiscreteVP)
    for step in (0, 1, steps // 3, steps - 2):
        cumulative = scheduler.alphas_cumprod[step].double()
        eta = ((1 - cumulative) / cumulative).sqrt()
        x = randn(2, 3, SIZE, SIZE, seed=step)
        out = pipe.unet(x, torch.tensor(step), return_dict=False)[0]
        theirs = scheduler.step(out, step, x).pred_original_sample
        mine = prior.denoise(x / cumulative.sqrt().float(), eta.expand(2))
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine / scale, theirs / scale, rtol=0, atol=3e-5)
        assert float(prior.path.eta((step + 1) / len(prior.path.betas))) == pytest.approx(float(eta), rel=1e-3)
    assert len(prior.path.betas) == steps - (name == "zero snr")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
def test_edm(kind: str, scheduler: str, tmp_path: Path) -> None:
    made = getattr(diffusers, scheduler)(prediction_type=kind, sigma_max=70.0)
    prior = load(diffusers.DDPMPipeline(network(), made), tmp_path)
    net = network()
    assert prior.path == VE(70.0)
    for eta in ETAS:
        sigma, z = torch.tensor(eta), eta * randn(2, 3, SIZE, SIZE)
        out = net(made.precondition_inputs(z, sigma), made.precondition_noise(sigma), return_dict=False)[0]
        theirs = made.precondition_outputs(z, out, sigma)
        torch.testing.assert_close(prior.denoise(z, sigma.expand(2)), theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_score_sde_ve(tmp_path: Path) -> None:
    """Data in [0, 1]; the network's output is the score of x' = (x + 1) / 2 at sigma = eta / 2."""
    from diffusers.pipelines.deprecated import ScoreSdeVePipeline

    net = network(time_embedding_type="fourier", freq_shift=0)
    prior = load(ScoreSdeVePipeline(net, diffusers.ScoreSdeVeScheduler(sigma_max=348.0)), tmp_path)
    for eta in ETAS:
        z = randn(2, 3, SIZE, SIZE) * (1 + eta)
        sigma = eta / 2
        score = net((z + 1) / 2, torch.full((2,), sigma), return_dict=False)[0]
        theirs = 2 * ((z + 1) / 2 + sigma**2 * score) - 1
        torch.testing.assert_close(prior.denoise(z, torch.full((2,), eta)), theirs, rtol=1e-5, atol=1e-4 * (1 + eta))
    assert prior.path.eta_max == 696.0


@torch.no_grad()
def test_consistency_models(tmp_path: Path) -> None:
    scheduler = diffusers.CMStochasticIterativeScheduler()
    pipe = diffusers.ConsistencyModelPipeline(network(num_class_embeds=5), scheduler)
    prior = load(pipe, tmp_path).with_condition(label=3)
    scheduler.set_timesteps(timesteps=[22, 0])
    sigma = scheduler.sigmas[0]
    x = sigma * randn(1, 3, SIZE, SIZE)
    given = scheduler.scale_model_input(x, scheduler.timesteps[0])
    out = pipe.unet(given, scheduler.timesteps[0], class_labels=torch.tensor([3]), return_dict=False)[0]
    scalings = scheduler.get_scalings_for_boundary_condition(sigma)
    torch.testing.assert_close(prior.denoise(x, sigma[None]), scalings[1] * out + scalings[0] * x, rtol=1e-4, atol=1e-4)
    # At the end of the trajectory it is the identity.
    z = randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(prior.denoise(z, torch.tensor([0.002])), z)


@torch.no_grad()
def test_flow_matching(tmp_path: Path) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    prior = load(diffusers.DDPMPipeline(network(), scheduler), tmp_path)
    net = network()
    assert prior.path == FlowMatching()
    scheduler.set_timesteps(4)
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        if sigma == 1:  # pure noise, an infinite level
            continue
        x = randn(2, 3, SIZE, SIZE)
        v = net(x, t, return_dict=False)[0]
        theirs = x - sigma * v
        mine = prior.denoise(x / (1 - sigma), (sigma / (1 - sigma)).expand(2))
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


# --- sampling ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", ["ddpm", "ddim cosine", "ddim v"])
def test_unconditional_ddim_is_the_pipelines_own_step_by_step(name: str, tmp_path: Path) -> None:
    pipe = BETAS[name]()
    scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False, set_alpha_to_one=True)
    pipe = diffusers.DDIMPipeline(pipe.unet, scheduler)
    prior = load(pipe, tmp_path)
    prior.data_scale = math.inf  # it is not trained, and leaves the range of pictures
    pipe.set_progress_bar_config(disable=True)
    count = 8
    scheduler.set_timesteps(count)
    cumulative = scheduler.alphas_cumprod[scheduler.timesteps].double()
    levels = ((1 - cumulative) / cumulative).sqrt().tolist()
    problem = Problem(torch.zeros(1, 3, SIZE, SIZE), Mask(torch.ones(SIZE, SIZE), (3, SIZE, SIZE)))

    for stop in (1, 3, count):  # the levels up to here: x_0 as it is predicted there
        schedule = Schedule(start="zero", grid=tuple(levels[:stop]))
        mine = kintsugi.restore(problem, prior, "ddim", steps=stop, schedule=schedule).samples[0]
        x = first_noise(problem) * float((1 - cumulative[0]).sqrt())
        for t in scheduler.timesteps[:stop]:
            out = scheduler.step(pipe.unet(x, t, return_dict=False)[0], t, x)
            x = out.prev_sample
        theirs = out.pred_original_sample
        # What the sampler starts from is noise of the first level; the pipeline from noise of variance 1.
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine / scale, theirs / scale, rtol=0, atol=2e-4)


def first_noise(problem: Problem) -> Tensor:
    from kintsugi.noise import RowNoise

    return RowNoise([(0, 0, 0)]).normal(problem.operator.in_shape, problem.batch)


@torch.no_grad()
def test_the_pictures_of_the_pipeline_itself(tmp_path: Path) -> None:
    """The whole of ``pipe()``, with its own first noise."""
    pipe = BETAS["ddim cosine"]()
    prior = load(pipe, tmp_path)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(num_inference_steps=6, generator=torch.Generator().manual_seed(5), output_type="np").images
    x = torch.randn((1, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(5))
    pipe.scheduler.set_timesteps(6)
    cumulative = pipe.scheduler.alphas_cumprod[pipe.scheduler.timesteps].double()
    levels = [*((1 - cumulative) / cumulative).sqrt().tolist(), 0.0]
    z = x / cumulative[0].sqrt().float()
    for a, c in pairwise(levels):
        d = prior.denoise(z, torch.tensor([a]))
        z = d + c / a * (z - d)
    mine = (z / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    assert float(abs(mine - theirs[0]).max()) < 2e-3


# --- options and mistakes ---------------------------------------------------------------------------------------------


def test_options_of_loading(tmp_path: Path) -> None:
    pipe = BETAS["ddpm"]()
    plain = load(pipe, tmp_path)
    z, eta = randn(1, 3, SIZE, SIZE), torch.tensor([0.7])
    expected = plain.denoise(z, eta)
    assert plain.shape == (3, SIZE, SIZE)
    assert not any(p.requires_grad for p in plain.parameters())
    last = kintsugi.load_prior(tmp_path, channels_last=True, attention_slicing=True)
    torch.testing.assert_close(last.denoise(z, eta), expected, rtol=1e-4, atol=1e-5)
    half = kintsugi.load_prior(tmp_path, dtype=torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16
    out = half.denoise(z, eta)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=0.1, atol=0.1)
    nearest = kintsugi.load_prior(tmp_path, between="nearest")
    assert float((nearest.denoise(z, eta) - expected).abs().max()) < 0.05
    wide = kintsugi.load_prior(tmp_path, windows=4)
    assert wide.denoise(randn(1, 3, 20, 30), eta).shape == (1, 3, 20, 30)
    with pytest.raises(InvalidArgument, match="size: expected an option of DDPMPipeline: between"):
        kintsugi.load_prior(tmp_path, size=16)
    with pytest.raises(InvalidArgument, match="attention_slicing"):
        kintsugi.load_prior("photo", attention_slicing=True)


def test_a_compiled_network_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    prior = load(BETAS["ddpm"](), tmp_path, compile=True)
    assert compiled == [prior.network]
    assert kintsugi.load_prior("photo", compile=True).net is compiled[1]


def test_an_image_is_restored(tmp_path: Path) -> None:
    prior = load(BETAS["ddpm"](), tmp_path)
    prior.data_scale = math.inf  # it is not trained, and leaves the range of pictures
    keep = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.5
    problem = Problem.simulate(randn(1, 3, SIZE, SIZE).clamp(-1, 1), Mask(keep, (3, SIZE, SIZE)))
    for sampler in ("kintsugi", "cpigdm", "reddiff"):
        restored = kintsugi.restore(problem, prior, sampler, steps=3).samples[0]
        assert restored.shape == (1, 3, SIZE, SIZE)
    large = Problem.simulate(torch.zeros(1, 3, 24, 24), Mask(torch.ones(24, 24), (3, 24, 24)))
    with pytest.raises(InvalidArgument, match=r"load_prior\(..., windows=True\)"):
        kintsugi.restore(large, prior, steps=2)


def test_what_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    class Odd:
        config = {"prediction_type": "epsilon"}  # noqa: RUF012

    with pytest.raises(InvalidArgument, match="scheduler: expected one with betas"):
        meaning(Odd())
    wrong = diffusers.DDPMScheduler()
    wrong.register_to_config(prediction_type="flow")
    with pytest.raises(InvalidArgument, match="prediction_type"):
        meaning(wrong)
    network().save_pretrained(tmp_path / "bare")
    with pytest.raises(InvalidFile, match="bare"):  # a network without a scheduler: no path, no prediction
        kintsugi.load_prior(tmp_path / "bare")


def test_a_name_on_the_hub_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("nobody-here/no-such-model", "ddpm-celebahq", "nobody-here/no-such-model:weights.pt"):
        with pytest.raises(InvalidFile, match="hf download"):
            kintsugi.load_prior(name)
