"""Kernels of blurs: their values, and every way a file of one can be wrong."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.operators import bicubic_kernel, gaussian_kernel, load_kernel, motion_kernel, uniform_kernel
from kintsugi.operators.kernels import check_kernel

KERNELS: dict[str, Callable[[], Tensor]] = {
    "gaussian": lambda: gaussian_kernel(1.3),
    "gaussian 1-D": lambda: gaussian_kernel(0.5, dims=1),
    "gaussian 3-D": lambda: gaussian_kernel(0.5, size=3, dims=3),
    "uniform": lambda: uniform_kernel(4),
    "uniform 3-D": lambda: uniform_kernel(3, dims=3),
    "motion": lambda: motion_kernel(7.5, 33),
    "bicubic even": lambda: bicubic_kernel(4),
    "bicubic odd": lambda: bicubic_kernel(3),
    "checked": lambda: check_kernel(torch.tensor([[1, 2], [3, 4]])),
}


@pytest.mark.parametrize("name", KERNELS)
def test_sums_to_one_in_float64(name: str) -> None:
    kernel = KERNELS[name]()
    assert kernel.dtype == torch.float64
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-14)


def test_gaussian_values() -> None:
    kernel = gaussian_kernel(1.5)
    assert kernel.shape == (13, 13)  # 4 sigma on either side
    centre = kernel[6, 6]
    for dy, dx in ((0, 1), (2, 1), (6, 0), (-3, 4)):
        assert float(kernel[6 + dy, 6 + dx] / centre) == pytest.approx(math.exp(-(dy**2 + dx**2) / (2 * 1.5**2)))
    line = gaussian_kernel(1.0, size=3, dims=1)
    side = math.exp(-0.5) / (1 + 2 * math.exp(-0.5))
    assert line.tolist() == pytest.approx([side, 1 - 2 * side, side])


def test_uniform_values() -> None:
    assert uniform_kernel(3).tolist() == [pytest.approx([1 / 9] * 3)] * 3
    assert uniform_kernel(4, dims=1).tolist() == [0.25] * 4


@pytest.mark.parametrize("length", [1, 3, 5, 9])
@pytest.mark.parametrize("angle", [0.0, 90.0, 180.0, -90.0])
def test_motion_along_an_axis_is_a_line(length: int, angle: float) -> None:
    """``length`` pixels: the path is ``length - 1`` long, its two end pixels lit half as long as the others."""
    kernel = motion_kernel(length, angle)
    line = kernel if angle % 180 == 0 else kernel.T
    assert line.shape == (1, length)
    assert torch.allclose(line, line.flip(1), atol=1e-12)
    if length > 1:
        inner = 1 / (length - 1)
        assert torch.allclose(line[0, 1:-1], torch.full((length - 2,), inner).double(), rtol=0.05)
        assert torch.allclose(line[0, [0, -1]], torch.full((2,), inner / 2).double(), rtol=0.05)


def test_motion_at_45_degrees_goes_up_to_the_right() -> None:
    kernel = motion_kernel(9, 45)
    assert kernel.shape[0] == kernel.shape[1]
    assert torch.allclose(kernel, kernel.T.flip(0, 1), atol=1e-12)
    weight = kernel / kernel.sum()
    rows = torch.arange(len(kernel)).double() - len(kernel) // 2
    covariance = float((weight * rows[:, None] * rows).sum())
    assert covariance < -1  # a row further up (smaller) is a column further right (larger)
    assert torch.allclose(kernel, motion_kernel(9, 225), atol=1e-12)


@given(st.floats(1, 20), st.floats(-360, 360))
def test_motion_spreads_over_its_length(length: float, angle: float) -> None:
    """The second moment along the path is that of a line, and across it no more than a pixel's."""
    kernel = motion_kernel(length, angle)
    rows = torch.arange(kernel.shape[0]).double() - kernel.shape[0] // 2
    columns = torch.arange(kernel.shape[1]).double() - kernel.shape[1] // 2
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along = c * columns - s * rows[:, None]
    across = s * columns + c * rows[:, None]
    assert float((kernel * along).sum()) == pytest.approx(0, abs=1e-9)
    expected = (length - 1) ** 2 / 12
    assert expected <= float((kernel * along**2).sum()) + 1e-9 <= 1.2 * expected + 0.3
    assert float((kernel * across**2).sum()) <= 0.26


