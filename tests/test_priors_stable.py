"""Latent pipelines of diffusers as priors, with tiny random networks of the real classes, saved and loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.operators import BlockAverage
from kintsugi.priors.latent import Autoencoder, LatentPrior
from kintsugi.priors.stable import from_pipeline
from kintsugi.problem import Problem

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

PROMPT = "a bowl"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@contextmanager
def others_warnings() -> Iterator[None]:
    """What the two libraries say of their own is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- tiny parts -------------------------------------------------------------------------------------------------------


def clip_tokenizer() -> Any:
    """Letters, alone and as the last of a word, without merges; texts are padded to 8 tokens."""
    vocabulary = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    ids = {token: i for i, token in enumerate(vocabulary)}
    return transformers.CLIPTokenizer(vocab=ids, merges=[], model_max_length=8)


def clip(projected: bool) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=54,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        projection_dim=8,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config).eval()


def t5_tokenizer() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=8)


def t5(width: int = 8) -> Any:
    config = transformers.T5Config(
        vocab_size=30, d_model=width, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5EncoderModel(config).eval()


def vae(channels: int = 4, **config: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=2,
        sample_size=16,
        **config,
    ).eval()


def unet(**config: Any) -> Any:
    plain = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return diffusers.UNet2DConditionModel(**plain | config).eval()


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def ddim(**config: Any) -> Any:
    # As the pipelines' own configs have it: no clipping, the last step ends at the first level.
    return diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, **config)


def stable(prediction: str = "epsilon", **config: Any) -> Any:
    parts = {"vae": vae(), "text_encoder": clip(False), "tokenizer": clip_tokenizer(), "unet": unet(**config)}
    extras = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return diffusers.StableDiffusionPipeline(**parts, **extras, scheduler=ddim(prediction_type=prediction))


def xl() -> Any:
    net = unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 8,
        cross_attention_dim=16,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(False),
        text_encoder_2=clip(True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=net,
        scheduler=ddim(),
    )


