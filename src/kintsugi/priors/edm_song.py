"""Checkpoints of EDM (Karras et al., 2022) of CIFAR-10, FFHQ and AFHQv2: its "SongUNet", which is DDPM++ or NCSN++.

EDM's own files are pickles that run code; what is read here are the weights alone, as its ``net.state_dict()`` has
them. The network is that of :mod:`kintsugi.priors.ncsnpp_net` under other names, such as ``enc.32x32_block0.conv0``,
and with one convolution for q, k and v, whose outputs are numbered (channel, 3). Everything is read from the keys; the
input for augmentations is zero when images are made, and left out.

The networks of EDM's preconditioning are meant, not the baselines "vp" and "ve" of the same paper.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..paths import VE
from .clock import LogLevel
from .unet2d import Converted, UNetPrior, UNetSpec

BLOCK = {
    "norm0": "GroupNorm_0",
    "conv0": "Conv_0",
    "affine": "Dense_0",
    "norm1": "GroupNorm_1",
    "conv1": "Conv_1",
    "skip": "Conv_2",
}
UNUSED = ("resample_filter", "map_augment.weight")


def recognises(state: Mapping[str, Any]) -> bool:
    """Whether the keys are those of a SongUNet. EDM's ADM network has its last layers elsewhere."""
    names = [str(name) for name in state]
    last = any(re.search(r"(^|\.)dec\.\d+x\d+_aux_conv\.weight$", name) for name in names)
    return last and any(name.endswith("map_layer0.weight") for name in names)


def convert(state: Mapping[str, Tensor]) -> Converted:
    """The network of a state, and its weights under the names of NCSN++. Errors: :class:`InvalidArgument`."""
    if not recognises(state):
        raise InvalidArgument("state", ", ".join(list(state)[:4]), "weights of EDM's SongUNet: enc, dec and map_layer0")
    theirs = _Weights(state)
    sizes = theirs.sizes()
    inside = [f"{n}x{n}" for n in sizes]
    first = theirs.see(f"enc.{inside[0]}_conv.weight")
    blocks = sum(name.startswith(f"enc.{inside[0]}_block") and name.endswith("conv1.weight") for name in theirs.left)
    widths = [len(theirs.see(f"enc.{size}_block0.conv1.weight")) for size in inside]
    filters = [value.shape[-1] for name, value in theirs.left.items() if name.endswith("resample_filter")]
    residual = any("_aux_residual." in name for name in theirs.left)
    config = {
        "kind": "edm",
        "channels": first.shape[1],
        "width": len(first),
        "multipliers": tuple(width // len(first) for width in widths),
        "blocks": blocks,
        "attention": tuple(i for i, n in enumerate(inside) if f"enc.{n}_block0.qkv.weight" in theirs.left),
        "fourier": "map_noise.freqs" in theirs.left,
        "fir": 4 in filters if filters else residual,
        "progressive_input": "residual" if residual else "none",
    }
    if "map_label.weight" in theirs.left:
        config["classes"] = theirs.see("map_label.weight").shape[1]

    if config["fourier"]:
        theirs.layers.append({"W": theirs.take("map_noise.freqs")})
    theirs.plain("map_layer0")
    theirs.plain("map_layer1")
    theirs.plain(f"enc.{inside[0]}_conv")
    for level, size in enumerate(inside):
        if level > 0:
            theirs.block(f"enc.{size}_down")
            if residual:
                theirs.plain(f"enc.{size}_aux_residual", "Conv2d_0.")
        for n in range(blocks):
            theirs.block(f"enc.{size}_block{n}")
    theirs.block(f"dec.{inside[-1]}_in0")
    theirs.block(f"dec.{inside[-1]}_in1")
    for level, size in reversed(list(enumerate(inside))):
        if level < len(inside) - 1:
            theirs.block(f"dec.{size}_up")
        for n in range(blocks + 1):
            theirs.block(f"dec.{size}_block{n}")
    theirs.plain(f"dec.{inside[0]}_aux_norm")
    theirs.plain(f"dec.{inside[0]}_aux_conv")
    return Converted(UNetSpec(config, network="ncsnpp"), theirs.renamed())


def load(state: Mapping[str, Tensor], *, sigma_max: float = 80.0, card: Mapping[str, Any] | None = None) -> UNetPrior:
    """A state as a prior. sigma_max: the highest noise, EDM's ``sigma_max`` when it makes images."""
    converted = convert(state)
    config, size = converted.spec.config, _Weights(state).sizes()[0]
    return UNetPrior(
        converted,
        VE(sigma_max),
        "edm",
        LogLevel(),
        shape=(config["channels"], size, size),
        data_variance=0.25,
        classes=config.get("classes"),
        card=card,
    )


class _Weights:
    """The weights that are left of a state, without the prefix before them all, and the layers made of the others."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        prefix = min((str(n) for n in state if str(n).endswith("map_layer0.weight")), key=len)[
            : -len("map_layer0.weight")
        ]
        self.left = {str(name).removeprefix(prefix): value for name, value in state.items()}
        self.layers: list[dict[str, Tensor]] = []

    def sizes(self) -> list[int]:
        """Of the images of every level, the finest first."""
        found = (re.match(r"enc\.(\d+)x\1_", name) for name in self.left)
        return sorted({int(match[1]) for match in found if match}, reverse=True)

    def see(self, name: str) -> Tensor:
        if name not in self.left:
            raise InvalidArgument("state", f"none called {name}", "all weights of EDM's SongUNet")
        return self.left[name]

    def take(self, name: str) -> Tensor:
        value = self.see(name)
        del self.left[name]
        return value

    def plain(self, name: str, ours: str = "") -> None:
        self.layers.append({f"{ours}{part}": self.take(f"{name}.{part}") for part in ("weight", "bias")})

    def block(self, name: str) -> None:
        """A residual block, and the attention that it may end with, which is a layer of its own here."""
        parts = [part for part in BLOCK if part != "skip" or f"{name}.skip.weight" in self.left]
        self.layers.append(
            {f"{BLOCK[p]}.{end}": self.take(f"{name}.{p}.{end}") for p in parts for end in ("weight", "bias")}
        )
        if f"{name}.qkv.weight" not in self.left:
            return
        layer = {f"GroupNorm_0.{end}": self.take(f"{name}.norm2.{end}") for end in ("weight", "bias")}
        weight, bias = self.take(f"{name}.qkv.weight"), self.take(f"{name}.qkv.bias")
        width = weight.shape[1]
        if len(weight) != 3 * width:
            raise InvalidArgument("state", f"{name}.qkv.weight of {len(weight)} rows", f"{3 * width} rows")
        for n in range(3):
            layer |= {f"NIN_{n}.W": weight[n::3].flatten(1).T, f"NIN_{n}.b": bias[n::3]}
        layer |= {"NIN_3.W": self.take(f"{name}.proj.weight").flatten(1).T, "NIN_3.b": self.take(f"{name}.proj.bias")}
        self.layers.append(layer)

    def renamed(self) -> dict[str, Tensor]:
        """All of it under our names. Errors: :class:`InvalidArgument` if something is left."""
        out = {f"all_modules.{n}.{name}": value for n, layer in enumerate(self.layers) for name, value in layer.items()}
        for end in ("weight", "bias"):
            if f"map_label.{end}" in self.left:
                out[f"label.{end}"] = self.take(f"map_label.{end}")
        left = [name for name in self.left if not name.endswith(UNUSED)]
        if left:
            raise InvalidArgument("state", ", ".join(left[:4]), "the weights of DDPM++ or NCSN++ and no others")
        return out
