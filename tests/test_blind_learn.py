"""Operators learnt from pairs of clean and degraded signals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kintsugi import InvalidArgument, InvalidFile, Problem, data_path, learn
from kintsugi.blind import Convolutional, FreeKernel, Gain, GaussianBlur, MotionBlur
from kintsugi.images.reading import read_picture
from kintsugi.operators import Blur, check_vjp, gaussian_kernel, motion_kernel


def pictures(n: int = 1) -> Tensor:
    """Crops of a real photograph, (n, 3, 64, 64)."""
    x = read_picture(data_path("lighthouse")).pixels
    return torch.stack([x[:, 8 * i : 8 * i + 64, 16 * i : 16 * i + 64] for i in range(n)])


def gamma(x: Tensor) -> Tensor:
    """A camera that brightens the shadows."""
    return 2 * ((x + 1) / 2).clamp_min(1e-3) ** (1 / 2.2) - 1


def test_a_free_kernel_from_pairs() -> None:
    weights = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    weights /= weights.sum()
    x = pictures(4).double()
    y = Problem.simulate(x, Blur((3, 64, 64), weights, "unknown"), 1e-3).y
    found = learn(x, y, FreeKernel((3, 64, 64), 5))
    torch.testing.assert_close(found.parameters["kernel"], weights, atol=2e-3, rtol=0)
    assert found.noise == pytest.approx(1e-3, rel=0.05)
    assert found.error == pytest.approx(1e-3, rel=0.05)
    assert found.unexplained < 0.05


@pytest.mark.parametrize("boundary", ["circular", "unknown"])
@pytest.mark.parametrize("count", [1, 4])
def test_widths_lengths_and_gains(boundary: Any, count: int) -> None:
    x, shape = pictures(count), (3, 64, 64)
    y = Problem.simulate(x, Blur(shape, gaussian_kernel(1.4), boundary), 0.01).y
    assert learn(x, y, GaussianBlur(shape, (0.3, 3.0), boundary)).parameters["width"] == pytest.approx(1.4, rel=0.02)
    y = Problem.simulate(x, Blur(shape, motion_kernel(7.0, 120.0), boundary), 0.01).y
    found = learn(x, y, MotionBlur(shape, (1.5, 12.0), boundary))
    assert found.parameters["length"] == pytest.approx(7.0, abs=0.3)
    assert found.parameters["angle"] == pytest.approx(120.0, abs=2.0)
    assert found.noise == pytest.approx(0.01, rel=0.05)
    both = Gain(shape) @ GaussianBlur(shape, (0.3, 3.0), boundary)
    y = 0.6 * Problem.simulate(x, Blur(shape, gaussian_kernel(1.4), boundary)).y
    found = learn(x, y, both)
    assert found.parameters["gain"] == pytest.approx(0.6, rel=1e-2)
    assert found.parameters["width"] == pytest.approx(1.4, rel=2e-2)
    assert found.operator.out_shape == shape


def test_a_gamma_curve_by_a_network(tmp_path: Path) -> None:
    x = pictures(8)
    found = learn(x, gamma(x), steps=400, seed=1)
    assert isinstance(found.operator, Convolutional)
    assert found.error < 0.04  # of changes of 0.46; a grey level is 0.008
    assert found.unexplained < 0.1
    flat = torch.full((1, 3, 64, 64), -0.5)
    centre = found.operator(flat)[..., 16:-16, 16:-16].mean()
    assert float(centre) == pytest.approx(float(gamma(torch.tensor(-0.5))), abs=0.06)
    again = learn(x, gamma(x), steps=20, seed=1), learn(x, gamma(x), steps=20, seed=1)
    assert torch.equal(again[0].operator(x), again[1].operator(x))
    check_vjp(found.operator)
    found.operator.save(tmp_path / "gamma.safetensors")
    loaded = Convolutional.load(tmp_path / "gamma.safetensors")
    torch.testing.assert_close(loaded(x), found.operator(x), rtol=0, atol=0)
    assert loaded.describe() == found.operator.describe()
    wide = x[:, :, :40].repeat(1, 1, 1, 2)[..., :90]
    torch.testing.assert_close(loaded.on((3, 40, 90))(wide)[:1], loaded.on((3, 40, 90))(wide[:1]))


def test_files_that_are_no_operator(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile):
        Convolutional.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InvalidFile):
        Convolutional.load(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InvalidFile, match="not a learned operator"):
        Convolutional.load(tmp_path / "other.safetensors")
    with pytest.raises(InvalidFile):
        Convolutional.load(data_path("photo.safetensors"))
    good = learn(pictures(4), pictures(4), steps=1, width=4, depth=2).operator
    assert isinstance(good, Convolutional)
    good.save(tmp_path / "good.safetensors")
    from safetensors import safe_open

    with safe_open(tmp_path / "good.safetensors", framework="pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    save_file(dict(list(tensors.items())[:1]), tmp_path / "part.safetensors", metadata=metadata)
    with pytest.raises(InvalidFile, match="do not fit"):
        Convolutional.load(tmp_path / "part.safetensors")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"clean": torch.zeros(4, 3, 32, 32, dtype=torch.int64)}, "clean"),
        ({"clean": torch.full((4, 3, 32, 32), float("nan"))}, "clean"),
        ({"degraded": torch.zeros(4, 3, 32, 31)}, "degraded"),
        ({"family": "gaussian"}, "family"),
        ({"family": Gain((3, 8, 8))}, "clean"),
        ({"family": GaussianBlur((3, 32, 32))}, "clean"),
        ({"steps": 0}, "steps"),
        ({"depth": 1}, "depth"),
        ({"clean": torch.zeros(4, 3, 32), "degraded": torch.zeros(4, 3, 32)}, "clean"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], name: str) -> None:
    good: dict[str, Any] = {"clean": torch.zeros(4, 3, 32, 32), "degraded": torch.zeros(4, 3, 32, 32)}
    with pytest.raises(InvalidArgument) as caught:
        learn(**(good | change))
    assert caught.value.name == name
