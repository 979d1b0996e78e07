"""Checkpoints of score-SDE (Song et al., 2021) and of rectified flow (Liu et al., 2023): NCSN++ and DDPM++.

Their weights are called ``all_modules.N....``, N counting layers in the order of use, so the architecture is read from
the keys. What they do not tell, the published configurations have in common: every NCSN++ resamples with the filter
(1, 3, 3, 1), DDPM++ does not. The rest is the user's to say:

| model | kind | centered |
|---|---|---|
| rectified flow: CIFAR-10 (DDPM++), CelebA-HQ, AFHQ cat | flow | True |
| rectified flow: LSUN bedroom and church | flow | False |
| score-SDE VP and sub-VP: CIFAR-10, continuous time (DDPM++, NCSN++) | vp, subvp | True |
| score-SDE VE, continuous time: CIFAR-10, FFHQ, CelebA-HQ, LSUN | ve | False |

``centered``: data in [-1, 1] in training, and in [0, 1] otherwise; there the noise levels count double in [-1, 1].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from ..paths import VE, VP, FlowMatching, Path
from .clock import Clock, Level, Time
from .prediction import Prediction
from .unet2d import Converted, UNetPrior, UNetSpec

Trained = Literal["flow", "vp", "subvp", "ve"]
SIGMA_MAX: Mapping[int, float] = {4: 50.0, 7: 348.0, 8: 1348.0}
"""Of VE, by the number of levels: CIFAR-10, faces of 256 pixels (LSUN has 378 and 380), faces of 1024."""


@dataclass(frozen=True)
class SubVP(Path):
    """``alpha`` of the VP path with ``B(t)``, and ``sigma = 1 - alpha^2``: ``eta = 2 sinh(B / 2)``."""

    vp: VP = VP()

    @property
    def eta_max(self) -> float:  # type: ignore[override]
        return float(self.eta(1.0))

    def eta(self, t: float | Tensor) -> Tensor:
        return 2 * torch.sinh(torch.log1p(self.vp.eta(t) ** 2) / 2)

    def time(self, eta: float | Tensor) -> Tensor:
        return self.vp.time(torch.expm1(2 * _half(eta).asinh()).sqrt())

    def alpha_of_eta(self, eta: float | Tensor) -> Tensor:
        return torch.exp(-_half(eta).asinh())


def recognises(state: Mapping[str, Any]) -> bool:
    """Whether the keys are those of a network with ``all_modules``."""
    names = [str(name).removeprefix("module.") for name in state]
    return any(name.startswith("all_modules.") for name in names)


def ema_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The averaged weights of a training checkpoint ``{"model": ..., "ema": {"shadow_params": [...]}, ...}``.

    The averages are a list without names, in the order of the model's parameters that are trained. That is the order of
    its state, without the fixed Fourier frequencies and the buffer of noise levels. Errors: :class:`InvalidArgument`
    where one list does not fit the other.
    """
    model, ema = checkpoint.get("model"), checkpoint.get("ema")
    shadow = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if not isinstance(model, Mapping) or not recognises(model) or not isinstance(shadow, list | tuple):
        had = ", ".join(map(str, list(checkpoint)[:8])) or "nothing"
        raise InvalidArgument("checkpoint", had, "'model' with all_modules, and 'ema' with 'shadow_params'")
    state = _stripped(model)
    trained = [name for name in state if name != "all_modules.0.W"]
    shapes = [tuple(value.shape) for value in shadow]
    if shapes != [tuple(state[name].shape) for name in trained]:
        what = f"{len(trained)} averages of the shapes of the model's parameters, in their order"
        raise InvalidArgument("checkpoint", f"shadow_params with {len(shapes)} tensors, or of other shapes", what)
    return state | dict(zip(trained, shadow, strict=True))


