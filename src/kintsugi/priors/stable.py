"""Latent pipelines of the diffusers library as priors: Stable Diffusion, SDXL, SD3, FLUX and DiT.

| pipeline | network | told the time | predicts | also told |
|---|---|---|---|---|
| Stable Diffusion 1.x, 2.x | U-Net | step | by its scheduler | the prompt |
| SDXL | U-Net | step | by its scheduler | the prompt, pooled too; the size of the picture, no crop |
| SD3 | transformer | 1000 t | velocity | the prompt, pooled too |
| FLUX | transformer of 2 x 2 cells | t | velocity | the prompt, pooled too; places of cells; guidance |
| DiT | transformer | step | by its scheduler | a class |

Prompts are encoded by the pipeline's own ``encode_prompt``. Without one the model is asked as the pipeline asks it for
the unconditional part of classifier-free guidance: with the empty text or, where SDXL's config says so, zeros. Networks
that were distilled to take the guidance scale as an input (FLUX dev, latent consistency models) are told it, in one
evaluation; others have two where a prompt is given and the scale is not 1.

Flow models are seen on the plain path ``x_t = (1 - t) x_0 + t eps``: the ``shift`` of their schedulers is a choice of
times to visit, not of what the network means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidArgument
from ..paths import FlowMatching
from .clock import Between, Time
from .diffusers import meaning
from .latent import Autoencoder, LatentPrior, Text, check_size
from .model import Condition

Words = dict[str, Tensor]  # arguments of a network for one row
Encode = Callable[[str], tuple[Words, Words]]  # those of a prompt, and of none
Scale = Callable[[float], Words]


def from_pipeline(
    pipe: Any,
    *,
    size: tuple[int, int] | None = None,
    between: Between = "interpolate",
    card: Mapping[str, Any] | None = None,
) -> LatentPrior:
    """A loaded pipeline as a prior; the weights of its network and of its autoencoder are shared, and frozen.

    size: height and width of the images, None for the model's own. between: how to ask a diffusion network between its
    training steps, see :class:`~kintsugi.priors.clock.Steps`; flow models know every time.

    Errors: :class:`InvalidArgument` for a pipeline that is none of these, or a size that it cannot have.
    """
    name = type(pipe).__name__
    unet, transformer = getattr(pipe, "unet", None), getattr(pipe, "transformer", None)
    kind = type(transformer).__name__
    if getattr(pipe, "vae", None) is None:
        raise InvalidArgument("pipe", name, "a pipeline with an autoencoder")
    if type(unet).__name__ == "UNet2DConditionModel":
        return _diffusion(pipe, unet, size, between, card)
    if kind == "DiTTransformer2DModel":
        return _dit(pipe, transformer, size, between, card)
    if kind == "SD3Transformer2DModel":
        return _sd3(pipe, transformer, size, card)
    if kind == "FluxTransformer2DModel":
        return _flux(pipe, transformer, size, card)
    raise InvalidArgument("pipe", name, "a pipeline of Stable Diffusion, SDXL, SD3, FLUX or DiT")


def _diffusion(pipe: Any, net: Any, size: Any, between: Between, card: Any) -> LatentPrior:
    code = _autoencoder(pipe, size, net.config.sample_size, net.config.in_channels, 1)
    text, kind = _text_encoder(pipe, net.dtype), net.config.addition_embed_type
    distilled = net.config.time_cond_proj_dim

    def embedded(scale: float) -> Words:
        return {"timestep_cond": pipe.get_guidance_scale_embedding(torch.tensor([scale - 1]), distilled).to(net.dtype)}

    if kind not in (None, "text_time"):
        raise InvalidArgument("pipe", f"a U-Net with {kind!r}", "one of Stable Diffusion or SDXL")
    wide = kind == "text_time"
    if wide and pipe.config.get("requires_aesthetics_score"):
        raise InvalidArgument("pipe", "a refiner", "a base model")

    def encode(prompt: str) -> tuple[Words, Words]:
        parts = text(prompt, num_images_per_prompt=1, do_classifier_free_guidance=True)
        height, width = code.image_shape[1:]
        ids = {"time_ids": torch.tensor([[height, width, 0, 0, height, width]]).to(net.dtype)}
        given, null = ({"encoder_hidden_states": p} for p in parts[:2])
        if wide:
            given, null = ({**w, "text_embeds": p, **ids} for w, p in zip((given, null), parts[2:], strict=True))
        return given, null

    said = meaning(pipe.scheduler, between=between)
    return LatentPrior(
        _WithPooled(_frozen(net)) if wide else _frozen(net),
        said.path,
        said.prediction,
        said.clock,
        code,
        text=_condition(encode, 5.0 if wide else 7.5, embedded if distilled else None),
        card=card,
    )


def _dit(pipe: Any, net: Any, size: Any, between: Between, card: Any) -> LatentPrior:
    classes = net.config.num_embeds_ada_norm
    said = meaning(pipe.scheduler, between=between)
    if size is not None:
        check_size(size, 1)
    code = _autoencoder(pipe, None, net.config.sample_size, net.config.in_channels, 1)
    if size is not None and tuple(size) != code.image_shape[1:]:
        raise InvalidArgument("size", size, f"{code.image_shape[1:]}, the only size of this model")
    return LatentPrior(
        _frozen(net), said.path, said.prediction, said.clock, code, classes=classes, null_label=classes, card=card
    )


def _sd3(pipe: Any, net: Any, size: Any, card: Any) -> LatentPrior:
    code = _autoencoder(pipe, size, net.config.sample_size, net.config.in_channels, net.config.patch_size)
    cells = max(code.latent_shape[1:]) // net.config.patch_size
    if cells > net.config.pos_embed_max_size:
        raise InvalidArgument("size", size, f"at most {net.config.pos_embed_max_size} patches a side")
    text = _text_encoder(pipe, net.dtype)

    def encode(prompt: str) -> tuple[Words, Words]:
        given, null, pooled, null_pooled = text(prompt, None, None, do_classifier_free_guidance=True)
        return (
            {"encoder_hidden_states": given, "pooled_projections": pooled},
            {"encoder_hidden_states": null, "pooled_projections": null_pooled},
        )

    path = FlowMatching()
    return LatentPrior(
        _Timed(_frozen(net)), path, "velocity", Time(path, 1000.0), code, text=_condition(encode, 7.0), card=card
    )


def _flux(pipe: Any, net: Any, size: Any, card: Any) -> LatentPrior:
    code = _autoencoder(pipe, size, pipe.default_sample_size, net.config.in_channels // 4, 2)
    text, distilled = _text_encoder(pipe, net.dtype), net.config.guidance_embeds

    def encode(prompt: str) -> tuple[Words, Words]:
        (given, pooled), (null, null_pooled) = (text(p, None)[:2] for p in (prompt, ""))
        return (
            {"encoder_hidden_states": given, "pooled_projections": pooled},
            {"encoder_hidden_states": null, "pooled_projections": null_pooled},
        )

    path = FlowMatching()
    condition = (
        _condition(encode, 3.5, lambda scale: {"guidance": torch.tensor([scale])})
        if distilled
        else _condition(encode, 1.0)
    )
    return LatentPrior(_Packed(_frozen(net)), path, "velocity", Time(path), code, text=condition, card=card)


# --- what the networks are called with --------------------------------------------------------------------------------


class _WithPooled(nn.Module):
    """SDXL's U-Net, which takes two of its words in a dictionary."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, time: Tensor, *, text_embeds: Tensor, time_ids: Tensor, **words: Tensor) -> Any:
        return self.net(x, time, added_cond_kwargs={"text_embeds": text_embeds, "time_ids": time_ids}, **words)


