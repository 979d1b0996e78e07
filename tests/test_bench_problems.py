"""Problems and pictures of a benchmark as the papers' code has them, against literal loops over samples."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.operators import check_adjoint, check_pinv, dense_matrix

bench = pytest.importorskip("kintsugi.bench")
from kintsugi.bench.pictures import Pictures, shortened  # noqa: E402
from kintsugi.bench.problems import ProblemSpec  # noqa: E402

SHAPE = (1, 12, 12)


def spec(**entries: Any) -> Any:
    return ProblemSpec.model_validate({"name": "p", **entries})


def dense(**entries: Any) -> torch.Tensor:
    return dense_matrix(spec(**entries).make(SHAPE, "one"))


def cut(line: np.ndarray, least: float = 3e-2) -> torch.Tensor:
    """Along both axes, singular values of one axis below ``least`` set to zero."""
    u, s, vt = np.linalg.svd(line)
    s[s < least] = 0
    kept = torch.from_numpy((u[:, : len(s)] * s) @ vt[: len(s)])
    return torch.kron(kept, kept)


def test_bicubic_with_mirrored_borders() -> None:
    line = np.zeros((3, 12))
    for i in range(3):
        total = 0.0
        for j in range(4 * i - 6, 4 * i + 10):
            d = abs((j + 0.5) - (4 * i + 2)) / 4  # from the centre of the block of four
            value = 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0
            at = -j - 1 if j < 0 else 23 - j if j >= 12 else j
            line[i, at] += value
            total += value
        line[i] /= total
    torch.testing.assert_close(dense(operator="bicubic", factor=4, boundary="reflect"), cut(line))


def test_a_gaussian_with_nothing_beyond_the_border() -> None:
    weights = [math.exp(-0.5 * (t / 1.5) ** 2) for t in range(-4, 5)]
    line = np.zeros((12, 12))
    for i in range(12):
        for t in range(-4, 5):
            if 0 <= i + t < 12:
                line[i, i + t] = weights[t + 4] / sum(weights)
    expected = cut(line)
    found = dense(operator="gaussian", sigma=1.5, taps=9, boundary="zero")
    torch.testing.assert_close(found, expected)
    assert int(torch.linalg.matrix_rank(found, rtol=1e-6)) < 144  # something was cut
    torch.testing.assert_close(
        dense(operator="gaussian", sigma=1.5, taps=9, boundary="zero", cutoff=0.2), cut(line, 0.2)
    )
    operator = spec(operator="gaussian", sigma=1.5, taps=9, boundary="zero").make((3, 12, 10), "one")
    check_adjoint(operator)
    check_pinv(operator)


def test_weights_along_an_axis() -> None:
    line = np.zeros((12, 12))
    for i in range(12):
        for t, w in zip((-2, -1, 0, 1), (0.1, 0.2, 0.3, 0.2), strict=True):
            if 0 <= i + t < 12:
                line[i, i + t] += w
    torch.testing.assert_close(
        dense(operator="separable", weights=[0.1, 0.2, 0.3, 0.2], first=-2, boundary="zero"), cut(line)
    )
    middle = dense(operator="separable", weights=[0.2, 0.5, 0.3], boundary="zero")
    torch.testing.assert_close(middle, dense(operator="separable", weights=[0.2, 0.5, 0.3], first=-1, boundary="zero"))


def test_masks() -> None:
    def missing(**entries: Any) -> np.ndarray:
        weights: Any = spec(**entries).make((3, 8, 10), "one").weights  # type: ignore[attr-defined]
        assert torch.equal(weights[0], weights[2])
        return weights[0].numpy() == 0

    right = np.zeros((8, 10), dtype=bool)
    right[:, 5:] = True
    assert np.array_equal(missing(operator="half"), right)
    assert np.array_equal(missing(operator="half", side="left"), ~right)
    top = np.zeros((8, 10), dtype=bool)
    top[:4] = True
    assert np.array_equal(missing(operator="half", side="top"), top)
    assert np.array_equal(missing(operator="half", side="bottom"), ~top)
    places = set()
    for image in map(str, range(60)):
        weights: Any = spec(operator="box", size=3, place="random", margin=1).make((3, 8, 10), image).weights  # type: ignore[attr-defined]
        rows, columns = np.nonzero(weights[0].numpy() == 0)
        assert (len(rows), np.ptp(rows), np.ptp(columns)) == (9, 2, 2)
        places.add((int(rows.min()), int(columns.min())))
    assert {top for top, _ in places} == {1, 2, 3, 4}
    assert {left for _, left in places} == {1, 2, 3, 4, 5, 6}
    with pytest.raises(InvalidArgument, match="size: expected a box that fits"):
        spec(operator="box", size=7, place="random", margin=1).make((3, 8, 10), "one")


def test_masks_from_files(tmp_path: Path) -> None:
    masks = (np.random.default_rng(0).random((4, 8, 10)) < 0.3).astype(np.uint8)
    np.savez(tmp_path / "m.npz", some=masks)
    Image.fromarray(255 * masks[1]).save(tmp_path / "m.png")

    def weights(shape: tuple[int, int, int] = (3, 8, 10), image: str = "one", **entries: Any) -> np.ndarray:
        operator: Any = spec(operator="mask", **entries).make(shape, image)
        return operator.weights[1].numpy()

    file = str(tmp_path / "m.npz")
    assert np.array_equal(weights(file=file, key="some", index=1), 1 - masks[1])
    assert np.array_equal(weights(file=str(tmp_path / "m.png")), 1 - masks[1])
    seen = {weights(file=file, key="some", image=str(i)).tobytes() for i in range(40)}
    assert seen == {(1.0 - m).tobytes() for m in masks}  # each picture has one of them
    # Packed bits, as Palette's file has them.
    big = (np.random.default_rng(1).random((2, 256, 256)) < 0.2).astype(np.uint8)
    np.savez(tmp_path / "packed.npz", **{"10-20% freeform": np.packbits(big)})
    found = weights((3, 256, 256), file=str(tmp_path / "packed.npz"), key="10-20% freeform", index=1)
    assert np.array_equal(found, 1 - big[1])
    for entries, error, said in (
        ({"file": file, "key": "other"}, InvalidArgument, "key: expected one of some"),
        ({"file": file, "key": "some", "index": 4}, InvalidArgument, "index: expected a number below 4"),
        ({"file": str(tmp_path / "none.npz"), "key": "some"}, InvalidFile, "none.npz: not a readable"),
        ({"file": str(tmp_path / "packed.npz"), "key": "10-20% freeform"}, InvalidArgument, "masks of the pictures"),
    ):
        with pytest.raises(error, match=said):
            weights(**entries)


def test_nonlinear_problems() -> None:
    x = torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8)
    assert torch.equal(spec(operator="hdr").simulate(x, "one").y[0], (2 * x).clamp(-1, 1))
    levels = ((x + 1) / 2 * 3).round() / 3 * 2 - 1
    torch.testing.assert_close(spec(operator="quantise").simulate(x, "one").y[0], levels)
    y = spec(operator="phase", oversample=1.5).simulate(x, "one").y[0].double()
    padded = np.zeros((3, 12, 12))
    padded[:, 2:10, 2:10] = x  # in the middle, as the papers' code pads; its modulus is the same
    expected = np.abs(np.fft.fft2(padded, norm="ortho"))
    torch.testing.assert_close(y / 1.5, torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            {"operator": "motion", "boundary": "zero"},
            "boundary 'zero': expected with bicubic, gaussian",
        ),
        ({"operator": "separable", "boundary": "zero"}, "weights: expected for separable"),
        ({"operator": "random", "weights": [1.0]}, "weights: expected for separable"),
        ({"operator": "separable", "weights": [1.0]}, "expected 'zero' or 'reflect' for separable"),
        ({"operator": "mask"}, "file: expected for mask"),
        ({"operator": "random", "cutoff": 0.1}, "cutoff: expected none for random"),
    ],
)
def test_mistakes_in_a_problem(entries: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**entries)


def test_ids_and_suites_are_what_they_were() -> None:
    """What runs made before these fields hold: a field that was added changes neither rows nor suites without it."""
    old = {
        "name": "old",
        "images": {"scale": 0.5, "crop": 96},
        "problems": [{"name": "box", "operator": "box", "noise": 0.05}, {"name": "sr", "operator": "bicubic"}],
        "samplers": ["ddnm", {"name": "cpigdm", "settings": {"w": 12.0}, "steps": [3], "limit": 2}],
        "steps": [5],
        "metrics": ["psnr"],
    }
    suite = bench.Suite.model_validate(old)
    ids = ["25e05cdc954a97cb", "5fdad48747e0d6b7", "176aa243b0e6c1b0", "3e2d274f0423c3fb"]
    assert [row.id for row in bench.rows(suite, {"a": "0"})] == ids
    stated = json.dumps(suite.model_dump(mode="json"), sort_keys=True)
    assert hashlib.sha256(stated.encode()).hexdigest()[:16] == "47a4f55e5c83a5f9"
    with_more = spec(operator="box", place="random")
    assert with_more.model_dump().keys() - spec(operator="box").model_dump().keys() == {"place"}
    assert ProblemSpec.model_validate(with_more.model_dump(mode="json")) == with_more


# --- pictures ---------------------------------------------------------------------------------------------------------


def images(folder: Path, **entries: Any) -> Any:
    return bench.suite.Images.model_validate({"folder": str(folder), **entries})


def test_pictures_that_are_named_in_that_order(tmp_path: Path) -> None:
    for name in "abc":
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "list.txt").write_text("n01/c.JPEG 7\n\na.png\n")
    assert list(Pictures(images(tmp_path, names=tmp_path / "list.txt")).digests) == ["c", "a"]
    assert list(Pictures(images(tmp_path, names=tmp_path / "list.txt", limit=1)).digests) == ["c"]
    (tmp_path / "list.txt").write_text("c\nd\ne\n")
    with pytest.raises(InvalidFile, match="2 of its 3 pictures are not in the folder, d first"):
        Pictures(images(tmp_path, names=tmp_path / "list.txt"))
    with pytest.raises(InvalidFile, match="not a readable list"):
        Pictures(images(tmp_path, names=tmp_path / "none.txt"))


def test_squares_of_a_size_as_adm_and_torchvision_make_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    # Twice the size or more: halves by the mean of four pixels; then bicubic.
    across = np.floor(pixels.reshape(40, 36, 2, 3).mean(2) + 0.5)  # Pillow rounds after each axis
    half = np.floor(across.reshape(20, 2, 36, 3).mean(1) + 0.5)
    adm = shortened(image, 16, "adm")
    assert adm.size == (29, 16)
    expected = np.asarray(Image.fromarray(half.astype(np.uint8)).resize((29, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(np.asarray(adm), expected)
    x = Pictures(images(tmp_path, size=16)).load("a")
    assert x.shape == (3, 16, 16)
    assert np.array_equal(((x + 1) * 127.5).round().numpy().transpose(1, 2, 0), np.asarray(adm)[:, 6:22])
    bilinear = image.resize((29, 16), Image.Resampling.BILINEAR)
    y = Pictures(images(tmp_path, size=16, by="bilinear")).load("a")
    assert np.array_equal(((y + 1) * 127.5).round().numpy().transpose(1, 2, 0), np.asarray(bilinear)[:, 6:22])
    with pytest.raises(ValueError, match="size: expected none beside a scale or a crop"):
        images(tmp_path, size=16, crop=8)
