"""Published models by short names: where they are, whose they are, and what their files do not say.

``kintsugi priors`` shows this table. A SHA-256 is given where it is known to us; none of these files could be reached
where this table was written, so none is filled in yet, and a wrong address shows as an error, not as a wrong model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Known:
    """A published model.

    source: what :func:`kintsugi.load_prior` would take, a hub name or an https address; or, with ``by_hand``, a page
    where a person has to fetch the file. size: of the images. path: between data and noise. data_range: the network's
    values for black and white. options: what the file does not say, for the loader of its family.
    """

    source: str
    size: str
    licence: str
    path: str
    what: str
    by_hand: bool = False
    sha256: str | None = None
    data_range: str = "[-1, 1]"
    options: Mapping[str, Any] = field(default_factory=dict)


_OPENAI = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/"
_DPS = "https://drive.google.com/drive/folders/1jElnRoFv7b31fG0v6pTSQkelbSX3xGZh"
_DRIVE = "https://drive.google.com/file/d/"


def _adm(file: str, size: int, what: str, licence: str = "MIT", **options: Any) -> Known:
    path = f"VP, {options.get('schedule', 'linear')} betas"
    return Known(_OPENAI + file, str(size), licence, path, what, options={"size": size, **options})


def _flow(key: str, what: str, centered: bool = True) -> Known:
    return Known(
        _DRIVE + key, "256", "not stated", "flow", f"{what}, rectified flow", by_hand=True,
        data_range="[-1, 1]" if centered else "[0, 1]",
        options={"kind": "flow", "size": 256, "centered": centered},
    )  # fmt: skip


KNOWN: Mapping[str, Known] = {
    "imagenet-64": _adm(
        "64x64_diffusion.pt", 64, "ADM, ImageNet classes", schedule="cosine", new_attention_order=True
    ),
    "imagenet-128": _adm("128x128_diffusion.pt", 128, "ADM, ImageNet classes", heads=4),
    "imagenet-256": _adm("256x256_diffusion_uncond.pt", 256, "ADM, ImageNet, unconditional"),
    "imagenet-256-cond": _adm("256x256_diffusion.pt", 256, "ADM, ImageNet classes"),
    "imagenet-512": _adm("512x512_diffusion.pt", 512, "ADM, ImageNet classes"),
    "lsun-bedroom-256": _adm("lsun_bedroom.pt", 256, "ADM, LSUN bedrooms"),
    "lsun-cat-256": _adm("lsun_cat.pt", 256, "ADM, LSUN cats"),
    "lsun-horse-256": _adm("lsun_horse.pt", 256, "ADM, LSUN horses"),
    "ffhq-256": Known(
        _DPS, "256", "not stated", "VP, linear betas", "faces, the model of the DPS authors (ADM)",
        by_hand=True, options={"size": 256},
    ),
    "celebahq-256-flow": _flow("1ryhuJGz75S35GEdWDLiq4XFrsbwPdHnF", "faces"),
    "afhq-cat-256-flow": _flow("1isc4Yl2Tj1ckjfSPCtCLQtZWpBqY5VUy", "cats"),
    "lsun-bedroom-256-flow": _flow("1HUJ95q605YK4sH3yIysk8j3pNXALJi8t", "bedrooms", centered=False),
    "lsun-church-256-flow": _flow("1lFG5y492wCTToox9MSTjYWw-WqCJqM5y", "churches", centered=False),
    "ddpm-cifar10": Known("google/ddpm-cifar10-32", "32", "Apache-2.0", "VP, linear betas", "DDPM, CIFAR-10"),
    "ddpm-celebahq": Known("google/ddpm-celebahq-256", "256", "Apache-2.0", "VP, linear betas", "DDPM, faces"),
    "ddpm-bedroom": Known("google/ddpm-bedroom-256", "256", "Apache-2.0", "VP, linear betas", "DDPM, bedrooms"),
    "ddpm-church": Known("google/ddpm-church-256", "256", "Apache-2.0", "VP, linear betas", "DDPM, churches"),
    "ddpm-cat": Known("google/ddpm-cat-256", "256", "Apache-2.0", "VP, linear betas", "DDPM, cats"),
    "ncsnpp-celebahq": Known(
        "google/ncsnpp-celebahq-256", "256", "Apache-2.0", "VE", "score-SDE, faces", data_range="[0, 1]"
    ),
    "ncsnpp-ffhq": Known(
        "google/ncsnpp-ffhq-1024", "1024", "Apache-2.0", "VE", "score-SDE, faces", data_range="[0, 1]"
    ),
    "consistency-imagenet-64": Known(
        "openai/diffusers-cd_imagenet64_l2", "64", "MIT", "VE", "consistency model, ImageNet classes"
    ),
    "dit-256": Known("facebook/DiT-XL-2-256", "256", "CC-BY-NC-4.0", "VP, linear betas", "latent, ImageNet classes"),
    "dit-512": Known("facebook/DiT-XL-2-512", "512", "CC-BY-NC-4.0", "VP, linear betas", "latent, ImageNet classes"),
    "sd-1.5": Known(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "512", "CreativeML Open RAIL-M", "VP, scaled-linear betas",
        "latent, prompts",
    ),
    "sd-2.1": Known(
        "stabilityai/stable-diffusion-2-1", "768", "CreativeML Open RAIL++-M", "VP, scaled-linear betas",
        "latent, prompts, v-prediction",
    ),
    "sdxl": Known(
        "stabilityai/stable-diffusion-xl-base-1.0", "1024", "CreativeML Open RAIL++-M", "VP, scaled-linear betas",
        "latent, prompts",
    ),
    "sd3": Known(
        "stabilityai/stable-diffusion-3-medium-diffusers", "1024", "Stability Community", "flow", "latent, prompts"
    ),
    "flux-dev": Known(
        "black-forest-labs/FLUX.1-dev", "1024", "FLUX.1 non-commercial", "flow", "latent, prompts, distilled guidance"
    ),
    "flux-schnell": Known(
        "black-forest-labs/FLUX.1-schnell", "1024", "Apache-2.0", "flow", "latent, prompts, distilled to few steps"
    ),
}  # fmt: skip
