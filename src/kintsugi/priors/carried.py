"""A model's files, sent to where the model is not: what a worker without a shared folder is given.

A name that stands for the same model everywhere, of the package or of the hub, needs no files. One of files of this
machine does: they are read here, and written to a temporary folder there for as long as it takes to load them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embedded import available_priors
from .known import KNOWN

Bytes = NDArray[np.uint8]  # arrays, since Ray lets all workers of a machine read one copy of them


@dataclass(frozen=True)
class Carried:
    """The model ``name``, and where it is a file or a folder its content, by relative path. Equal by ``digest``."""

    name: str
    digest: str
    files: Mapping[str, Bytes] = field(compare=False, repr=False)

    @contextmanager
    def here(self) -> Iterator[str]:
        """What :func:`load_prior` finds it by on this machine, within the block."""
        if not self.files:
            yield self.name
            return
        short, path = _split(self.name)
        with tempfile.TemporaryDirectory(prefix="kintsugi-") as folder:
            for name, content in self.files.items():
                place = Path(folder, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                content.tofile(place)
            yield short + str(Path(folder, path.name))


def carry(name: str) -> Carried:
    """The model ``name`` with its files, read from this machine where it is one of files."""
    _, path = _split(name)
    content = {
        str(file.relative_to(path.parent)): np.fromfile(file, dtype=np.uint8) for file in model_files(name)
    }  # fmt: skip
    return Carried(name, model_digest(name), content)


def model_files(name: str) -> list[Path]:
    """The files of this machine that the model ``name`` is read from; none for one of the package or of the hub."""
    _, path = _split(name)
    if name in available_priors() or not path.exists():
        return []
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def model_digest(name: str) -> str:
    """A digest of the content of :func:`model_files`, or of the name where there are none."""
    files = model_files(name)
    if not files:
        return hashlib.sha256(name.encode()).hexdigest()[:16]
    short, path = _split(name)
    whole = hashlib.sha256(short.encode())
    for file in files:
        with file.open("rb") as opened:
            own = hashlib.file_digest(opened, "sha256").hexdigest()
        # A single file is the same model under another name, where its suffix is the same.
        whole.update(f"{file.suffix if file == path else file.relative_to(path)} {own}\n".encode())
    return whole.hexdigest()[:16]


def _split(name: str) -> tuple[str, Path]:
    """``ffhq-256:FILE`` as ``ffhq-256:`` and the file; anything else as nothing and a path."""
    short, colon, own = name.partition(":")
    if colon and short in KNOWN and not Path(name).exists():
        return short + colon, Path(own)
    return "", Path(name)