def test_bicubic_values() -> None:
    """Keys' kernel with a = -0.5 at the offsets 1/4, 3/4, 5/4, 7/4, halved: factor 2."""
    half = [-0.0234375, -0.0703125, 0.2265625, 0.8671875]
    assert (2 * bicubic_kernel(2)).tolist() == pytest.approx([*half, *half[::-1]])
    assert bicubic_kernel(1).tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert [len(bicubic_kernel(s)) for s in (2, 3, 4, 5, 8)] == [8, 11, 16, 19, 32]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_bicubic_is_the_kernel_of_the_fields_code(factor: int) -> None:
    """Transcribed from the DDRM repository's ``bicubic_kernel``."""

    def field(x: float, a: float = -0.5) -> float:
        if abs(x) <= 1:
            return (a + 2) * abs(x) ** 3 - (a + 3) * abs(x) ** 2 + 1
        if 1 < abs(x) < 2:
            return a * abs(x) ** 3 - 5 * a * abs(x) ** 2 + 8 * a * abs(x) - 4 * a
        return 0

    k = np.zeros(factor * 4)
    for i in range(factor * 4):
        k[i] = field((1 / factor) * (i - np.floor(factor * 4 / 2) + 0.5))
    assert np.allclose(bicubic_kernel(factor).numpy(), k / np.sum(k), atol=1e-14)


# --- files ------------------------------------------------------------------------------------------------------------


def test_load_png(tmp_path: Path) -> None:
    levels = np.array([[0, 10, 30], [40, 20, 0]], dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "k.png")
    assert np.allclose(load_kernel(tmp_path / "k.png").numpy(), levels / 100)
    assert np.allclose(load_kernel(str(tmp_path / "k.png")).numpy(), levels / 100)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_load_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    levels = np.array([[0, 255, 0], [255, 0, 255]], dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(tmp_path / "k.png")
    assert np.allclose(load_kernel(tmp_path / "k.png").numpy(), levels / levels.sum(dtype=float), atol=1e-6)


def test_load_16_bit_png(tmp_path: Path) -> None:
    levels = np.array([[0, 60000, 300]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "k.png")
    assert np.allclose(load_kernel(tmp_path / "k.png").numpy(), levels / 60300)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, np.int64, np.bool_])
def test_load_npy(tmp_path: Path, dtype: type) -> None:
    values = np.array([[0, 1, 3], [4, 2, 0]]).astype(dtype)
    np.save(tmp_path / "k.npy", values)
    assert np.allclose(load_kernel(tmp_path / "k.npy").numpy(), values.astype(float) / values.sum(dtype=float))


def npy(values: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values), allow_pickle=True)
    return buffer.getvalue()


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (_explode, ("unpickled",))


def _explode(message: str) -> None:
    raise AssertionError(message)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones((2, 2)))
    return buffer.getvalue()


def png(levels: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(levels, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.npy", b""),
        ("empty.png", b""),
        ("text.npy", b"0.1 0.2\n0.3 0.4\n"),
        ("text.png", b"0.1 0.2\n0.3 0.4\n"),
        ("cut.npy", npy(np.ones((5, 5)))[:-9]),
        ("header.npy", npy(np.ones((5, 5)))[:20]),
        ("cut.png", png(np.arange(10000).reshape(100, 100) % 251)[:-2000]),
        ("header.png", png(np.ones((5, 5)))[:20]),
        ("object.npy", npy(np.array([Bomb()], dtype=object))),
        ("pickle.npy", pickle.dumps(Bomb())),
        ("archive.npy", npz()),
        ("strings.npy", npy([["a", "b"]])),
        ("complex.npy", npy([[1 + 1j, 2.0]])),
        ("structured.npy", npy(np.zeros(3, dtype=[("a", "f4")]))),
        ("nan.npy", npy([[1.0, math.nan]])),
        ("infinite.npy", npy([[1.0, math.inf]])),
        ("nothing.npy", npy(np.zeros((0, 3)))),
        ("number.npy", npy(3.0)),
        ("zeros.npy", npy([[0.0, 0.0]])),
        ("negative.npy", npy([[-2.0, 1.0]])),
        ("black.png", png(np.zeros((3, 3)))),
    ],
)
def test_bad_files_are_named_and_never_run(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidFile, match=name) as caught:
        load_kernel(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "unpickled" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    for name in ("none.npy", "none.png", "folder.npy", "."):
        with pytest.raises(InvalidFile):
            load_kernel(tmp_path / name)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("sigma", lambda: gaussian_kernel(0.0)),
        ("sigma", lambda: gaussian_kernel(-1.0)),
        ("sigma", lambda: gaussian_kernel(math.nan)),
        ("sigma", lambda: gaussian_kernel(math.inf)),
        ("size", lambda: gaussian_kernel(1.0, size=4)),
        ("size", lambda: gaussian_kernel(1.0, size=0)),
        ("size", lambda: uniform_kernel(0)),
        ("length", lambda: motion_kernel(0.5)),
        ("length", lambda: motion_kernel(math.nan)),
        ("length", lambda: motion_kernel(5, math.inf)),
        ("factor", lambda: bicubic_kernel(0)),
        ("kernel", lambda: check_kernel(torch.tensor(1.0))),
        ("kernel", lambda: check_kernel(torch.tensor([math.nan]))),
        ("kernel", lambda: check_kernel(torch.tensor([-1.0, 0.5]))),
        ("kernel", lambda: check_kernel(torch.zeros(0))),
    ],
)
def test_bad_arguments_are_named(argument: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == argument
