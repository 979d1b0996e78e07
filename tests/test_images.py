"""Reading and writing pictures: values, what surrounds them, and every way a file can be wrong."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.images import Picture, check_output, deep, losses, read_mask, read_picture, write_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
LOSSLESS = (".png", ".webp", ".tif", ".bmp")


def noise(*shape: int, levels: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, levels, shape, dtype=np.uint8 if levels == 256 else np.uint16)


def levels(picture: Picture, white: int = 255) -> np.ndarray:
    return np.rint((picture.pixels.numpy() + 1) / 2 * white).astype(int).transpose(1, 2, 0).squeeze()


# --- what comes in comes out ------------------------------------------------------------------------------------------


def test_black_is_minus_one_and_white_is_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").pixels.tolist() == [[[-1.0, 1.0]]]


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
def test_8_bit_values_survive(tmp_path: Path, suffix: str, channels: int) -> None:
    array = noise(13, 17, channels).squeeze()
    Image.fromarray(array).save(tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png")
    assert picture.pixels.shape == (channels, 13, 17)
    assert picture.bits == 8
    assert picture.notes == ()
    again = read_picture(write_picture(picture, tmp_path / f"out{suffix}"))
    expected = array if suffix != ".webp" or channels == 3 else np.repeat(array[..., None], 3, axis=2)
    assert np.array_equal(levels(again), expected)


def test_jpeg_is_close(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "in.png")
    again = read_picture(write_picture(read_picture(tmp_path / "in.png"), tmp_path / "out.jpg"))
    assert np.abs(levels(again) - ramp).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_values_survive(tmp_path: Path, suffix: str, channels: int) -> None:
    array = noise(9, 11, channels, levels=65536)
    (tmp_path / "in.png").write_bytes(imagecodecs.png_encode(array.squeeze()))
    picture = read_picture(tmp_path / "in.png")
    assert picture.bits == 16
    assert picture.grey == (channels < 3)
    assert (picture.alpha is None) == (channels in (1, 3))
    again = read_picture(write_picture(picture, tmp_path / f"out{suffix}"))
    colours = channels - 1 if channels in (2, 4) else channels
    assert again.bits == 16
    assert np.array_equal(levels(again, 65535), array[..., :colours].squeeze())
    if again.alpha is not None:
        assert np.array_equal(np.rint(again.alpha[0].numpy() * 65535), array[..., -1])


def test_16_bit_to_a_format_of_8(tmp_path: Path) -> None:
    picture = Picture(torch.tensor([[[-1.0, 0.5, 1.0]]]), bits=16)
    assert losses(picture, tmp_path / "a.bmp") == (f"{tmp_path / 'a.bmp'}: 16 bits a channel are written as 8",)
    again = read_picture(write_picture(picture, tmp_path / "a.bmp"))
    assert again.bits == 8
    assert levels(again).tolist() == [0, 191, 255]


def test_float_tiff_survives_beyond_white(tmp_path: Path) -> None:
    values = np.array([[[-0.2, 0.5, 1.3], [0.0, 1.0, 0.25]]], dtype=np.float32)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb")
    picture = read_picture(tmp_path / "in.tif")
    assert picture.bits == 32
    assert torch.allclose(picture.pixels.permute(1, 2, 0), torch.from_numpy(values) * 2 - 1)
    write_picture(picture, tmp_path / "out.tif")
    assert np.allclose(tifffile.imread(tmp_path / "out.tif"), values, atol=1e-6)


def test_planar_and_inverted_tiffs(tmp_path: Path) -> None:
    array = noise(3, 8, 9, levels=65536)
    tifffile.imwrite(tmp_path / "planar.tif", array, photometric="rgb", planarconfig="separate")
    assert np.array_equal(levels(read_picture(tmp_path / "planar.tif"), 65535), array.transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "white.tif", array[0], photometric="miniswhite")
    assert np.array_equal(levels(read_picture(tmp_path / "white.tif"), 65535), 65535 - array[0].astype(int))


def test_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    array = np.array([[[1000, 2000, 30000, 32768], [0, 0, 0, 0]]], dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["assocalpha"])
    picture = read_picture(tmp_path / "a.tif")
    assert levels(picture, 65535).tolist() == [[2000, 4000, 59999], [0, 0, 0]]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_kept_apart_and_written_back(tmp_path: Path, suffix: str, channels: int) -> None:
    array = noise(7, 5, channels)
    array[0, 0, -1] = 0  # colours below full transparency count as well
    Image.fromarray(array).save(tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png")
    assert picture.pixels.shape[0] == channels - 1
    assert picture.alpha is not None
    again = read_picture(write_picture(picture, tmp_path / f"out{suffix}"))
    assert again.alpha is not None
    assert np.array_equal(np.rint(again.alpha[0].numpy() * 255), array[..., -1])
    if suffix != ".webp" or channels == 4:
        assert np.array_equal(levels(again), array[..., :-1].squeeze())


def test_alpha_is_dropped_with_a_remark_where_there_is_none(tmp_path: Path) -> None:
    picture = Picture(torch.zeros(3, 4, 4), alpha=torch.ones(1, 4, 4))
    assert "no transparency" in losses(picture, tmp_path / "a.jpg")[0]
    assert read_picture(write_picture(picture, tmp_path / "a.jpg")).alpha is None


def test_palette_becomes_colour_with_its_transparency(tmp_path: Path) -> None:
    image = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 1]))
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    image.save(tmp_path / "opaque.png")
    picture = read_picture(tmp_path / "opaque.png")
    assert levels(picture).tolist() == [[[255, 0, 0], [0, 255, 0]], [[10, 20, 30], [0, 255, 0]]]
    image.save(tmp_path / "clear.png", transparency=1)
    picture = read_picture(tmp_path / "clear.png")
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [[1, 0], [1, 0]]


def test_one_bit_is_grey(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert levels(read_picture(tmp_path / "a.png")).tolist() == [255, 0]


def test_cmyk_is_converted_with_a_note(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    picture = read_picture(tmp_path / "a.jpg")
    assert "converted to sRGB" in picture.notes[0]
    assert np.abs(levels(picture)[0, 0] - [0, 255, 255]).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    array = noise(4, 6, 3)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(levels(read_picture(tmp_path / "a.png")), expected)
    assert np.array_equal(deep.upright(array, orientation), expected)
    tifffile.imwrite(
        tmp_path / "a.tif", array.astype(np.uint16) * 257, photometric="rgb", extratags=[(274, "H", 1, orientation)]
    )
    picture = read_picture(tmp_path / "a.tif")
    assert picture.bits == 16
    assert np.array_equal(levels(picture), expected)
    again = read_picture(write_picture(picture, tmp_path / "again.tif"))  # not turned a second time
    assert np.array_equal(levels(again), expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_profile_bytes_are_kept(tmp_path: Path, suffix: str, bits: int) -> None:
    picture = Picture(torch.zeros(3, 8, 8), icc=SRGB, bits=bits)
    again = read_picture(write_picture(picture, tmp_path / f"a{suffix}"))
    assert again.icc == SRGB
    assert losses(again, tmp_path / "b.bmp") != ()


def test_profile_of_another_kind_of_picture_is_not_written(tmp_path: Path) -> None:
    path = write_picture(Picture(torch.zeros(3, 4, 4), icc=GREY_PROFILE), tmp_path / "a.png")
    assert read_picture(path).icc is None
    path = write_picture(Picture(torch.zeros(1, 4, 4), icc=GREY_PROFILE), tmp_path / "b.png")
    assert read_picture(path).icc == GREY_PROFILE


def test_first_frame_with_a_note(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    picture = read_picture(tmp_path / "a.webp")
    assert "2 frames" in picture.notes[0]
    assert levels(picture)[0, 0].tolist() == [255, 0, 0]


def test_the_previews_of_a_phone_are_not_frames(tmp_path: Path) -> None:
    photo, preview = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "red")
    photo.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.notes == ()
    assert (picture.height, picture.width) == (16, 16)


def test_values_outside_are_clipped(tmp_path: Path) -> None:
    path = write_picture(Picture(torch.tensor([[[-3.0, 3.0]]])), tmp_path / "a.png")
    assert levels(read_picture(path)).tolist() == [0, 255]


# --- files that cannot be read ----------------------------------------------------------------------------------------


def test_missing_folder_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture, but some words about one")
    for name, problem in (
        ("none.png", "no such file"),
        ("", "is a folder"),
        ("empty.png", "0 bytes"),
        ("text.png", "not a picture"),
    ):
        with pytest.raises(InvalidFile, match=problem) as caught:
            read_picture(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_file_cut_short(tmp_path: Path, suffix: str, bits: int) -> None:
    whole = write_picture(Picture(torch.rand(3, 40, 40) * 2 - 1, bits=bits), tmp_path / f"a{suffix}").read_bytes()
    for share in (0.1, 0.5, 0.8):
        (tmp_path / f"b{suffix}").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InvalidFile, match="b" + suffix):
            read_picture(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path, suffix: str, bits: int) -> None:
    whole = write_picture(Picture(torch.rand(3, 24, 24) * 2 - 1, bits=bits), tmp_path / f"a{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(15):
        broken = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 400), 4):
            broken[place] ^= int(rng.integers(1, 256))
        (tmp_path / f"b{suffix}").write_bytes(broken)
        with suppress(InvalidFile):
            assert torch.isfinite(read_picture(tmp_path / f"b{suffix}").pixels).all()


def test_decompression_bomb(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for depth in (8, 16):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, depth, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(data)
        with pytest.raises(InvalidFile, match="too large"):
            read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("value", "problem"), [(np.nan, "1 of its values"), (np.inf, "1 of its values"), (255.0, "0.*to 255; expected 0")]
)
def test_float_tiff_that_makes_no_sense(tmp_path: Path, value: float, problem: str) -> None:
    for shape, photometric in (((4, 4), "minisblack"), ((4, 4, 3), "rgb")):
        values = np.zeros(shape, dtype=np.float32)
        values.flat[5] = value
        tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric)
        with pytest.raises(InvalidFile, match=rf"a\.tif.*{problem}"):
            read_picture(tmp_path / "a.tif")


def test_32_bit_integers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), dtype=np.uint32), photometric="minisblack")
    with pytest.raises(InvalidFile, match="expected 8 or 16 bits"):
        read_picture(tmp_path / "a.tif")


def test_without_the_libraries_16_bits_are_refused_not_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".png", ".tif"):
        write_picture(Picture(torch.zeros(3, 4, 4), bits=16), tmp_path / f"a{suffix}")
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    for suffix in (".png", ".tif"):
        with pytest.raises(InvalidFile, match=r"kintsugi-diffusion\[images\]"):
            read_picture(tmp_path / f"a{suffix}")
        with pytest.raises(InvalidFile, match=r"kintsugi-diffusion\[images\]"):
            check_output(tmp_path / f"b{suffix}", bits=16)


# --- files that cannot be written -------------------------------------------------------------------------------------


def test_outputs_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, problem in (
        (tmp_path / "a.gif", "ends in one of"),
        (tmp_path / "a", "ends in one of"),
        (tmp_path / "none" / "a.png", "folder that exists"),
    ):
        with pytest.raises(InvalidArgument, match=problem):
            check_output(path)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(InvalidArgument, match="not a folder"):
        check_output(tmp_path / "b.png")
    with pytest.raises(InvalidArgument, match="WEBP does not"):
        check_output(tmp_path / "a.webp", size=(10, 20000))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InvalidArgument, match="can be written to"):
        check_output(tmp_path / "a.png")
    monkeypatch.undo()
    assert check_output(tmp_path / "A.PNG", size=(10, 20000)) == tmp_path / "A.PNG"


@pytest.mark.parametrize("bits", [8, 16])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    path = write_picture(Picture(torch.zeros(1, 4, 4)), tmp_path / "a.png")
    before = path.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    monkeypatch.setattr(imagecodecs, "png_encode", fail)
    with pytest.raises(OSError, match="No space"):
        write_picture(Picture(torch.ones(1, 4, 4), bits=bits), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_are_checked() -> None:
    for pixels in (torch.zeros(2, 4, 4), torch.zeros(4, 4), torch.zeros(1, 0, 4), torch.zeros(1, 4, 4).double()):
        with pytest.raises(InvalidArgument, match="pixels"):
            Picture(pixels)
    with pytest.raises(InvalidArgument, match="NaN"):
        Picture(torch.full((1, 2, 2), torch.nan))
    with pytest.raises(InvalidArgument, match="alpha"):
        Picture(torch.zeros(1, 4, 4), alpha=torch.zeros(1, 4, 5))


# --- masks ------------------------------------------------------------------------------------------------------------


def test_mask_is_true_where_it_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", (1, 4)).tolist() == [[[False, False, True, True]]]
    with pytest.raises(InvalidArgument, match=r"mask: .*4 x 2, got .*m.png of 4 x 1"):
        read_mask(tmp_path / "m.png", (2, 4))


@pytest.mark.parametrize(("level", "word"), [(0, "black"), (255, "white")])
def test_mask_of_one_colour(tmp_path: Path, level: int, word: str) -> None:
    Image.new("L", (4, 4), level).save(tmp_path / "m.png")
    with pytest.raises(InvalidArgument, match=f"all {word}"):
        read_mask(tmp_path / "m.png")
