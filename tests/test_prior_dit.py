"""A tiny DiT pipeline: its own pictures, its labels, and a restoration."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Mask
from kintsugi.priors.latent import LatentPrior
from kintsugi.problem import Problem

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")
SIDE, CODES = 16, (4, 8, 8)


def pipeline() -> Any:
    torch.manual_seed(0)
    net = diffusers.DiTTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=4, attention_head_dim=8, num_attention_heads=2, in_channels=4,
        out_channels=8, attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero", norm_elementwise_affine=False,
    )  # fmt: skip
    for parameter in net.parameters():  # what is born as zero must count
        torch.nn.init.normal_(parameter, std=0.1)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, scaling_factor=0.3,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return diffusers.DiTPipeline(
        net.eval(), vae.eval(), diffusers.DDIMScheduler(set_alpha_to_one=True, clip_sample=False)
    )


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> LatentPrior:
    folder = tmp_path_factory.mktemp("dit")
    pipeline().save_pretrained(folder)
    loaded = kintsugi.load_prior(folder)
    assert isinstance(loaded, LatentPrior)
    assert loaded.shape == CODES
    assert loaded.autoencoder.image_shape == (3, SIDE, SIDE)
    return loaded


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_its_own_pictures(prior: LatentPrior, scale: float) -> None:
    pipe = pipeline()
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe([207], guidance_scale=scale, num_inference_steps=5, output_type="pt",
                  generator=torch.Generator().manual_seed(3)).images  # fmt: skip
    z = torch.randn((1, *CODES), generator=torch.Generator().manual_seed(3))
    pipe.scheduler.set_timesteps(5)
    cumulative = pipe.scheduler.alphas_cumprod[pipe.scheduler.timesteps].double()
    levels = [*((1 - cumulative) / cumulative).sqrt().tolist(), 0.0]
    mine = prior.with_condition(label=207, guidance_scale=scale)
    z = z / cumulative[0].sqrt().float()
    for a, c in pairwise(levels):
        d = mine.denoise(z, torch.tensor([a]))
        z = d + c / a * (z - d)
    picture = (prior.autoencoder.decode(z) / 2 + 0.5).clamp(0, 1)
    assert float((picture - torch.as_tensor(theirs)).abs().max()) < 2e-3
    assert float(picture.std()) > 0.02


def test_without_a_label_it_is_the_prior_of_all_classes(prior: LatentPrior) -> None:
    z, eta = torch.randn(2, *CODES, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 3.0])
    net, step = pipeline().transformer, 1000 * prior.path.time(eta.double()) - 1
    x = z / (1 + eta**2).sqrt().view(-1, 1, 1, 1)
    noise = net(x, step.float(), class_labels=torch.tensor([1000, 1000])).sample[:, :4]
    torch.testing.assert_close(prior.denoise(z, eta), z - eta.view(-1, 1, 1, 1) * noise, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(prior.denoise(z, eta), prior.with_condition(label=3).denoise(z, eta), atol=1e-3)
    with pytest.raises(InvalidArgument, match="prompt"):
        prior.with_condition(prompt="a dog")
    with pytest.raises(InvalidArgument, match="label"):
        prior.with_condition(label=1000)


@pytest.mark.parametrize("sampler", ["dps", "reddiff", "latino", "kintsugi"])
def test_a_restoration(prior: LatentPrior, sampler: str) -> None:
    keep = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < 0.5
    problem = Problem.simulate(torch.zeros(1, 3, SIDE, SIDE), Mask(keep, (3, SIDE, SIDE)), noise=0.05)
    model = prior.with_condition(label=3)
    model.data_scale = math.inf  # not trained, it leaves the range of its data
    restored = kintsugi.restore(problem, model, sampler, steps=2)
    assert restored.samples.shape == (1, 1, 3, SIDE, SIDE)
