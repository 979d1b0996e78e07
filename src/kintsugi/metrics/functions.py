"""Functions that metrics look through, by name: the features of FID and KID, the classifier of top-1 accuracy.

| the word | what it is |
|---|---|
| ``FILE.pt`` | a TorchScript module: what ``torch.jit.save`` wrote |
| ``module:function`` | an importable function, or a class that makes one without arguments |

Either takes float32 pictures (n, 3, H, W) in [-1, 1] and returns one row for each: features (n, d), or scores
(n, classes). What else a network wants of its input (a size, a mean, a range) belongs into the module, so that a number
can be had again from the file alone.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile

Function = Callable[[Tensor], Tensor]


@lru_cache(maxsize=4)
def load_function(word: str, device: str = "cpu") -> Function:
    """The function that ``word`` names, on ``device``, without gradients and in evaluation mode.

    Errors: :class:`InvalidFile` for a file that is not there or holds no module, :class:`InvalidArgument` for a name
    that cannot be imported or called.
    """
    module, colon, name = word.partition(":")
    if colon and module.replace(".", "").isidentifier():
        function = _import(word, module, name)
    else:
        function = _script(Path(word), device)
    if isinstance(function, torch.nn.Module):
        function = function.to(device).eval()

    def call(x: Tensor) -> Tensor:
        with torch.no_grad():
            return function(x.to(device)).to(x.device)

    return call


def _import(word: str, module: str, name: str) -> Any:
    expected = "module:function, where that can be imported, or a TorchScript file"
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidArgument("function", word, f"{expected} ({error})") from error
    if inspect.isclass(found):
        found = found()
    if not callable(found):
        raise InvalidArgument("function", word, expected)
    return found


def _script(path: Path, device: str) -> Any:
    if not path.is_file():
        raise InvalidFile(path, "no such file; a function is a TorchScript file or module:function")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather have torch.export
            return torch.jit.load(path, map_location=device)
    except RuntimeError as error:
        raise InvalidFile(path, f"not a TorchScript module ({str(error).splitlines()[0][:150]})") from error
