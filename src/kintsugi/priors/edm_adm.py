"""Checkpoints of the ADM networks that Karras et al. (2022, EDM) trained: ``edm-imagenet-64x64-cond-adm`` and the like.

Such a network ("DhariwalUNet") computes what one of guided-diffusion does, under other names, so it is given ADM's
(:mod:`~kintsugi.priors.adm`) and converted as one. What differs besides the names:

- the convolution that makes q, k and v numbers the outputs of h heads of c channels (h, c, 3), and has two dimensions;
- a class enters as a one-hot vector times a matrix, whose columns are ADM's embeddings;
- pictures are halved and doubled by filters that are kept as weights: those of EDM, [1, 1], average and repeat;
- norms have a group for every four channels, up to ADM's 32: widths below 128 are refused.

What told it of augmentations in training is left out: pictures are restored as they are.

The network predicts the F of EDM with ``sigma_data = 1/2``, and is told ``log(eta) / 4``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from ..paths import VE
from . import adm
from .clock import LogLevel
from .unet2d import Converted, UNetPrior

MARKS = ("map_layer0.weight", "map_layer1.weight", "out_norm.weight", "out_conv.weight")
"""Keys that every such network has; EDM's others ("SongUNet") have no ``out_norm``."""

_LAYERS = {
    "norm0": "in_layers.0",
    "conv0": "in_layers.2",
    "affine": "emb_layers.1",
    "norm1": "out_layers.0",
    "conv1": "out_layers.3",
    "skip": "skip_connection",
}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of a DhariwalUNet, also under "module.", "model." and the like."""
    return adm.find_prefix(state, MARKS) is not None


def convert(state: Mapping[str, Tensor], *, head_channels: int = 64) -> Converted:
    """The checkpoint as diffusers has it; head_channels: EDM's ``channels_per_head``.

    Errors: :class:`InvalidArgument` for ``checkpoint`` where keys are missing, too many or contradict each other.
    """
    return _convert(_bare(state), head_channels)


def load(state: Mapping[str, Tensor], *, head_channels: int = 64, card: Mapping[str, Any] | None = None) -> UNetPrior:
    """The checkpoint as a prior of pictures of the size that its keys name; head_channels: see :func:`convert`."""
    bare = _bare(state)
    converted = _convert(bare, head_channels)
    channels, size, classes = adm.check_picture(converted.spec, _sizes(bare)[0])
    return UNetPrior(
        converted,
        VE(80.0),
        "edm",
        LogLevel(0.25),
        shape=(channels, size, size),
        data_variance=0.25,
        classes=classes,
        card=card,
    )


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under their own names, without those that a picture as it is does not need."""
    prefix = adm.find_prefix(state, MARKS)
    if prefix is None:
        raise InvalidArgument("checkpoint", ", ".join(list(state)[:3]), "the keys of an ADM network of EDM")
    bare = {}
    for key, value in state.items():
        name = key.removeprefix(prefix)
        if name.endswith(".resample_filter"):
            if value.shape[-2:] != (2, 2) or not torch.allclose(value.float(), torch.tensor(0.25)):
                raise InvalidArgument("checkpoint", f"another filter in {name}", "pictures halved by averages")
        elif key.startswith(prefix) and name != "map_augment.weight":
            bare[name] = value
    return bare


def _convert(bare: dict[str, Tensor], head_channels: int) -> Converted:
    if not is_whole(head_channels, 1):
        raise InvalidArgument("head_channels", head_channels, "a whole number of at least 1")
    left, renamed = dict(bare), {}
    for theirs, theirs_in_adm in _modules(bare):
        for part in ("weight", "bias"):
            name = f"{theirs}.{part}"
            if name not in left:
                raise InvalidArgument("checkpoint", f"none called {name}", "all weights of an ADM network of EDM")
            value = left.pop(name)
            if "norm" in theirs.rsplit(".", 1)[-1] and len(value) < 128:
                raise InvalidArgument("checkpoint", f"{name} of {len(value)} channels", "norms of at least 128")
            if theirs.endswith(".qkv"):
                value = _new_order(value, head_channels)
            flat = theirs.endswith((".qkv", ".proj")) and part == "weight"
            renamed[f"{theirs_in_adm}.{part}"] = value.flatten(2) if flat else value
    if "map_label.weight" in left:
        renamed["label_emb.weight"] = left.pop("map_label.weight").T
    if left:
        raise InvalidArgument("checkpoint", next(iter(left)), "no other keys than those of an ADM network of EDM")
    return adm.convert(renamed, head_channels=head_channels, new_attention_order=True)


def _new_order(value: Tensor, head_channels: int) -> Tensor:
    """Rows numbered (h, c, 3) as (3, h, c)."""
    if len(value) % (3 * head_channels):
        width = len(value) // 3
        raise InvalidArgument("head_channels", head_channels, f"a divisor of the width {width} of an attention")
    return value.unflatten(0, (-1, head_channels, 3)).movedim(2, 0).flatten(0, 2)


def _sizes(bare: Mapping[str, Tensor]) -> list[int]:
    """The pixels of a side at every level, finest first."""
    found = {int(match[1]) for key in bare if (match := re.match(r"(?:enc|dec)\.(\d+)x\1_", key))}
    if not found:
        raise InvalidArgument("checkpoint", "none called enc.64x64_conv.weight or the like", "blocks with their sizes")
    return sorted(found, reverse=True)


def _modules(bare: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Every layer with weight and bias, and what ADM calls it."""

    def block(theirs: str, entry: str, place: int = 0) -> Iterator[tuple[str, str]]:
        for name, layer in _LAYERS.items():
            if name != "skip" or f"{theirs}.skip.weight" in bare:
                yield f"{theirs}.{name}", f"{entry}.{place}.{layer}"
        if f"{theirs}.qkv.weight" in bare:
            for name, layer in {"norm2": "norm", "qkv": "qkv", "proj": "proj_out"}.items():
                yield f"{theirs}.{name}", f"{entry}.{place + 1}.{layer}"

    def blocks(side: str, size: int) -> list[str]:
        found = {m[0] for key in bare if (m := re.match(rf"{side}\.{size}x{size}_block\d+", key))}
        return [f"{side}.{size}x{size}_block{i}" for i in range(len(found))]

    sizes = _sizes(bare)
    yield "map_layer0", "time_embed.0"
    yield "map_layer1", "time_embed.2"
    yield f"enc.{sizes[0]}x{sizes[0]}_conv", "input_blocks.0.0"
    entry = 1
    for size in sizes:
        down = [] if size == sizes[0] else [f"enc.{size}x{size}_down"]
        for name in down + blocks("enc", size):
            yield from block(name, f"input_blocks.{entry}")
            entry += 1
    coarsest = f"dec.{sizes[-1]}x{sizes[-1]}"
    yield from block(f"{coarsest}_in0", "middle_block")
    yield from block(f"{coarsest}_in1", "middle_block", 2)
    entry, attends = 0, False
    for size in reversed(sizes):
        if size != sizes[-1]:  # doubled by what is the last module of the level before
            yield from block(f"dec.{size}x{size}_up", f"output_blocks.{entry - 1}", 2 if attends else 1)
        for name in blocks("dec", size):
            yield from block(name, f"output_blocks.{entry}")
            entry, attends = entry + 1, f"{name}.qkv.weight" in bare
    yield "out_norm", "out.0"
    yield "out_conv", "out.2"