class _Timed(nn.Module):
    """A transformer that takes the time by its name."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, time: Tensor, **words: Tensor) -> Any:
        return self.net(x, timestep=time, **words)


class _Packed(nn.Module):
    """FLUX's transformer on codes (B, C, h, w): a token is the 2 x 2 cells of all channels, and told its place."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, time: Tensor, *, encoder_hidden_states: Tensor, **words: Tensor) -> Tensor:
        b, c, height, width = x.shape
        h, w = height // 2, width // 2
        tokens = x.reshape(b, c, h, 2, w, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w, 4 * c)
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        places = torch.stack((torch.zeros_like(rows), rows, columns), -1).view(h * w, 3)
        (out,) = self.net(
            tokens,
            timestep=time,
            encoder_hidden_states=encoder_hidden_states,
            img_ids=places.to(x),
            txt_ids=x.new_zeros(encoder_hidden_states.shape[1], 3),
            return_dict=False,
            **words,
        )
        return out.reshape(b, h, w, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


# --- what the pipelines share -----------------------------------------------------------------------------------------


def _autoencoder(pipe: Any, size: Any, cells: Any, channels: int, patch: int) -> Autoencoder:
    """The pipeline's, for images of ``size``, or of ``cells`` cells of the code; patches are of ``patch`` cells."""
    config = pipe.vae.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    if config.latent_channels != channels:
        got = f"a network of {channels} channels and codes of {config.latent_channels}"
        raise InvalidArgument("pipe", got, "a text-to-image model, whose network takes codes alone")
    if size is None:
        height, width = (cells, cells) if isinstance(cells, int) else cells
        size = (factor * height, factor * width)
    check_size(size, factor * patch)
    # Codes that overflow in half precision are decoded in single, as the pipeline does.
    if pipe.vae.dtype == torch.float16 and getattr(config, "force_upcast", False):
        pipe.vae.to(torch.float32)
    pipe.vae.eval()
    return Autoencoder.of(pipe.vae, (int(size[0]), int(size[1])))


def _frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False)


def _text_encoder(pipe: Any, dtype: torch.dtype) -> Callable[..., tuple[Tensor, ...]]:
    """The pipeline's ``encode_prompt``, where its text encoder is, as tensors of ``dtype``."""
    encoders = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    first = next((e for e in encoders if e is not None), None)
    if first is None:
        raise InvalidArgument("pipe", "a pipeline without a text encoder", "one with it")

    def encode(*args: Any, **settings: Any) -> tuple[Tensor, ...]:
        with torch.no_grad():
            out = pipe.encode_prompt(*args, device=first.device, **settings)
        return tuple(part.detach().to(dtype) for part in out)

    return encode


def _condition(encode: Encode, usual: float, embedded: Scale | None = None) -> Text:
    """Conditions by ``encode``; with ``embedded`` the network is told the scale."""

    def text(prompt: str, scale: float | None) -> Condition:
        given, null = encode(prompt)
        scale = usual if scale is None else scale
        said = {"prompt": prompt, "guidance_scale": scale}
        if embedded is not None:
            return Condition(_rows({**(given if prompt else null), **embedded(scale)}), None, 1.0, said)
        if not prompt:
            return Condition(_rows(null), None, 1.0, {"prompt": ""})
        return Condition(_rows(given), _rows(null), scale, said)

    return text


def _rows(words: Words) -> Callable[[int], Words]:
    return lambda n: {name: value.expand(n, *value.shape[1:]) for name, value in words.items()}