def averaged(content: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The averaged weights of ``content`` where it is a training checkpoint, or else ``state``."""
    ema = content.get("ema")
    return ema_state(content) if isinstance(ema, Mapping) and "shadow_params" in ema else dict(state)


def convert(
    state: Mapping[str, Tensor],
    *,
    kind: Trained = "flow",
    fir: bool | None = None,
    skip_rescale: bool = True,
    centered: bool | None = None,
) -> Converted:
    """The network of a state, and its weights.

    kind: how it was trained, see the table of this module. fir: whether images are resampled with the filter; by itself
    where the image or the output passes beside the network. skip_rescale: whether residual sums are divided by sqrt 2.
    centered: whether the data were in [-1, 1]; by itself for all but "ve".

    Errors: :class:`InvalidArgument` for another network.
    """
    if kind not in get_args(Trained):
        raise InvalidArgument("kind", kind, f"one of {', '.join(get_args(Trained))}")
    if not recognises(state):
        raise InvalidArgument("state", ", ".join(list(state)[:4]), "weights called all_modules.0... of NCSN++")
    weights = _stripped(state)
    layout = _layout(weights)
    if layout["fourier"] != (kind == "ve") and kind != "flow":
        has = "Fourier features" if layout["fourier"] else "sinusoids"
        raise InvalidArgument("kind", kind, f"another: the time enters as {has}")
    if fir is None:
        fir = layout["progressive"] != "none" or layout["progressive_input"] != "none"
    if centered is None:
        centered = kind != "ve"
    asked = "vp" if kind == "subvp" else kind
    config = layout | {"kind": asked, "fir": fir, "skip_rescale": skip_rescale, "centered": centered}
    return Converted(UNetSpec(config, network="ncsnpp"), weights)


def load(
    state: Mapping[str, Tensor],
    *,
    kind: Trained = "flow",
    size: int | None = None,
    fir: bool | None = None,
    skip_rescale: bool = True,
    centered: bool | None = None,
    sigma_max: float | None = None,
    beta_min: float = 0.1,
    beta_max: float = 20.0,
    data_variance: float = 0.25,
    card: Mapping[str, Any] | None = None,
) -> UNetPrior:
    """A state as a prior. ``kind``, ``fir``, ``skip_rescale`` and ``centered`` as in :func:`convert`.

    size: of the images; None leaves it free. sigma_max: the highest noise of "ve", in units of its data; by itself
    that of the published models of so many levels. beta_min, beta_max: of "vp" and "subvp". data_variance: in [-1, 1].
    """
    converted = convert(state, kind=kind, fir=fir, skip_rescale=skip_rescale, centered=centered)
    config = converted.spec.config
    levels = len(config["multipliers"])
    multiple = 2 ** (levels - 1)
    if size is not None and (not is_whole(size, multiple) or size % multiple):
        raise InvalidArgument("size", size, f"a multiple of {multiple}, which the network halves images by")
    path: Path
    if kind == "flow":
        path = FlowMatching()
        prediction: Prediction = "velocity"
        clock: Clock = Time(path, -999.0, 999.0)
    elif kind in ("vp", "subvp"):
        path = VP(beta_min, beta_max) if kind == "vp" else SubVP(VP(beta_min, beta_max))
        prediction, clock = "epsilon", Time(path, 999.0)
    else:
        path = VE(SIGMA_MAX.get(levels, 50.0) if sigma_max is None else sigma_max)
        prediction, clock = "epsilon", Level()
    gain = 1.0 if config["centered"] else 0.5
    return UNetPrior(
        converted,
        path,
        prediction,
        clock,
        shape=(config["channels"], size, size),
        data_range=(-1.0, 1.0) if config["centered"] else (0.0, 1.0),
        data_variance=data_variance * gain**2,
        card=card,
    )


def _half(eta: float | Tensor) -> Tensor:
    return torch.as_tensor(eta, dtype=torch.float64) / 2


def _stripped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the prefix of ``DataParallel``, and without the noise levels, which are not used."""
    out = {str(name).removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in out.items() if name.startswith("all_modules.")}


def _layout(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the keys and shapes tell of :class:`~kintsugi.priors.ncsnpp_net.NCSNpp`'s configuration."""
    shapes: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, value in state.items():
        match = re.fullmatch(r"all_modules\.(\d+)\.(.+)", name)
        if match is None:
            raise InvalidArgument("state", name, "all_modules.N... with a number N")
        shapes.setdefault(int(match[1]), {})[match[2]] = tuple(value.shape)
    layers = [shapes[n] for n in sorted(shapes)]
    words = [_word(layer) for layer in layers]
    fourier = words[0] == "fourier"
    first = 3 if fourier else 2
    # Only blocks that resample have a convolution beside them though they leave the width as it is.
    found = [n for n, word in enumerate(words) if word == "block"]
    plain = [n for n in found if "Conv_2.weight" not in layers[n] or len(set(layers[n]["Conv_0.weight"][:2])) == 2]
    levels = (len(found) - len(plain)) // 2 + 1
    # b blocks a level down, b + 1 up, and two in the middle.
    blocks, over = divmod(len(plain) - 2 - levels, 2 * levels)
    if over or blocks < 1 or words[first : first + 2] != ["conv", "block"]:
        said = f"layers that are {', '.join(f'{words.count(w)} {w}' for w in sorted(set(words)))}"
        raise InvalidArgument("state", said, "a U-Net with as many blocks on every level")
    width, channels = layers[first]["weight"][:2]
    starts = [plain[level * blocks] for level in range(levels)]
    return {
        "channels": channels,
        "width": width,
        "multipliers": tuple(layers[n]["Conv_0.weight"][0] // width for n in starts),
        "blocks": blocks,
        "attention": tuple(level for level, n in enumerate(starts) if words[n + 1] == "attention"),
        "fourier": fourier,
        "progressive": "output_skip" if words.count("norm") > 1 else "none",
        "progressive_input": next((w for w in ("input_skip", "residual") if w in words), "none"),
    }


def _word(layer: Mapping[str, tuple[int, ...]]) -> str:
    """What a layer is, by the names of its weights."""
    if "GroupNorm_1.weight" in layer and "Conv_0.weight" in layer and "NIN_0.W" not in layer:
        return "block"
    if "NIN_3.W" in layer:
        return "attention"
    if "Conv2d_0.weight" in layer:
        return "residual"
    if layer.get("Conv_0.weight", ())[2:] == (1, 1):
        return "input_skip"
    if "W" in layer:
        return "fourier"
    dims = len(layer.get("weight", ()))
    if dims not in (1, 2, 4):
        what = "layers of NCSN++ or DDPM++ with BigGAN's blocks, which resample inside"
        raise InvalidArgument("state", f"a layer of {', '.join(layer)}", what)
    return {1: "norm", 2: "linear", 4: "conv"}[dims]