def three() -> Any:
    net = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
    )
    return diffusers.StableDiffusion3Pipeline(
        vae=vae(16, shift_factor=0.0609, scaling_factor=1.5305, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(True),
        text_encoder_2=clip(True),
        text_encoder_3=t5(32),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=t5_tokenizer(),
        transformer=net,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(guidance: bool = True) -> Any:
    net = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
    )
    return diffusers.FluxPipeline(
        vae=vae(4, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(False),
        text_encoder_2=t5(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        transformer=net,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def dit() -> Any:
    net = diffusers.DiTTransformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_embeds_ada_norm=10,
    )
    return diffusers.DiTPipeline(transformer=net, vae=vae(), scheduler=diffusers.DDIMScheduler(clip_sample=False))


MAKERS: dict[str, Callable[[], Any]] = {
    "stable": stable,
    "stable v": lambda: stable("v_prediction"),
    "xl": xl,
    "three": three,
    "flux": flux,
    "schnell": lambda: flux(guidance=False),
    "dit": dit,
}


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each pipeline, made at random, saved and loaded as any other."""
    out = {}
    with others_warnings():
        for name, make in MAKERS.items():
            torch.manual_seed(0)
            folder: Path = tmp_path_factory.mktemp("pipe") / name.replace(" ", "-")
            pipe = make()
            # Random networks end in zeros; these answer.
            for part in (getattr(pipe, "unet", None), getattr(pipe, "transformer", None)):
                for weight in () if part is None else part.parameters():
                    if not bool(weight.any()):
                        torch.nn.init.normal_(weight, std=0.2)
            pipe.save_pretrained(folder)
            out[name] = diffusers.DiffusionPipeline.from_pretrained(folder)
            out[name].set_progress_bar_config(disable=True)
    return out


def prior_of(pipes: dict[str, Any], name: str, size: tuple[int, int] = (16, 16)) -> LatentPrior:
    with others_warnings():
        return from_pipeline(pipes[name], size=size)


# --- what the networks are asked --------------------------------------------------------------------------------------


def at(prior: LatentPrior, eta: float, rows: int = 2) -> tuple[Tensor, Tensor]:
    z = torch.randn(rows, *prior.autoencoder.latent_shape, generator=torch.Generator().manual_seed(1))
    return z, torch.full((rows,), eta)


def conditioned(prior: LatentPrior, **words: Any) -> LatentPrior:
    with others_warnings():
        return prior.with_condition(**words)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("step", [1, 300, 999])
@pytest.mark.parametrize("name", ["stable", "stable v", "xl"])
def test_diffusion_pipelines(pipes: dict[str, Any], name: str, step: int, scale: float) -> None:
    """D by the parametrisation's formula, from the network as the pipeline calls it."""
    pipe, prior = pipes[name], conditioned(prior_of(pipes, name), prompt=PROMPT, guidance_scale=scale)
    bar = float(pipe.scheduler.alphas_cumprod[step].double())
    z, eta = at(prior, ((1 - bar) / bar) ** 0.5)
    x = bar**0.5 * z
    with torch.no_grad(), others_warnings():
        words = pipe.encode_prompt(
            PROMPT, device="cpu", num_images_per_prompt=2, do_classifier_free_guidance=True, negative_prompt=None
        )
        out = []
        for i in range(2):
            added = None
            if name == "xl":
                ids = torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)
                added = {"text_embeds": words[2 + i].expand(2, -1), "time_ids": ids}
            out.append(
                pipe.unet(x, step, encoder_hidden_states=words[i].expand(2, -1, -1), added_cond_kwargs=added).sample
            )
        said = out[1] + scale * (out[0] - out[1])
        got = prior.denoise(z, eta)
    v = name == "stable v"
    wanted = bar**0.5 * x - (1 - bar) ** 0.5 * said if v else (x - (1 - bar) ** 0.5 * said) / bar**0.5
    torch.testing.assert_close(got, wanted, rtol=2e-4, atol=2e-4 * float(wanted.abs().max()))
    assert prior.evaluations == (1 if scale == 1 else 2)
    assert float((out[0] - out[1]).abs().max()) > 1e-4  # the prompt says something


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("eta", [0.1, 1.0, 20.0])
def test_sd3(pipes: dict[str, Any], eta: float, scale: float) -> None:
    pipe, prior = pipes["three"], conditioned(prior_of(pipes, "three"), prompt=PROMPT, guidance_scale=scale)
    z, level = at(prior, eta)
    t = eta / (1 + eta)
    with torch.no_grad(), others_warnings():
        words = pipe.encode_prompt(PROMPT, PROMPT, PROMPT, do_classifier_free_guidance=True, num_images_per_prompt=2)
        out = [
            pipe.transformer(
                (1 - t) * z,
                timestep=torch.full((2,), 1000 * t),
                encoder_hidden_states=words[i],
                pooled_projections=words[2 + i],
            ).sample
            for i in range(2)
        ]
        velocity = out[1] + scale * (out[0] - out[1])
        got = prior.denoise(z, level)
    torch.testing.assert_close(got, (1 - t) * z - t * velocity, rtol=1e-4, atol=1e-4)
    assert float((out[0] - out[1]).abs().max()) > 1e-4
    assert prior.evaluations == (1 if scale == 1 else 2)


@pytest.mark.parametrize("eta", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("name", ["flux", "schnell"])
def test_flux(pipes: dict[str, Any], name: str, eta: float) -> None:
    """Cells packed, the time not times 1000, the scale an input; a picture that is not square."""
    pipe = pipes[name]
    prior = conditioned(prior_of(pipes, name, size=(8, 16)), prompt=PROMPT, guidance_scale=2.5)
    z, level = at(prior, eta)
    assert z.shape == (2, 4, 4, 8)
    t = eta / (1 + eta)
    ids = pipe._prepare_latent_image_ids(2, 2, 4, "cpu", torch.float32)
    out = []
    with torch.no_grad(), others_warnings():
        for prompt in (PROMPT, ""):
            given, pooled, text_ids = pipe.encode_prompt(prompt, None, num_images_per_prompt=2)
            (packed,) = pipe.transformer(
                hidden_states=pipe._pack_latents((1 - t) * z, 2, 4, 4, 8),
                timestep=torch.full((2,), t),
                guidance=torch.full((2,), 2.5) if name == "flux" else None,
                pooled_projections=pooled,
                encoder_hidden_states=given,
                txt_ids=text_ids,
                img_ids=ids,
                return_dict=False,
            )
            out.append(pipe._unpack_latents(packed, 8, 16, pipe.vae_scale_factor))
        velocity = out[0] if name == "flux" else out[1] + 2.5 * (out[0] - out[1])
        got = prior.denoise(z, level)
    torch.testing.assert_close(got, (1 - t) * z - t * velocity, rtol=1e-4, atol=1e-4)
    assert float((out[0] - out[1]).abs().max()) > 1e-5
    assert prior.evaluations == (1 if name == "flux" else 2)


def test_dit(pipes: dict[str, Any]) -> None:
    pipe, prior = pipes["dit"], prior_of(pipes, "dit").with_condition(label=3, guidance_scale=4.0)
    bar = float(pipe.scheduler.alphas_cumprod[500].double())
    z, eta = at(prior, ((1 - bar) / bar) ** 0.5)
    with torch.no_grad():
        x, steps = bar**0.5 * z, torch.tensor([500, 500])
        out = [pipe.transformer(x, steps, torch.tensor([k, k])).sample[:, :4] for k in (3, 10)]
        eps = out[1] + 4 * (out[0] - out[1])
        torch.testing.assert_close(prior.denoise(z, eta), (x - (1 - bar) ** 0.5 * eps) / bar**0.5, rtol=2e-4, atol=2e-3)
    with pytest.raises(InvalidArgument, match=r"^size: expected \(16, 16\)"):
        from_pipeline(pipe, size=(32, 32))


def test_a_scale_is_an_input_of_distilled_networks(pipes: dict[str, Any]) -> None:
    with others_warnings():
        torch.manual_seed(0)
        pipe = stable(time_cond_proj_dim=6)
        torch.nn.init.normal_(pipe.unet.conv_out.weight)
        prior = from_pipeline(pipe).with_condition(prompt=PROMPT, guidance_scale=3.0)
        words = pipe.encode_prompt(PROMPT, "cpu", 2, False)[0]
    bar = float(pipe.scheduler.alphas_cumprod[500].double())
    z, eta = at(prior, ((1 - bar) / bar) ** 0.5)
    with torch.no_grad():
        x, told = bar**0.5 * z, pipe.get_guidance_scale_embedding(torch.tensor([2.0, 2.0]), 6)
        eps = pipe.unet(x, 500, encoder_hidden_states=words, timestep_cond=told).sample
        wanted = (x - (1 - bar) ** 0.5 * eps) / bar**0.5
        torch.testing.assert_close(prior.denoise(z, eta), wanted, rtol=2e-4, atol=2e-4 * float(wanted.abs().max()))
    assert prior.evaluations == 1


# --- against the pipelines' own sampling ------------------------------------------------------------------------------


def trajectory(pipe: Any, steps: int, start: Tensor, **settings: Any) -> tuple[list[Tensor], Any]:
    """The latents before and after each step of the pipeline, and its last result."""
    seen = [start]

    def keep(pipe: Any, i: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].clone())
        return values

    with others_warnings():
        last = pipe(
            PROMPT,
            latents=start.clone(),
            num_inference_steps=steps,
            callback_on_step_end=keep,
            output_type="latent",
            **settings,
        ).images
    return seen, last


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("name", ["stable", "stable v", "xl"])
def test_ddim_is_the_pipelines(pipes: dict[str, Any], name: str, scale: float) -> None:
    pipe, prior = pipes[name], conditioned(prior_of(pipes, name), prompt=PROMPT, guidance_scale=scale)
    start, _ = at(prior, 1.0, 1)
    seen, last = trajectory(pipe, 4, start, height=16, width=16, guidance_scale=scale)
    torch.testing.assert_close(last, seen[-1])
    bars = pipe.scheduler.alphas_cumprod.double()
    for i, t in enumerate(pipe.scheduler.timesteps.tolist()):
        bar, after = float(bars[t]), float(bars[max(t - 250, 0)])
        z, eta = seen[i] / bar**0.5, ((1 - bar) / bar) ** 0.5
        with torch.no_grad():
            d = prior.denoise(z, torch.tensor([eta]))
        x = after**0.5 * d + (1 - after) ** 0.5 * (z - d) / eta
        torch.testing.assert_close(x, seen[i + 1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_euler_is_sd3s(pipes: dict[str, Any], scale: float) -> None:
    pipe, prior = pipes["three"], conditioned(prior_of(pipes, "three"), prompt=PROMPT, guidance_scale=scale)
    start, _ = at(prior, 1.0, 1)
    seen, last = trajectory(pipe, 4, start, height=16, width=16, guidance_scale=scale)
    torch.testing.assert_close(last, seen[-1])
    times = pipe.scheduler.sigmas.double().tolist()
    assert times[0] == 1  # where eta is infinite: compared from the second step on
    for i in range(1, 4):
        t, s = times[i], times[i + 1]
        with torch.no_grad():
            d = prior.denoise(seen[i] / (1 - t), torch.tensor([t / (1 - t)]))
        torch.testing.assert_close(d + (s / t) * (seen[i] - d), seen[i + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["stable", "three"])
def test_images_are_the_pipelines(pipes: dict[str, Any], name: str) -> None:
    pipe, prior = pipes[name], prior_of(pipes, name)
    z, _ = at(prior, 1.0)
    config = pipe.vae.config
    with torch.no_grad():
        wanted = pipe.vae.decode(z / config.scaling_factor + (config.shift_factor or 0)).sample
        image = prior.autoencoder.decode(z)
        torch.testing.assert_close(image, wanted)
        mode = pipe.vae.encode(image).latent_dist.mode()
        torch.testing.assert_close(
            prior.autoencoder.encode(image), (mode - (config.shift_factor or 0)) * config.scaling_factor
        )
    assert image.shape == (2, 3, 16, 16)


def test_other_autoencoders() -> None:
    """A mean and a variance a channel; and the small one, which has no distribution of codes."""
    torch.manual_seed(0)
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 0.5, 3.0]
    net = vae(latents_mean=mean, latents_std=std, scaling_factor=0.5)
    z = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        raw = z * torch.tensor(std).view(4, 1, 1) / 0.5 + torch.tensor(mean).view(4, 1, 1)
        torch.testing.assert_close(Autoencoder.of(net, (16, 16)).decode(z), net.decode(raw).sample)
        tiny = diffusers.AutoencoderTiny(
            encoder_block_out_channels=(4, 4),
            decoder_block_out_channels=(4, 4),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ).eval()
        code, x = Autoencoder.of(tiny, (16, 16)), torch.rand(1, 3, 16, 16)
        torch.testing.assert_close(code.encode(x), tiny.encode(x).latents)
        assert code.decode(code.encode(x)).shape == x.shape


# --- as a prior -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sampler", "costs"),
    [
        ("stable", "dps", (2, 2)),
        ("stable", "kintsugi", (2, 0)),
        ("stable v", "psld", (2, 2)),
        ("xl", "latino", (2, 0)),
        ("three", "flowdps", (2, 0)),
        ("three", "resample", (2, 0)),
        ("flux", "dps", (2, 2)),
        ("dit", "latino", (2, 0)),
    ],
)
def test_restoring(pipes: dict[str, Any], name: str, sampler: str, costs: tuple[int, int]) -> None:
    prior = prior_of(pipes, name)
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    problem = Problem.simulate(x, BlockAverage((3, 16, 16), 2), 0.05)
    settings = {"iterations": 5} if sampler == "resample" else {}
    result = kintsugi.restore(problem, prior, sampler, steps=2, samples=2, **settings)
    assert result.samples.shape == (1, 2, 3, 16, 16)
    assert (result.cost.forwards, result.cost.vjps) == costs
    assert not any(p.requires_grad or p.grad is not None for p in prior.parameters())


def test_a_double_measurement_runs_through_single_networks(pipes: dict[str, Any]) -> None:
    prior = prior_of(pipes, "stable")
    problem = Problem(torch.zeros(1, 3, 8, 8, dtype=torch.float64), BlockAverage((3, 16, 16), 2), 0.05)
    assert kintsugi.restore(problem, prior, "latino", steps=2).samples.dtype == torch.float64


def test_conditions(pipes: dict[str, Any]) -> None:
    prior = prior_of(pipes, "stable")
    bowl = conditioned(prior, prompt=PROMPT)
    assert prior.evaluations == 1
    assert bowl.evaluations == 2
    assert bowl.condition is not None
    assert bowl.condition.words == {"prompt": PROMPT, "guidance_scale": 7.5}
    assert bowl.network is prior.network
    # Nothing to exaggerate without a prompt.
    assert conditioned(prior, guidance_scale=3.0).evaluations == 1
    refused: tuple[dict[str, Any], ...] = ({"label": 3}, {"prompt": 3}, {"guidance_scale": -1})
    for words in refused:
        with pytest.raises(InvalidArgument, match=f"^{next(iter(words))}: "):
            prior.with_condition(**words)
    z, eta = at(prior, 1.0)
    with torch.no_grad():
        assert float((bowl.denoise(z, eta) - prior.denoise(z, eta)).abs().max()) > 1e-3


def test_half_precision(pipes: dict[str, Any]) -> None:
    """Networks in bfloat16, measurements and samples in float32."""
    torch.manual_seed(0)
    with others_warnings():
        prior = from_pipeline(stable().to(torch.bfloat16)).with_condition(prompt=PROMPT)
    problem = Problem(torch.zeros(1, 3, 8, 8), BlockAverage((3, 16, 16), 2), 0.05)
    for sampler in ("psld", "latino"):
        assert kintsugi.restore(problem, prior, sampler, steps=2).samples.dtype == torch.float32


def test_an_autoencoder_that_overflows_in_half_precision_stays_in_single(tmp_path: Path) -> None:
    pipe = stable()
    pipe.vae.register_to_config(force_upcast=True)
    pipe.save_pretrained(tmp_path)
    with others_warnings():
        prior = kintsugi.load_prior(tmp_path, dtype=torch.float16, size=(16, 16))
    assert isinstance(prior, LatentPrior)
    assert next(prior.network.parameters()).dtype == torch.float16  # type: ignore[union-attr]
    assert next(prior.autoencoder.parameters()).dtype == torch.float32


def test_sizes(pipes: dict[str, Any]) -> None:
    with others_warnings():
        assert from_pipeline(pipes["stable"]).autoencoder.image_shape == (3, 16, 16)
        assert from_pipeline(pipes["stable"], size=(24, 32)).shape == (4, 12, 16)
        assert from_pipeline(pipes["flux"]).autoencoder.image_shape == (3, 256, 256)
    for name, size in {"stable": (17, 16), "three": (18, 16), "flux": (16, 10), "xl": "16"}.items():
        with pytest.raises(InvalidArgument, match=r"^size: "):
            from_pipeline(pipes[name], size=size)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^size: expected at most 8 patches"):
        from_pipeline(pipes["three"], size=(64, 64))


def test_pipelines_that_are_none_of_these() -> None:
    torch.manual_seed(0)
    with others_warnings():
        ddpm = diffusers.DDPMPipeline(
            diffusers.UNet2DModel(
                sample_size=8,
                block_out_channels=(32, 32),
                down_block_types=("DownBlock2D",) * 2,
                up_block_types=("UpBlock2D",) * 2,
            ),
            diffusers.DDPMScheduler(),
        )
        inpainting, mute = stable(in_channels=9), stable()
        mute.text_encoder = None
    for pipe, said in ((ddpm, "a pipeline with an auto"), (inpainting, "a text-to-image model"), (mute, "one with it")):
        with pytest.raises(InvalidArgument, match=f"^pipe: expected {said}"):
            from_pipeline(pipe)
