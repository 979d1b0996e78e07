"""Reading other people's files: tensors and numbers, never code.

``.safetensors`` holds nothing else. ``.pt``, ``.pth``, ``.ckpt`` and ``.bin`` are pickles; they are read by torch with
``weights_only=True``, which refuses whatever would run code.
"""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InvalidFile

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
_BYTES = (torch.bool, torch.uint8, torch.int8)
_REFUSED = (
    "it holds Python objects that would run code when read ({}), which is refused; have its authors, or the code that "
    "made it on a machine that you can spare, write the weights alone: torch.save(model.state_dict(), FILE), or "
    "safetensors.torch.save_file(model.state_dict(), FILE)"
)


def read_checkpoint(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """What a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` file holds: tensors by name, perhaps under further names.

    Errors: :class:`InvalidFile` for what is not there, is damaged, or needs more than tensors and numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(path, "no such model file")
    if path.suffix == ".pkl":
        raise InvalidFile(path, _REFUSED.format("a plain pickle, as the EDM and StyleGAN codes write"))
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of an unusual protocol: they are read, or refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InvalidFile(path, _REFUSED.format(_reason(error))) from error
    except InvalidFile:
        raise
    except Exception as error:  # torch fed with broken bytes raises anything: IndexError, AttributeError, struct.error
        raise InvalidFile(path, f"not a readable checkpoint ({_reason(error)})") from error
    if not isinstance(content, Mapping):
        raise InvalidFile(path, f"it holds {type(content).__name__}; expected tensors by name")
    return content


def _check_archive(path: Path) -> None:
    """torch stores weights as they are. An archive that unpacks to more than it holds is none of its own."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > 2 * path.stat().st_size + 2**20:
        raise InvalidFile(path, f"an archive that unpacks to {unpacked} bytes; torch stores weights uncompressed")


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a ``.safetensors`` file; entries that are JSON are parsed.

    Errors: :class:`InvalidFile`.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(path, "no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidFile(path, f"not a readable safetensors file ({error})") from error
    return tensors, {key: _parsed(value) for key, value in metadata.items()}


def state_of(content: Mapping[str, Any], path: object) -> dict[str, Tensor]:
    """The weights in a checkpoint: itself, or what stands under one of the names that trainers use.

    Averaged weights come first. Errors: :class:`InvalidFile` where there are none, or one is not finite.
    """
    for name in ("ema", "ema_model", "state_dict", "model_state_dict", "model", "net", "network", "params"):
        inner = content.get(name)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            content = inner
            break
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise InvalidFile(path, f"no weights in it; it has {', '.join(map(str, list(content)[:8])) or 'nothing'}")
    check_finite(state, path)
    return state


def check_finite(state: Mapping[str, Tensor], path: object) -> None:
    """:class:`InvalidFile` that names the first of the weights that is not plain, or not finite."""
    for name, value in state.items():
        if not _is_plain(value):
            raise InvalidFile(path, f"weights that are no plain numbers in memory of their own, first in {name!r}")
        known = value if value.dtype.itemsize > 1 or value.dtype in _BYTES else value.float()  # 8-bit floating point
        if not bool(torch.isfinite(known).all()):
            raise InvalidFile(path, f"weights that are not finite, first in {name!r}")


def _is_plain(value: Tensor) -> bool:
    """Neither sparse, quantised nor without content, and not larger than its memory, as an expanded tensor is."""
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_nested:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _reason(error: Exception) -> str:
    """The first sentence of what torch says."""
    text = " ".join(str(error).split())
    for mark in ("Unsupported global: GLOBAL ", "Unsupported class "):
        if mark in text:
            return text.split(mark, 1)[1].split(" ", 1)[0]
    return text[:120] or type(error).__name__
