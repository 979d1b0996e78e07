"""Getting models: from the Hugging Face hub, through its own cache and token, or from an address.

Everything is looked up in the user's cache first. ``HF_HUB_OFFLINE=1`` keeps it at that. A revision pins what a name
means; without one it is whatever the hub holds today.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import urllib.error
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ..errors import InvalidArgument, InvalidFile, is_whole
from ..files import atomic_path
from ..optional import optional

LARGEST_JSON = 2**20  # bytes of an index or a configuration
# In a configuration: sizes, steps of a schedule, words of a vocabulary; layers of one kind.
LARGEST_NUMBER, MOST_LAYERS = 10**7, 256
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(name: str) -> bool:
    """Whether ``name`` has the form of a repository on the hub, "owner/name" or "owner/name:file"."""
    repository, _, _ = name.partition(":")
    return _NAME.fullmatch(repository) is not None


def is_address(name: str) -> bool:
    """Whether ``name`` is an https address."""
    return name.startswith(("https://", "http://"))


def hub_pipeline(name: str, revision: str | None, token: str | None, **settings: Any) -> Any:
    """The diffusers pipeline of a repository. Errors: :class:`InvalidFile`, with what to do offline."""
    diffusers = optional("diffusers", "diffusers", f"the model {name}")
    folder = Path(name)
    if folder.is_dir():
        _check_parts(folder)
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(name, revision=revision, token=token, **settings)
        for key, part in pipe.components.items():
            _check_config(f"{name}, {key}", part)
        return pipe
    except (MemoryError, InvalidFile):
        raise
    except Exception as error:  # folders that say what is not so raise anything: TypeError, AttributeError
        if folder.is_dir():
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise InvalidFile(name, f"not a pipeline that diffusers can read ({said})") from error
        if not isinstance(error, OSError | ValueError | KeyError):
            raise
        raise InvalidFile(name, _unreachable(name, error)) from error


def _check_parts(folder: Path) -> None:
    """:class:`InvalidFile` for a folder whose index names Python code, which some versions of diffusers would import.

    What it may name are classes of diffusers and transformers, and modules of diffusers' own pipelines.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise InvalidFile(folder, "no pipeline of diffusers: there is no model_index.json in it")
    index = _read_json(path)
    if not isinstance(index.get("_class_name"), str):
        raise InvalidFile(path, "a pipeline with code of its own, which is not run")
    for name, part in index.items():
        if isinstance(part, list) and part and part[0] is not None and not _is_library(part[0]):
            problem = f"{name}: a part of {part[0]!r}, whose code is not run; expected diffusers or transformers"
            raise InvalidFile(path, problem)
    for config in sorted(folder.glob("*/*config.json")):
        for name, value in _read_json(config).items():
            # Layers are made, and schedules computed, before anybody sees that the weights are not theirs.
            most = MOST_LAYERS if "layers" in name or "blocks" in name else LARGEST_NUMBER
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int) and abs(number) > most:
                    raise InvalidFile(config, f"{name}: expected at most {most}, got {number}")


def _check_config(where: str, part: Any) -> None:
    """:class:`InvalidFile` for a setting of another type than its default has, which only a run would find."""
    if part is None or not hasattr(part, "config"):
        return
    size = getattr(part.config, "sample_size", None)  # has no default that would tell its type
    sides = size if isinstance(size, list | tuple) and len(size) == 2 else [size]
    if size is not None and not all(is_whole(side, 1) for side in sides):
        raise InvalidFile(where, f"sample_size: expected a number of pixels, or height and width, got {size!r}")
    for name, parameter in inspect.signature(type(part).__init__).parameters.items():
        default, value = parameter.default, getattr(part.config, name, None)
        if value is None or type(default) not in (bool, int, float, str) or type(value) is type(default):
            continue
        # Where the default is a whole number, some models have a list of them, one a level.
        kinds = {int: int | float | list | tuple, float: int | float}.get(type(default))
        parts = value if isinstance(value, list | tuple) else [value]
        right = kinds is not None and isinstance(value, kinds) and all(isinstance(part, int | float) for part in parts)
        if isinstance(value, bool) or not right:
            kind = type(default).__name__
            raise InvalidFile(where, f"{name}: expected {kind} as in {default!r}, got {value!r}")


def _read_json(path: Path) -> dict[str, Any]:
    """Names and values. Errors: :class:`InvalidFile`."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"larger than {LARGEST_JSON} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("expected names and values")
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidFile(path, f"cannot be read as JSON ({error})") from error
    return found


def _is_library(name: object) -> bool:
    if name in ("diffusers", "transformers"):
        return True
    pipelines = optional("diffusers.pipelines", "diffusers", "a pipeline")
    return isinstance(name, str) and name.isidentifier() and hasattr(pipelines, name)


def hub_file(name: str, revision: str | None, token: str | None) -> Path:
    """The file of "owner/name:file" in the user's cache. Errors: :class:`InvalidFile`."""
    repository, _, file = name.partition(":")
    hub = optional("huggingface_hub", "diffusers", f"the model {name}")
    try:
        return Path(hub.hf_hub_download(repository, file, revision=revision, token=token))
    except (OSError, ValueError) as error:
        raise InvalidFile(name, _unreachable(repository, error)) from error


def download(address: str, sha256: str | None = None) -> Path:
    """The file at ``address`` in torch's cache, with a progress bar; whole or not at all.

    Errors: :class:`InvalidFile` where it cannot be had, or is not what ``sha256`` says.
    """
    import torch

    if not address.startswith("https://"):
        raise InvalidArgument("prior", address, "an https address")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(urlparse(address).path).name
    if not target.is_file():
        try:
            with atomic_path(target) as temporary:
                torch.hub.download_url_to_file(address, os.fspath(temporary), progress=True)
                _check_digest(temporary, address, sha256)
        except (urllib.error.URLError, OSError, TimeoutError) as error:
            raise InvalidFile(
                address, f"cannot be downloaded ({error}); fetch it on another machine and put it at {target}"
            ) from error
    elif sha256 is not None:
        _check_digest(target, address, sha256)
    return target


def _check_digest(path: Path, address: str, sha256: str | None) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise InvalidFile(address, f"its SHA-256 is {digest}, not the {sha256} that is expected")


def _unreachable(name: str, error: Exception) -> str:
    said = " ".join(str(error).split())[:160]
    return (
        f"not in the cache, and not to be had from the hub ({said}); check the name, the token and the connection, or "
        f"download it elsewhere (hf download {name} --local-dir DIR) and give the folder"
    )
