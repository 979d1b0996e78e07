"""From pictures to problems and back: operators, noise levels, masks, kernels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.cli.options import parse_kernel
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.images import Fading, Picture, estimate_fading, read_compression, read_picture
from kintsugi.images.noise import ROUNDING, estimate_noise, noise_level
from kintsugi.operators import HDR, JPEG, Bicubic, Blur, Quantise, gaussian_kernel
from kintsugi.tasks import Settings, box_mask, prepare, random_mask, simulate

FLOOR = 2 / 255 / math.sqrt(12)  # rounding to 8 bits, in the units of the data
MASK = box_mask((12, 10), 4)


def picture(height: int = 12, width: int = 10, channels: int = 3, **kwargs: object) -> Picture:
    pixels = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Picture(pixels, **kwargs)  # type: ignore[arg-type]


def smooth(size: int = 48) -> Picture:
    y, x = torch.meshgrid(torch.linspace(0, 3, size), torch.linspace(0, 2, size), indexing="ij")
    return Picture(torch.stack((torch.sin(x + y), torch.cos(2 * x), torch.sin(y))) * 0.5, bits=32)


# --- problems ---------------------------------------------------------------------------------------------------------


def test_sr_is_bicubic_of_a_picture_factor_times_as_large() -> None:
    small = picture()
    for boundary in ("unknown", "circular"):
        prepared = prepare("sr", small, Settings(factor=3, boundary=boundary))  # type: ignore[arg-type]
        reference = Bicubic((3, 36, 30), 3, boundary)  # type: ignore[arg-type]
        x = torch.randn((1, *reference.in_shape))
        assert prepared.size == (36, 30)
        assert torch.equal(prepared.problem.operator(x), reference(x))
        assert torch.equal(prepared.problem.y, small.pixels)
        assert prepared.problem.noise == pytest.approx(FLOOR)


def test_inpaint_keeps_known_pixels_and_hides_the_rest() -> None:
    prepared = prepare("inpaint", picture(), Settings(mask=MASK))
    assert torch.equal(prepared.problem.y, picture().pixels * ~MASK)
    assert torch.equal(prepared.problem.operator(torch.ones(1, 3, 12, 10))[0], (~MASK).float().expand(3, -1, -1))
    restored = prepared.finish(torch.full((3, 12, 10), 0.3))
    assert torch.equal(restored.pixels, torch.where(MASK, torch.tensor(0.3), picture().pixels))


def test_inpaint_with_noise_repairs_known_pixels_too() -> None:
    prepared = prepare("inpaint", picture(), Settings(mask=MASK, noise=0.1))
    assert prepared.problem.noise == pytest.approx(0.2)
    assert torch.equal(prepared.finish(torch.full((3, 12, 10), 0.3)).pixels, torch.full((3, 12, 10), 0.3))


def test_deblur_is_a_blur_of_the_same_size() -> None:
    kernel = gaussian_kernel(0.7)
    prepared = prepare("deblur", picture(), Settings(kernel=kernel))
    reference = Blur((3, 12, 10), kernel, "unknown")
    x = torch.randn((1, *reference.in_shape))
    assert torch.equal(prepared.problem.operator(x), reference(x))
    assert prepared.size == (12, 10)


def test_colorize_measures_the_mean_and_returns_colour() -> None:
    grey = picture(channels=1)
    prepared = prepare("colorize", grey)
    assert torch.equal(prepared.problem.y, grey.pixels)
    assert prepared.problem.noise == pytest.approx(FLOOR)
    x = torch.rand(3, 12, 10)
    assert torch.equal(prepared.finish(x).pixels, x)
    colour = prepare("colorize", picture())
    assert torch.allclose(colour.problem.y[0], picture().pixels.mean(0))


def test_fading_is_found_where_each_channel_ends() -> None:
    """Of a picture with something black and something white in each channel; a few stray pixels count for nothing."""
    ramp = torch.linspace(-1, 1, 128).repeat(96, 1)
    clean = torch.stack((ramp, ramp.flip(1), 0.5 * ramp))  # the last is not a full one, and is stretched as well
    gains, offsets = (0.5, 0.4, 0.3), (0.2, 0.3, -0.1)
    faded = torch.tensor(gains)[:, None, None] * clean + torch.tensor(offsets)[:, None, None]
    faded[:, 20, 30], faded[:, 30, 10] = 1.0, -1.0
    found = estimate_fading(Picture(faded))
    assert found.gains == pytest.approx((0.5, 0.4, 0.15), abs=0.02)
    assert found.offsets == pytest.approx(offsets, abs=0.01)
    prepared = prepare("fade", Picture(faded))
    assert prepared.notes == (found.told(),)
    again = (prepared.problem.y + torch.tensor(found.offsets)[:, None, None] - faded).abs().max()
    assert float(again) < 1e-6
    assert found.told() == "contrast left: 49 %, 39 %, 15 % (red, green, blue)"


def test_a_picture_of_full_contrast_is_not_faded_and_a_flat_one_cannot_be_mended() -> None:
    full = torch.linspace(-1, 1, 256).repeat(3, 16, 1)
    assert min(estimate_fading(Picture(full)).gains) > 0.97
    with pytest.raises(InvalidArgument, match="channel of one level"):
        prepare("fade", Picture(torch.zeros(3, 16, 16)))
    with pytest.raises(InvalidArgument, match="fade"):
        simulate("fade", picture())
    for share in (-0.1, 0.99, math.nan):
        with pytest.raises(InvalidArgument, match="fade"):
            Fading.by(share)


def test_a_grey_picture_fades_too() -> None:
    grey = simulate("fade", Picture(torch.linspace(-1, 1, 4096).view(1, 64, 64)), Settings(fading=Fading.by(0.4)))
    assert (float(grey.pixels.min()), float(grey.pixels.max())) == pytest.approx((-0.2, 1.0))
    prepared = prepare("fade", grey)
    assert prepared.finish(prepared.problem.operator.pinv(prepared.problem.y[None])[0]).pixels.shape == (1, 64, 64)


def test_a_jpeg_file_states_its_own_compression(tmp_path: Path) -> None:
    pixels = (smooth().pixels.permute(1, 2, 0).numpy() * 127.5 + 127.5).round().astype(np.uint8)
    for quality, subsampling in ((35, "4:2:0"), (80, "4:2:2"), (90, "4:4:4")):
        Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
        compression = read_compression(tmp_path / "a.jpg")
        file = read_picture(tmp_path / "a.jpg")
        prepared = prepare("jpeg", file, Settings(compression=compression))
        reference = JPEG((3, 48, 48), quality, subsampling)  # type: ignore[arg-type]
        assert torch.equal(prepared.problem.operator(file.pixels[None]), reference(file.pixels[None]))
        assert prepared.problem.noise == 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_compression(tmp_path / "a.png") is None
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.jpg", quality=50)
    stated = read_compression(tmp_path / "grey.jpg")
    assert stated is not None
    assert (len(stated.tables), stated.subsampling) == (1, "4:4:4")
    assert prepare("jpeg", read_picture(tmp_path / "grey.jpg"), Settings(compression=stated)).problem.y.shape[0] == 3


def test_a_jpeg_that_is_turned_or_otherwise_sampled_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 8)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(InvalidFile, match="turned by its EXIF orientation"):
        read_compression(tmp_path / "a.jpg")
    Image.new("CMYK", (16, 8)).save(tmp_path / "b.jpg")
    with pytest.raises(InvalidFile, match="mode CMYK"):
        read_compression(tmp_path / "b.jpg")
    with pytest.raises(InvalidFile, match="no such file"):
        read_compression(tmp_path / "c.jpg")


def test_levels_and_exposure() -> None:
    few = prepare("dequantize", picture(), Settings(bits=2)).problem
    bright = prepare("hdr", picture(), Settings(gain=3)).problem
    x = 2 * torch.rand(1, 3, 12, 10) - 1
    assert torch.equal(few.operator(x), Quantise((3, 12, 10), 2)(x))
    assert torch.equal(bright.operator(x), HDR((3, 12, 10), 3)(x))
    assert few.noise == 0
    assert bright.noise == pytest.approx(FLOOR)


def test_noise_is_twice_what_the_user_says_and_never_below_the_rounding() -> None:
    assert prepare("denoise", picture(), Settings(noise=0.1)).problem.noise == pytest.approx(0.2)
    assert prepare("denoise", picture(), Settings(noise=0)).problem.noise == pytest.approx(FLOOR)
    assert prepare("denoise", picture(bits=16)).problem.noise == pytest.approx(2 / 65535 / math.sqrt(12))
    assert prepare("denoise", picture(bits=32)).problem.noise == 0


def test_grey_comes_back_grey_and_its_noise_is_counted_once_for_three_channels() -> None:
    grey = picture(channels=1)
    prepared = prepare("denoise", grey, Settings(noise=0.1))
    assert prepared.problem.y.shape == (3, 12, 10)
    # What the likelihood says of the grey axis: |sqrt(3) (y - x)|^2 / noise^2 = |y - x|^2 / 0.2^2.
    assert prepared.problem.noise == pytest.approx(0.2 * math.sqrt(3))
    x = torch.stack([torch.full((12, 10), v) for v in (0.0, 0.3, 0.6)])
    assert torch.allclose(prepared.finish(x).pixels, torch.full((1, 12, 10), 0.3))
    same = Picture(grey.pixels.repeat(3, 1, 1))  # a grey picture saved in colour
    assert prepare("denoise", same, Settings(noise=0.1)).problem.noise == pytest.approx(0.2 * math.sqrt(3))


def test_alpha_grows_with_the_picture_and_icc_stays() -> None:
    icc = bytes(16) + b"RGB " + bytes(108)
    alpha = torch.zeros(1, 12, 10)
    alpha[:, 6:] = 1
    prepared = prepare("sr", picture(alpha=alpha, icc=icc, bits=16), Settings(factor=2))
    restored = prepared.finish(torch.full((3, 24, 20), 5.0))
    assert restored.bits == 16
    assert restored.icc == icc
    assert float(restored.pixels.max()) == 1
    assert restored.alpha is not None
    assert restored.alpha.shape == (1, 24, 20)
    assert restored.alpha[0, :8].max() < 0.1
    assert restored.alpha[0, 16:].min() > 0.9


@pytest.mark.parametrize(
    ("task", "settings", "name"),
    [
        ("unblur", Settings(), "task"),
        ("sr", Settings(factor=0), "factor"),
        ("sr", Settings(factor=1), "factor"),
        ("sr", Settings(factor=1000), "factor"),
        ("sr", Settings(boundary="mirror"), "boundary"),  # type: ignore[arg-type]
        ("inpaint", Settings(), "mask"),
        ("inpaint", Settings(mask=box_mask((12, 11), 3)), "mask"),
        ("inpaint", Settings(mask=torch.ones(1, 12, 10, dtype=torch.bool)), "mask"),
        ("deblur", Settings(), "kernel"),
        ("deblur", Settings(kernel=torch.ones(3, 11) / 33), "kernel"),
        ("jpeg", Settings(), "quality"),
        ("jpeg", Settings(quality=0), "quality"),
        ("dequantize", Settings(), "bits"),
        ("dequantize", Settings(bits=9), "bits"),
        ("hdr", Settings(gain=1.0), "gain"),
        ("denoise", Settings(noise=-0.1), "noise"),
        ("denoise", Settings(noise=25), "noise"),
        ("denoise", Settings(noise=math.nan), "noise"),
        ("denoise", Settings(noise=math.inf), "noise"),
        ("denoise", Settings(noise="much"), "noise"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_are_named(task: str, settings: Settings, name: str) -> None:
    for function in (prepare, simulate):
        with pytest.raises(InvalidArgument) as caught:
            function(task, picture(), settings)
        assert caught.value.name == name


def test_a_result_too_large_is_refused_before_any_work() -> None:
    with pytest.raises(InvalidArgument, match="factor: expected a result of at most 178 megapixels"):
        prepare("sr", Picture(torch.zeros(1, 1, 1).expand(1, 600, 600)), Settings(factor=32))


# --- simulation -------------------------------------------------------------------------------------------------------


def test_what_is_simulated_is_what_is_restored() -> None:
    """Away from the border, ``y`` of the problem is the operator of the clean picture for every task."""
    clean = smooth()
    for task, settings in (
        ("sr", Settings(factor=4)),
        ("inpaint", Settings(mask=random_mask((48, 48), 0.5))),
        ("deblur", Settings(kernel=gaussian_kernel(1.0))),
        ("denoise", Settings()),
        ("colorize", Settings()),
        ("jpeg", Settings(quality=30)),
        ("dequantize", Settings(bits=3)),
        ("hdr", Settings(gain=3.0)),
        ("fade", Settings(fading=Fading((0.5, 0.4, 0.3), (0.2, 0.3, 0.1)))),
    ):
        degraded = simulate(task, clean, settings)
        prepared = prepare(task, degraded, settings)
        canvas = torch.zeros((1, *prepared.problem.operator.in_shape))
        positions = torch.arange(canvas.numel(), dtype=torch.float64).view(canvas.shape)
        canvas.view(-1)[prepared.problem.operator.visible(positions).flatten().long()] = clean.pixels.flatten()
        expected = prepared.problem.operator(canvas)[0]
        border = 5 if task in ("sr", "deblur") else 0
        inside = (slice(None), slice(border, expected.shape[1] - border), slice(border, expected.shape[2] - border))
        assert torch.allclose(prepared.problem.y[inside], expected[inside], atol=1e-5), task


def test_beyond_the_border_is_the_mirror() -> None:
    flat = Picture(torch.full((3, 12, 10), 0.25))
    for task, settings in (("sr", Settings(factor=5)), ("deblur", Settings(kernel=gaussian_kernel(1.0)))):
        y = simulate(task, flat, settings).pixels
        assert torch.allclose(y, torch.full_like(y, 0.25), atol=1e-5)
    assert simulate("sr", flat, Settings(factor=5)).pixels.shape == (3, 3, 2)


def test_simulated_noise_has_the_level_asked_for_and_its_seed() -> None:
    flat = Picture(torch.zeros(3, 48, 48))
    noisy = simulate("denoise", flat, Settings(noise=0.1), seed=3).pixels
    assert float(noisy.std()) == pytest.approx(0.2, rel=0.05)
    assert torch.equal(noisy, simulate("denoise", flat, Settings(noise=0.1), seed=3).pixels)
    assert not torch.equal(noisy, simulate("denoise", flat, Settings(noise=0.1), seed=4).pixels)
    mask = box_mask((48, 48), 10)
    assert (simulate("inpaint", flat, Settings(noise=0.1, mask=mask)).pixels * mask == 0).all()


def test_simulation_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InvalidArgument, match="in colour"):
        simulate("colorize", picture(channels=1))
    with pytest.raises(InvalidArgument, match="noise"):
        simulate("denoise", picture(), Settings(noise="auto"))
    with pytest.raises(InvalidArgument, match="factor: expected at most the picture's shorter side, 10"):
        simulate("sr", picture(), Settings(factor=11))


# --- masks and kernels ------------------------------------------------------------------------------------------------


def test_masks() -> None:
    mask = random_mask((100, 100), 0.7, seed=1)
    assert 0.68 < float(mask.float().mean()) < 0.72
    assert torch.equal(mask, random_mask((100, 100), 0.7, seed=1))
    assert box_mask((5, 8), 3)[0].nonzero().tolist() == [[r, c] for r in (1, 2, 3) for c in (2, 3, 4)]
    for share in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(InvalidArgument, match="missing"):
            random_mask((10, 10), share)
    for side in (0, 6, -3):
        with pytest.raises(InvalidArgument, match="box"):
            box_mask((5, 8), side)
    with pytest.raises(InvalidArgument, match="box"):
        box_mask((5, 5), 5)


def test_kernels(tmp_path: Path) -> None:
    assert torch.equal(parse_kernel("gaussian:1.5"), gaussian_kernel(1.5))
    assert torch.allclose(parse_kernel("uniform:3"), torch.full((3, 3), 1 / 9).double())
    motion = parse_kernel("motion:5")
    assert motion.shape == (1, 5)
    assert float(motion.sum()) == pytest.approx(1)
    assert parse_kernel("motion:5:90").shape == (5, 1)
    weights = np.array([[0, 51], [102, 102]], dtype=np.uint8)
    Image.fromarray(weights).save(tmp_path / "k.png")
    assert torch.allclose(parse_kernel(str(tmp_path / "k.png")), torch.tensor([[0, 0.2], [0.4, 0.4]]).double())


@pytest.mark.parametrize(
    "text",
    ["gaussian:0", "gaussian:-1", "gaussian:nan", "gaussian:inf", "gaussian:x", "gaussian:", "gaussian", "uniform:2.5",
     "uniform:0", "uniform:1e9", "motion:0.2", "motion:5:inf", "motion:5:1:2"],
)  # fmt: skip
def test_bad_kernels(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_kernel(text)
    assert caught.value.name == "kernel"


def test_bad_kernel_files(tmp_path: Path) -> None:
    (tmp_path / "k.png").write_bytes(b"")
    for name in ("k.png", "none.png"):
        with pytest.raises(InvalidFile, match=name):
            parse_kernel(str(tmp_path / name))
    Image.new("L", (3, 3), 0).save(tmp_path / "black.png")
    with pytest.raises(InvalidFile, match=r"black\.png.*positive, finite sum"):
        parse_kernel(str(tmp_path / "black.png"))


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_noise_is_estimated(sigma: float) -> None:
    noisy = simulate("denoise", smooth(), Settings(noise=sigma))
    assert estimate_noise(noisy) == pytest.approx(sigma, rel=0.1)
    assert prepare("denoise", noisy, Settings(noise="auto")).problem.noise == pytest.approx(2 * sigma, rel=0.1)


def test_noise_is_estimated_on_known_pixels_only() -> None:
    mask = box_mask((48, 48), 20)
    noisy = simulate("inpaint", smooth(), Settings(noise=0.05, mask=mask))
    assert estimate_noise(noisy, mask) == pytest.approx(0.05, rel=0.15)
    with pytest.raises(InvalidArgument, match="too few known pixels"):
        estimate_noise(noisy, random_mask((48, 48), 0.8))


def test_noise_of_flat_and_tiny_pictures_is_the_rounding() -> None:
    for size in (1, 3, 16):
        flat = Picture(torch.zeros(3, size, size))
        assert noise_level(flat, "auto") == ROUNDING[8]
