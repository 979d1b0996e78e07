"""``load_prior``: one string for any model.

| the string | what it is |
|---|---|
| a name in the package, "photo" | an embedded model |
| a name of ``known.py``, "imagenet-256" | a published model |
| such a name and a file, "ffhq-256:ffhq_10m.pt" | the file, read as that model |
| a folder | what diffusers saved: a pipeline |
| "owner/name", "owner/name:file" | the same on the Hugging Face hub; one file of it |
| a file .safetensors, .pt, .pth, .ckpt, .bin | a model of ``kintsugi train`` or ``convert``; a checkpoint of a family |
| a file .onnx | a graph, whose meaning is given with it |
| an https address | such a file |

The family of a checkpoint is known by the names of its weights (``FAMILIES``).
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InvalidArgument, InvalidFile, KintsugiError
from ..files import atomic_path
from . import checkpoint, hub, kdiffusion
from .base import Prior
from .embedded import available_priors
from .known import KNOWN, Known
from .latent import LatentPrior
from .network import from_tensors, load_model
from .windows import Windows

FORMAT = 1
# Modules with ``recognises(state)`` and ``load(state, **options)``, in the order in which they are asked.
FAMILIES = ("adm", "edm_adm", "ncsnpp", "edm_song")


def load_prior(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    channels_last: bool = False,
    attention_slicing: bool = False,
    windows: bool | int = False,
    revision: str | None = None,
    token: str | None = None,
    **options: Any,
) -> Prior:
    """A model by one string: see the table in :mod:`kintsugi.priors.loading` and ``kintsugi priors``. Frozen.

    Parameters
    ----------
    device, dtype: where the network lives, and in which precision; float32 on the CPU by default. Restoration moves it
        to where the measurement is.
    compile, channels_last, attention_slicing: for speed or memory: ``torch.compile``, the layout of the weights,
        attention in slices (diffusers models only).
    windows: True, or the overlap in pixels: other sizes than the network's own, in overlapping windows.
    revision, token: of the hub; without them its default branch and the user's own token.
    options: what the file does not say, such as ``size=256``, ``schedule="cosine"`` for ADM, ``between="nearest"``;
        docs/own-models.md lists them by family.

    Errors: :class:`InvalidArgument` for an unknown name or option, :class:`InvalidFile` for a file that is not there,
    is damaged, or would have to run code.
    """
    given = os.fspath(name)
    prior = _find(given, revision, token, {} if dtype is None else {"torch_dtype": dtype}, options)
    if attention_slicing:
        _slice_attention(getattr(prior, "network", None))
    if channels_last:
        prior = prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Pipelines were read in ``dtype``, but for an autoencoder that overflows in it.
    prior = prior.to(device=device, dtype=None if isinstance(prior, LatentPrior) else dtype)
    prior = prior.eval().requires_grad_(False)
    if compile:
        for slot in ("network", "net"):
            if isinstance(getattr(prior, slot, None), nn.Module):
                setattr(prior, slot, torch.compile(getattr(prior, slot)))
    return Windows(prior, None if windows is True else windows) if windows is not False else prior


def _slice_attention(network: object) -> None:
    """One head at a time, in all attentions of diffusers' UNets."""
    slots = [m for m in network.modules() if type(m).__name__ == "Attention"] if isinstance(network, nn.Module) else []
    if not slots:
        raise InvalidArgument("attention_slicing", True, "False: this network has no attention that can be sliced")
    for attention in slots:
        attention.set_attention_slice(1)  # type: ignore[operator]


def _find(
    given: str, revision: str | None, token: str | None, loading: Mapping[str, Any], options: Mapping[str, Any]
) -> Prior:
    embedded = available_priors()
    if given in embedded:
        _no_options(options, f"the embedded model {given!r}")
        return load_model(embedded[given])
    short, colon, own = given.partition(":")
    if short in KNOWN and not Path(given).exists():
        known = KNOWN[short]
        options = {**known.options, **options}
        if not colon:
            return _from_known(short, known, revision, token, loading, options)
        given = own
    path = Path(given)
    if path.is_dir():
        return _pipeline(hub.hub_pipeline(given, None, None, local_files_only=True, **loading), options, given)
    if path.exists() or (path.suffix and not hub.is_hub_name(given) and not hub.is_address(given)):
        return _from_file(path, options)
    if hub.is_address(given):
        return _from_file(hub.download(given), options)
    if hub.is_hub_name(given):
        if ":" in given:
            return _from_file(hub.hub_file(given, revision, token), options)
        return _pipeline(hub.hub_pipeline(given, revision, token, **loading), options, given)
    if os.sep in given:
        raise InvalidFile(path, "no such model file")
    names = ", ".join([*embedded, *KNOWN])
    raise InvalidArgument("prior", given, f"one of {names}; a file, a folder, or owner/name on the hub")


