"""Hostile arguments of operators, kernels and noise models: of the types that they are said to have, and wrong.

Numbers that are zero, negative, NaN, infinite or huge; shapes and tensors that do not fit; words that mean nothing.
What is made of them measures a picture in finite numbers, or was refused. A value of another type altogether (a word
where a number belongs) is for the type checker to find: Python's own ``TypeError`` is then as good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from judge import Broken, Door, passes
from test_faults_tensors import tensors

from kintsugi import operators as ops
from kintsugi.errors import InvalidArgument
from kintsugi.likelihood import Poisson, PoissonGaussian
from kintsugi.operators import Operator

SHAPE = (3, 8, 8)
SHAPES = (SHAPE, (1, 8, 8), (2, 7, 9), (3, 8), (3, 8, 8, 8), (3, 0, 8), (3, -1, 8), (), (3,), (1, 1, 1), (3, 64, 1))
SIZES = ((8, 8), (4, 4), (3, 5), (0, 4), (-1, 4), (100, 100), (4,), (), (4, 4, 4), (2**40, 2))
# Good arguments of each; which of their kind is wrong follows from the value.
MADE: dict[str, tuple[Any, dict[str, Any]]] = {
    "identity": (ops.Identity, {"shape": SHAPE}),
    "mask": (ops.Mask, {"mask": torch.arange(8) % 2 == 0, "shape": SHAPE}),
    "bicubic": (ops.Bicubic, {"shape": SHAPE, "factor": 2, "boundary": "circular"}),
    "average": (ops.BlockAverage, {"shape": SHAPE, "factor": 4}),
    "blur": (ops.Blur, {"shape": SHAPE, "kernel": torch.ones(3, 3), "boundary": "unknown", "cutoff": 0.03}),
    "grey": (ops.Grey, {"shape": SHAPE, "weights": (0.3, 0.6, 0.1)}),
    "jpeg": (ops.JPEG, {"shape": SHAPE, "quality": 50, "subsampling": "4:2:0", "codec": "surrogate"}),
    "quantise": (ops.Quantise, {"shape": SHAPE, "bits": 3, "low": -1.0, "high": 1.0}),
    "hdr": (ops.HDR, {"shape": SHAPE, "gain": 2.0}),
    "clip": (ops.Clip, {"shape": SHAPE, "gain": 2.0, "low": -1.0, "high": 1.0}),
    "gamma": (ops.Gamma, {"shape": SHAPE, "gamma": 2.0, "low": -1.0, "high": 1.0}),
    "response": (ops.Response, {"shape": SHAPE, "outputs": (-1.0, 0.5, 1.0)}),
    "resize": (ops.Resize, {"shape": SHAPE, "size": (4, 4), "kernel": "bicubic", "cutoff": 0.001}),
    "scale": (ops.Resize, {"shape": SHAPE, "scale": 0.5}),
    "bayer": (ops.Bayer, {"shape": SHAPE, "pattern": "RGGB"}),
    "crop": (ops.Crop, {"shape": SHAPE, "size": (4, 4), "offset": (1, 2)}),
    "pad": (ops.Pad, {"shape": SHAPE, "before": (1, 2), "after": (2, 1)}),
    "matrix": (ops.Matrix, {"matrix": torch.eye(192), "shape": SHAPE}),
    "colour": (ops.ColourMatrix, {"shape": SHAPE, "matrix": torch.eye(3), "cutoff": 1e-4}),
    "balance": (ops.WhiteBalance, {"shape": SHAPE, "gains": (1.0, 2.0, 0.5)}),
    "subsampled": (ops.Subsampled, {"shape": SHAPE, "transform": "dct", "ratio": 0.5, "seed": 0}),
    "mri": (ops.MRI, {"shape": (1, 8, 8), "mask": torch.arange(8) % 2 == 0}),
    "magnitude": (ops.Magnitude, {"shape": (1, 8, 8), "oversample": 2.0, "offset": 0.0}),
    "diffraction": (ops.CodedDiffraction, {"shape": (1, 8, 8), "patterns": 4, "seed": 0}),
    "stationary": (ops.Stationary, {"shape": SHAPE, "transfer": torch.ones(8, 8), "factor": 2, "cutoff": 1e-3}),
    "gaussian": (ops.gaussian_kernel, {"sigma": 1.0, "size": 5, "dims": 2}),
    "motion": (ops.motion_kernel, {"length": 5.0, "angle": 30.0}),
    "box": (ops.uniform_kernel, {"size": 3, "dims": 2}),
    "cubic": (ops.bicubic_kernel, {"factor": 2, "a": -0.5}),
    "poisson": (Poisson, {"gain": 0.1, "black": -1.0}),
    "both": (PoissonGaussian, {"gain": 0.1, "sigma": 0.1, "black": -1.0}),
    "lines": (ops.cartesian_mask, {"size": (8, 8), "acceleration": 4.0, "centre_fraction": 0.1, "seed": 0}),
}
WHOLE = (0, -1, 1, 2, 5, 9, 10**6, 2**31, 10**18)
REAL = (0.0, -1.0, 1e-300, 1e300, 3.7, float("nan"), float("inf"), -float("inf"))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(sorted(MADE)))
    words = dict(MADE[name][1])
    for _ in range(draw(st.integers(1, 2))):
        key = draw(st.sampled_from(sorted(words)))
        good = MADE[name][1][key]
        if key == "shape":
            words[key] = draw(st.sampled_from(SHAPES))
        elif isinstance(good, torch.Tensor):
            words[key] = draw(tensors((tuple(good.shape), (3, 3), (8, 8), (8,), (), (0,), (0, 3), (3, 8, 8), (2, 2))))
        elif isinstance(good, str):
            words[key] = draw(st.sampled_from(("", "x", good.upper(), "\n", "4:2:2", "BGGR", "circular", "hadamard")))
        elif isinstance(good, tuple):
            odd = SIZES if isinstance(good[0], int) else ((), (0.0,) * 3, (float("nan"),) * 3, (1.0,), (1e300,) * 3)
            words[key] = draw(st.sampled_from(odd))
        else:
            words[key] = draw(st.sampled_from(WHOLE if isinstance(good, int) else REAL))
    return name, words


def act(case: tuple[str, dict[str, Any]], folder: Path) -> None:
    """What was made is finite, and an operator measures a picture of its shape."""
    name, words = case
    made = MADE[name][0](**words)
    if isinstance(made, Operator):
        x = torch.linspace(-1, 1, int(torch.Size(made.in_shape).numel())).reshape(1, *made.in_shape)
        out = made(x.to(torch.complex64) if made.in_complex else x)
        if tuple(out.shape) != (1, *made.out_shape):
            raise Broken(f"a measurement of {tuple(out.shape)}, where {made.out_shape} was said")
        check(out, words)
    elif isinstance(made, torch.Tensor):
        check(made, words)


def check(out: torch.Tensor, words: dict[str, Any]) -> None:
    numbers = [n for v in words.values() for n in (v if isinstance(v, tuple) else (v,))]
    large = any(isinstance(n, float) and abs(n) > 1e30 for n in numbers) or any(
        isinstance(v, torch.Tensor) and v.numel() and float(v.detach().double().abs().max()) > 1e30
        for v in words.values()
        if isinstance(v, torch.Tensor) and v.layout is torch.strided and v.device.type == "cpu"
    )
    # Numbers beyond float32 may become infinite, as they do in NumPy; NaN comes of nothing that is a number.
    if bool(torch.isnan(out).any()) or not (large or bool(torch.isfinite(out).all())):
        raise Broken("not finite")


GOOD = ("blur", MADE["blur"][1])
ARGUMENTS = Door("operator arguments", calls(), act, GOOD)
DOORS = (ARGUMENTS,)

test_operator_arguments = passes(ARGUMENTS, examples=40)


INFINITE = torch.ones(8, 8).index_fill(0, torch.tensor([2]), float("inf"))


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("pad", "before", ()), ("pad", "after", (1, 2, 3)), ("box", "dims", 10**18), ("motion", "length", 1e300),
        ("cubic", "factor", 10**9), ("cubic", "a", -float("inf")), ("scale", "scale", 1e300),
        ("resize", "size", (2**31, 4)), ("lines", "seed", -1), ("grey", "weights", (1e300,) * 3),
        ("stationary", "transfer", INFINITE), ("blur", "kernel", torch.ones(3, 3, device="meta")),
        ("mask", "mask", torch.ones(8, device="meta")), ("mri", "mask", torch.ones(8).to_sparse()),
        ("matrix", "matrix", torch.eye(192).to_sparse()), ("colour", "matrix", torch.eye(3).to_sparse()),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_by_name(name: str, word: str, value: Any) -> None:
    make, words = MADE[name]
    with pytest.raises(InvalidArgument) as found:
        make(**{**words, word: value})
    assert found.value.name in (word, "kernel", "colour", "size")


@pytest.mark.parametrize("x", [torch.zeros(1, 3, 8, 8, dtype=torch.int64), torch.zeros(1, 3, 8, 8, device="meta")])
def test_signals_are_floating_point_numbers_with_values(x: torch.Tensor) -> None:
    for name in ("identity", "mask", "blur", "jpeg"):
        with pytest.raises(InvalidArgument, match="x: expected"):
            MADE[name][0](**MADE[name][1])(x)


@pytest.mark.parametrize("name", ["identity", "mask", "blur", "average"])
def test_half_precision_goes_there_and_back(name: str) -> None:
    """In the precision of single numbers, of which Fourier transforms know: to three digits the same."""
    operator = MADE[name][0](**MADE[name][1])
    x = torch.rand(1, *operator.in_shape, generator=torch.Generator().manual_seed(0))
    half = operator.project(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), operator.project(x.bfloat16().float()), rtol=0, atol=0.05)
