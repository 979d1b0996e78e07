"""Networks in ONNX files, run by onnxruntime: forward only.

The file holds a graph from ``(x, time)`` to a prediction; what they mean has to be said, since the file does not. There
are no gradients, so methods that need a VJP of the network refuse such a prior, and the others work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from ..optional import optional
from ..paths import VE, VP, DiscreteVP, FlowMatching, Path
from .base import Vjp
from .clock import Clock, Steps, clock_of
from .model import ModelPrior
from .prediction import Form, Prediction


class OnnxPrior(ModelPrior):
    """The network in ``file`` as a prior without gradients; the arguments are those of :class:`ModelPrior`.

    ``providers``: of onnxruntime, by default the CPU's. The shape is read from the graph where it is not given.
    """

    has_vjp = False

    def __init__(
        self,
        file: str | os.PathLike[str],
        path: Path,
        prediction: Prediction | Form,
        clock: Clock,
        *,
        shape: Sequence[int | None] | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        **settings: Any,
    ) -> None:
        network = Session(file, providers)
        super().__init__(network, path, prediction, clock, shape=shape or network.shape, **settings)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        raise InvalidArgument("prior", "an ONNX file", "a model with gradients; run a method that needs no VJP")


class Session:
    """``(x, time) -> prediction`` of an ONNX graph with two inputs, in the types that the graph wants."""

    def __init__(self, file: str | os.PathLike[str], providers: Sequence[str]) -> None:
        runtime = optional("onnxruntime", "onnx", "an ONNX file")
        if not FilePath(file).is_file():
            raise InvalidFile(file, "no such model file")
        try:
            self._session = runtime.InferenceSession(os.fspath(file), providers=list(providers))
        except Exception as error:  # onnxruntime has its own hierarchy, all of it "this graph does not load"
            raise InvalidFile(file, f"not a usable ONNX file ({' '.join(str(error).split())[:200]})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 2:
            names = [i.name for i in inputs]
            raise InvalidFile(file, f"a graph with the inputs {names}; expected two, the noisy signal and the time")
        self._signal, self._time = inputs
        self.shape = tuple(n if isinstance(n, int) else None for n in self._signal.shape[1:]) or None

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        dtypes = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}
        dtypes["tensor(int64)"] = torch.int64
        feeds = {}
        for said, value in ((self._signal, x), (self._time, time)):
            value = value.detach().cpu().to(dtypes.get(said.type, torch.float32))
            feeds[said.name] = (value[0] if len(said.shape) == 0 else value).numpy()
        (out, *_) = self._session.run(None, feeds)
        return torch.from_numpy(out).to(x)


def from_onnx(
    file: str | os.PathLike[str],
    *,
    path: str | Path = "ve",
    prediction: Prediction = "sample",
    clock: Clock | Literal["t", "1-t", "eta", "log"] | float = "eta",
    betas: Sequence[float] | None = None,
    shape: Sequence[int | None] | None = None,
    data_range: tuple[float, float] = (-1.0, 1.0),
    data_variance: float | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> OnnxPrior:
    """An ONNX file as a prior; by default a denoiser ``(x, sigma)`` in [-1, 1].

    path: "vp", "flow", "ve" or a path; with ``betas`` the one of these, whose clock is then the step. prediction,
    clock: see :mod:`~kintsugi.priors.prediction` and :mod:`~kintsugi.priors.clock`.
    """
    if betas is not None:
        discrete = DiscreteVP(tuple(betas))
        path, clock = discrete, Steps(discrete)
    words: dict[object, Path] = {"vp": VP(), "flow": FlowMatching(), "ve": VE()}
    chosen = path if isinstance(path, Path) else words.get(path) if isinstance(path, str) else None
    if chosen is None:
        raise InvalidArgument("path", path, "'vp', 'flow', 've' or a path")
    low, high = data_range
    variance = 0.25 * ((high - low) / 2) ** 2 if data_variance is None else data_variance
    return OnnxPrior(
        file, chosen, prediction, clock_of(clock, chosen),
        shape=shape, data_range=data_range, data_variance=variance, providers=providers,
    )  # fmt: skip
