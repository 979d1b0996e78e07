"""Hostile pictures: reading, masks, kernels, how a JPEG was compressed, and writing again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import samples
import torch
from corrupt import any_of, png_fields, tiff_fields
from hypothesis import strategies as st
from judge import Broken, Door, judge, passes, warm

from kintsugi.images import Picture, read_compression, read_mask, read_picture, write_picture

GOODS = [*samples.good_pngs(), *samples.good_tiffs(), *samples.other_goods(), *samples.foreign()]
FILES = st.one_of(
    any_of(GOODS),
    st.sampled_from(samples.good_pngs()).flatmap(png_fields),
    st.sampled_from(samples.good_tiffs()).flatmap(tiff_fields),
    st.sampled_from(samples.bombs()),
)
# A file's name says nothing of what is in it, and may hold anything but a slash.
NAMES = st.sampled_from(
    ("a.png", "a.jpg", "-a.png", "--help", "a\nb.tif", "\x1b[31mred.png", "a" * 250 + ".png", "ä\u202e.webp",
        "\udcff.gif", "a")
)  # fmt: skip
Case = tuple[bytes, str]
CASES = st.tuples(FILES, NAMES)
GOOD: Case = (samples.good_pngs()[0], "a.png")


def put(case: Case, folder: Path) -> Path:
    path = folder / case[1]
    path.write_bytes(case[0])
    return path


def size_of(picture: Picture) -> int:
    """What a picture may take: it as floats, what the decoder and the colour management hold, and a copy."""
    return picture.height * picture.width * 32


def read(case: Case, folder: Path) -> int:
    """A picture that was read is finite and in its range, and comes back the same when it is written."""
    path = put(case, folder)
    picture = read_picture(path)
    x, limit = picture.pixels, 3.0 if picture.bits == 32 else 1.0
    if not (x.dtype == torch.float32 and x.shape[0] in (1, 3) and bool((x.abs() <= limit).all())):
        raise Broken(f"a picture of {x.dtype} {tuple(x.shape)}, or beyond its range")
    if x.numel() < 100_000:
        suffix = ".tif" if picture.bits == 32 else ".png"
        again = read_picture(write_picture(picture, folder / f"again{suffix}"))
        if again.bits != picture.bits or float((again.pixels - x).abs().max()) > 1e-6:
            raise Broken("another picture when it is written and read again")
    return size_of(picture)


def mask(case: Case, folder: Path) -> int:
    missing = read_mask(put(case, folder))
    if missing.dtype != torch.bool or missing.ndim != 3 or bool(missing.all()) or not bool(missing.any()):
        raise Broken(f"a mask of {missing.dtype} {tuple(missing.shape)}")
    return missing.numel() * 32


def compression(case: Case, folder: Path) -> None:
    found = read_compression(put(case, folder))
    if found is not None and any(len(table) != 64 or min(table) < 0 for table in found.tables):
        raise Broken("tables that are none")


def good_files() -> list[bytes]:
    return [*samples.good_pngs(), *samples.good_tiffs(), *samples.other_goods()]


def named(data: bytes) -> Case:
    return data, "a.png"


PICTURES = Door("pictures", CASES, read, GOOD, files=good_files, from_bytes=named)
GREY: Case = (samples.saved(samples.Image.fromarray(samples.pixels(9, 12)), "PNG"), "a.png")
MASKS = Door("masks", CASES, mask, GREY, files=good_files, from_bytes=named)
COMPRESSIONS = Door("jpeg headers", CASES, compression, (samples.other_goods()[0], "a.jpg"),
                    files=lambda: list(samples.other_goods()[:4]), from_bytes=named)  # fmt: skip
DOORS = (PICTURES, MASKS, COMPRESSIONS)

test_pictures = passes(PICTURES)
test_masks = passes(MASKS)
test_jpeg_headers = passes(COMPRESSIONS)


@pytest.mark.parametrize("number", range(len(samples.bombs())))
def test_bombs(number: int) -> None:
    warm(PICTURES)
    judge(PICTURES, (samples.bombs()[number], "a.png"))


@pytest.mark.parametrize("number", range(len(GOODS)))
def test_good_files_are_read_and_foreign_ones_refused(number: int) -> None:
    foreign = number >= len(GOODS) - len(samples.foreign())
    outcome = judge(PICTURES, (GOODS[number], "a.png")).outcome
    assert outcome == ("InvalidFile" if foreign else "result")


def test_the_judge_is_no_fool(tmp_path: Path) -> None:
    def act(case: str, folder: Path) -> None:
        if case == "traceback":
            raise IndexError("list index out of range")
        if case == "slow":
            while True:
                sum(range(1000))
        if case == "large":
            np.ones(60_000_000).sum()
        if case == "warns":
            import warnings

            warnings.warn("odd", stacklevel=1)

    import judge as module

    door = Door("toy", st.just(""), act, "")
    assert judge(door, "").outcome == "result"
    for case in ("traceback", "large", "warns"):
        with pytest.raises(Broken):
            judge(door, case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HANGS", 0.2)
        with pytest.raises(Broken, match="hangs"):
            judge(door, "slow")