def _from_known(
    name: str,
    known: Known,
    revision: str | None,
    token: str | None,
    loading: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Prior:
    if known.by_hand:
        what = f"cannot be fetched by a program: download {known.source}, then give '{name}:FILE'"
        raise InvalidFile(name, what)
    if hub.is_address(known.source):
        return _from_file(hub.download(known.source, known.sha256), options)
    return _pipeline(hub.hub_pipeline(known.source, revision, token, **loading), options, name)


def _from_file(path: Path, options: Mapping[str, Any]) -> Prior:
    if path.suffix == ".onnx":
        return _onnx(path, options)
    if path.suffix == ".safetensors":
        tensors, metadata = checkpoint.read_safetensors(path)
        header = metadata.get("kintsugi")
        if isinstance(header, Mapping) and header.get("architecture") in FAMILIES:
            own = header.get("options", {})
            if not isinstance(own, Mapping):
                raise InvalidFile(path, f"options {own!r} in its header; expected names and values")
            return _load_family(header["architecture"], tensors, {**own, **options})
        if header is not None:
            _no_options(options, f"{path}, a model of kintsugi train")
            return from_tensors(tensors, metadata, path)
        if kdiffusion.recognises(metadata):
            _check_options(kdiffusion.load, options, "a model of k-diffusion")
            return kdiffusion.load(checkpoint.state_of(tensors, path), metadata, **options)
        return from_state(checkpoint.state_of(tensors, path), path, options)
    known = (".safetensors", ".onnx", *checkpoint.PICKLED)
    if path.exists() and path.suffix not in (*known, ".pkl"):
        raise InvalidFile(path, f"not a model; expected a folder, or a file that ends in {', '.join(known)}")
    return from_state(checkpoint.read_checkpoint(path), path, options)


def from_state(content: Mapping[str, Any], path: object, options: Mapping[str, Any]) -> Prior:
    """The prior of a checkpoint in memory, whose family is known by the names of its weights."""
    family, state = _recognise(content, path)
    return _load_family(family, state, options)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float16,
    **options: Any,
) -> None:
    """Write a checkpoint as ``.safetensors`` that :func:`load_prior` reads without options, whole or not at all.

    The weights keep the names of their own code; matrices and kernels are stored in ``dtype``, ``options`` beside them.
    What is to be written is loaded once before, to make sure.

    Errors: those of :func:`load_prior`.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise InvalidArgument("target", target, "a file that ends in .safetensors")
    if target.exists() and source.exists() and target.samefile(source):
        raise InvalidArgument("target", target, "another file than the source")
    if source.suffix == ".safetensors":
        tensors, metadata = checkpoint.read_safetensors(source)
        said = metadata.get("kintsugi")
        if isinstance(said, Mapping):
            raise InvalidFile(source, "a model of Kintsugi already: there is nothing to convert")
        content: Mapping[str, Any] = tensors
    else:
        content = checkpoint.read_checkpoint(source)
    family, state = _recognise(content, source)
    _load_family(family, state, options)
    header = {"format": FORMAT, "architecture": family, "options": options, "source": source.name}
    weights = {name: _stored(value, dtype) for name, value in state.items()}
    with atomic_path(target) as temporary:
        save_file(weights, temporary, metadata={"kintsugi": json.dumps(header)})


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Matrices and kernels in ``dtype``; vectors as they are, among them the frequencies of Fourier features."""
    return (value.to(dtype) if value.is_floating_point() and value.ndim > 1 else value).contiguous().clone()


def _recognise(content: Mapping[str, Any], path: object) -> tuple[str, dict[str, Tensor]]:
    state = checkpoint.state_of(content, path)
    for family in FAMILIES:
        module = _module(family)
        if module.recognises(state):
            # Some codes keep averaged weights as a bare list, which only the family can put in place.
            return family, module.averaged(content, state) if hasattr(module, "averaged") else state
    some = ", ".join(list(state)[:4])
    raise InvalidFile(path, f"weights of no family that is known here (they begin with {some}); see docs/own-models.md")


def _load_family(family: str, state: Mapping[str, Tensor], options: Mapping[str, Any]) -> Prior:
    load = _module(family).load
    _check_options(load, options, f"a checkpoint of the family {family!r}")
    return load(state, **options)


def _module(family: str) -> Any:
    return import_module(f".{family}", __package__)


def _pipeline(pipe: Any, options: Mapping[str, Any], given: str) -> Prior:
    """The adapter for a pipeline, by what it is made of. Errors: :class:`InvalidFile` for one that is damaged."""
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            checkpoint.check_finite(part.state_dict(), given)
    module = ".stable" if hasattr(pipe, "vae") else ".diffusers"
    adapter = import_module(module, __package__).from_pipeline
    _check_options(adapter, options, type(pipe).__name__)
    try:
        return adapter(pipe, **options)
    except KintsugiError:
        raise
    except Exception as error:  # configurations that diffusers takes, and that say what cannot be
        said = f"{type(error).__name__}: {error}"
        raise InvalidFile(given, f"a pipeline that cannot be used as a prior ({said})") from error


def _onnx(path: Path, options: Mapping[str, Any]) -> Prior:
    from .onnx import from_onnx

    _check_options(from_onnx, options, "an ONNX file")
    return from_onnx(path, **options)


def _no_options(options: Mapping[str, Any], of: str) -> None:
    for name, value in options.items():
        raise InvalidArgument(name, value, f"no such option for {of}")


def _check_options(function: Callable[..., object], options: Mapping[str, Any], of: str) -> None:
    takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name, value in options.items():
        if name not in takes:
            raise InvalidArgument(name, value, f"an option of {of}: {', '.join(takes) or 'none'}")
