"""Training on arrays of any number of channels: what is read, what is refused, and runs that resume exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor

from kintsugi.errors import InvalidFile
from kintsugi.priors.base import Prior
from kintsugi.priors.network import load_model
from kintsugi.priors.unet import UNetConfig
from kintsugi.training import loop, material
from kintsugi.training.config import TrainConfig
from kintsugi.training.data import (
    Crops,
    array_crop,
    count_channels,
    find_images,
    image_size,
    read_signal,
    spectrum_crops,
    split,
    validation_crops,
)
from kintsugi.training.loop import train
from kintsugi.training.loss import draw_levels
from kintsugi.training.spectrum import measure_spectrum
from scripted import Scripted

TINY = TrainConfig(
    steps=4,
    batch=2,
    crop=16,
    warmup=2,
    save_every=2,
    validate_every=2,
    validation_crops=2,
    validation_levels=(0.1, 1.0),
    grey_share=1.0,  # would show: no array is turned grey
    net=UNetConfig(widths=(4, 6), blocks=(1, 1), embedding=8),
)


@pytest.fixture(autouse=True)
def _stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(material, "spectrum_crops", partial(spectrum_crops, count=2, size=16))
    AcceleratorState._reset_state(reset_partial_state=True)


def write_arrays(folder: Path, channels: int, count: int = 5, dtype: Any = np.float32) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = np.random.default_rng(i).uniform(-1, 1, (channels, 20 + i, 24))
        np.save(folder / f"{i}.npy", values.astype(dtype))
    return folder


# Reading


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_an_array_is_read_as_it_is(tmp_path: Path, dtype: Any) -> None:
    values = np.linspace(-1, 1, 2 * 5 * 7).reshape(2, 5, 7).astype(dtype)
    np.save(tmp_path / "a.NPY", values)
    (tmp_path / "a.NPY.npy").rename(tmp_path / "a.NPY")  # numpy adds its own ending
    files = find_images(tmp_path)
    assert image_size(files[0]) == (7, 5)  # width first, as of an image
    assert count_channels(files) == 2
    read = read_signal(files[0])
    assert isinstance(read, np.ndarray)
    assert read.dtype == np.float32
    assert np.array_equal(read, values.astype(np.float32))


REFUSED = {
    "not finite": (np.full((1, 20, 20), np.nan, np.float32), "expected finite numbers"),
    "infinite": (np.full((1, 20, 20), -np.inf), "expected finite numbers"),
    "one NaN": (np.where(np.arange(400).reshape(1, 20, 20) == 7, np.nan, 0.5), "values up to nan"),
    "too large": (np.full((1, 20, 20), 1.5), r"values up to 1\.5"),
    "too small": (np.full((1, 20, 20), -255.0), "values up to 255"),
    "two axes": (np.zeros((20, 20)), r"shape \(20, 20\); expected \(channels, height, width\)"),
    "nothing in it": (np.zeros((1, 0, 20)), r"shape \(1, 0, 20\)"),
    "integers": (np.zeros((1, 20, 20), np.uint8), "an array of uint8"),
    "complex": (np.zeros((1, 20, 20), np.complex64), "an array of complex64"),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_arrays_that_are_no_signals_are_named(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(InvalidFile, match=rf"bad\.npy: .*{message}"):
        read_signal(tmp_path / "bad.npy")


def test_files_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.npy"
    for content in (b"", b"no array", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(InvalidFile, match=r"bad\.npy: not a readable array"):
            image_size(path)
    np.save(path, np.zeros((1, 20, 20)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidFile, match=r"bad\.npy: not a readable array"):
        image_size(path)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros((1, 20, 20)))
    with pytest.raises(InvalidFile, match=r"bad\.npy: several arrays"):
        image_size(path)


class Trap:
    """Unpickled, it would end the test."""

    def __reduce__(self) -> Any:
        return pytest.exit, ("a file was unpickled",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "trap.npy", np.array([[[Trap()]]], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidFile, match=r"trap\.npy: not a readable array"):
        count_channels([tmp_path / "trap.npy"])


def test_all_signals_have_the_same_channels(tmp_path: Path) -> None:
    write_arrays(tmp_path, 2)
    np.save(tmp_path / "z.npy", np.zeros((1, 20, 20)))
    with pytest.raises(InvalidFile, match=r"z\.npy: 1 channels, where 0\.npy has 2"):
        train(tmp_path, tmp_path / "run", TINY)
    (tmp_path / "z.npy").unlink()
    Image.new("RGB", (20, 20)).save(tmp_path / "z.png")
    with pytest.raises(InvalidFile, match=r"z\.png: 3 channels"):
        count_channels(find_images(tmp_path))


def test_arrays_of_three_channels_may_stand_beside_pictures(tmp_path: Path) -> None:
    write_arrays(tmp_path, 3, count=1)
    Image.new("RGB", (20, 20), (0, 255, 51)).save(tmp_path / "z.png")
    files = find_images(tmp_path)
    assert count_channels(files) == 3
    crops = Crops(files, replace(TINY, grey_share=0.0, oversample=0.0))
    flat = [crop for crop in (crops[i] for i in range(16)) if float(crop[0].std()) == 0]
    assert 0 < len(flat) < 16
    torch.testing.assert_close(flat[0][:, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


# Crops


def test_a_crop_of_an_array_is_cut_as_it_is_or_flipped_or_transposed() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (2, 20, 18)).astype(np.float32)
    cut = values[:, 4:20, 2:18]
    for answers, expected in [
        ((0.9, 0.9, 0.9), cut),
        ((0.1, 0.9, 0.9), cut[:, :, ::-1]),
        ((0.9, 0.1, 0.9), cut.transpose(0, 2, 1)),
        ((0.9, 0.9, 0.1), cut[:, ::-1]),
    ]:
        out = array_crop(values, TINY, Scripted(*answers))  # type: ignore[arg-type]
        assert np.array_equal(out.numpy(), expected)


def test_crops_of_arrays_are_neither_reduced_nor_mixed_and_a_function_of_seed_and_index(tmp_path: Path) -> None:
    """Each channel holds numbers of its own, all different: every one must come out, in its channel."""
    values = np.linspace(-1, 1, 3 * 16 * 16).reshape(3, 16, 16).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    files = find_images(tmp_path)
    forwards, uncached = Crops(files, TINY), Crops(files, TINY, cache_bytes=0)
    assert len({tuple(forwards[i].flatten().tolist()) for i in range(60)}) == 8  # every orientation of a square
    for i in reversed(range(8)):
        assert torch.equal(forwards[i], uncached[i])
        for channel, expected in zip(forwards[i].numpy(), values, strict=True):
            assert np.array_equal(np.sort(channel.ravel()), expected.ravel())


def test_a_cached_array_is_not_changed_by_who_uses_its_crops(tmp_path: Path) -> None:
    write_arrays(tmp_path, 1, count=1)
    crops = Crops(find_images(tmp_path), TINY)
    before = crops[0].clone()
    crops[0].zero_()
    assert torch.equal(crops[0], before)


def test_held_out_crops_of_arrays(tmp_path: Path) -> None:
    files = find_images(write_arrays(tmp_path, 2))
    crops = validation_crops(files, replace(TINY, validation_crops=5))
    assert crops.shape == (5, 2, 20, 20)  # the largest side that all of them have, in whole multiples of 4
    largest = np.load(files[-1])
    assert any(
        np.array_equal(crops[0].numpy(), largest[:, top : top + 20, left : left + 20])
        for top in range(5)
        for left in range(5)
    )
    assert spectrum_crops(files, TINY, count=3).shape == (3, 2, 24, 24)


# Runs


class Killed(BaseException):
    """As a signal would: nothing in the library may catch it."""


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_killed_run_on_arrays_goes_on_as_if_nothing_had_happened(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_arrays(tmp_path / "data", channels)
    straight = train(data, tmp_path / "a", TINY)

    def draw(batch: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
        if generator.initial_seed() == (config.seed * 1_000_003 + 3) * 4096:
            raise Killed
        return draw_levels(batch, config, generator)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "draw_levels", draw)
        train(data, tmp_path / "b", TINY)
    assert torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)["step"] == 2
    train(data, tmp_path / "b", TINY)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]

    loaded = load_model(tmp_path / "a" / "model.safetensors")
    assert loaded.shape == (channels, None, None)
    assert straight.shape == loaded.shape
    assert loaded.card["training"]["net"]["channels"] == channels
    assert loaded.spectrum is not None
    chroma, luma = loaded.spectrum.values[:, :, 1], loaded.spectrum.values[:, :, 0]
    assert torch.equal(chroma, luma) == (channels == 1)


def test_held_out_arrays_are_spread_over_sizes(tmp_path: Path) -> None:
    files = find_images(write_arrays(tmp_path, 1, count=4))
    assert split(files, 0.25) == ([files[0], files[1], files[3]], [files[2]])


# The spectrum of errors


class Shrink(Prior):
    """A denoiser that returns half of what it gets."""

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return z / 2


def test_spectrum_of_one_channel() -> None:
    """Clean white signals of variance 2 without noise: the error is half of them, and there is only their mean."""
    crops = math.sqrt(2) * torch.randn(24, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    spectrum = measure_spectrum(Shrink(), crops, levels=1, low=1e-3, high=1e-3)
    wide = spectrum.freqs > 0.2
    assert float(spectrum.values[0, wide, 0].mean()) == pytest.approx(0.5, rel=0.05)
    assert torch.equal(spectrum.values[..., 0], spectrum.values[..., 1])


def test_spectrum_of_two_channels() -> None:
    """Real and imaginary part ``a (u + v)`` and ``a (u - v)``, of which u varies along (1, 1) and v across."""
    u, v = torch.randn(2, 24, 32, 32, generator=torch.Generator().manual_seed(0))
    crops = torch.stack((3 * u + v, 3 * u - v), dim=1) / math.sqrt(2)
    spectrum = measure_spectrum(Shrink(), crops, levels=1, low=1e-3, high=1e-3)
    wide = spectrum.freqs > 0.2
    luma, rest = spectrum.values[0, wide].T
    assert float(luma.mean()) == pytest.approx(9 / 4, rel=0.05)
    assert float(rest.mean()) == pytest.approx(1 / 4, rel=0.05)
