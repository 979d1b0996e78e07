"""Phantoms: functions of (seed, index), the same at any size, of known intensities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kintsugi.errors import InvalidArgument
from kintsugi.phantoms import _Canvas, complex_phantom, phantom, shepp_logan


@pytest.mark.parametrize("anatomy", ["head", "chest", "abdomen", "ellipses"])
@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_phantoms_are_functions_of_seed_and_index(anatomy: str, modality: str) -> None:
    options = {"modality": modality, "anatomy": anatomy}
    first = phantom(3, 5, 64, **options)  # type: ignore[arg-type]
    assert first.shape == (1, 64, 64)
    assert first.dtype == torch.float32
    assert -1 <= float(first.min()) <= float(first.max()) <= 1
    phantom(0, 0, 32)
    assert torch.equal(phantom(3, 5, 64, **options), first)  # type: ignore[arg-type]
    for other in ((3, 6), (4, 5)):
        assert float((phantom(*other, 64, **options) - first).abs().mean()) > 0.05  # type: ignore[arg-type]


def test_the_anatomy_is_the_same_at_any_size() -> None:
    """Averaged to the size of the small one, the large one is the small one up to the sampling of edges and grain."""
    for index in range(6):
        small, large = phantom(0, index, 64), phantom(0, index, 256)
        difference = F.avg_pool2d(large, 4) - small
        assert float(difference.abs().mean()) < 0.015, index
        assert float(difference.abs().mean()) < 0.1 * float((phantom(0, index + 1, 64) - small).abs().mean()), index


def test_every_kind_of_slice_is_drawn() -> None:
    """Without a choice, a phantom is the one of some anatomy, and among thirty each is there."""
    kinds = ("head", "chest", "abdomen", "ellipses")
    seen = {
        next(k for k in kinds if torch.equal(phantom(0, i, 16), phantom(0, i, 16, anatomy=k)))  # type: ignore[arg-type]
        for i in range(30)
    }
    assert seen == set(kinds)


def test_air_bone_and_their_contrast() -> None:
    """Around the body there is air; bone is the brightest of a CT head and dark in an MR one."""
    for index in range(4):
        for modality in ("ct", "mr"):
            picture = phantom(1, index, 96, modality=modality)[0]  # type: ignore[arg-type]
            corners = torch.stack([picture[:6, :6], picture[-6:, :6], picture[:6, -6:], picture[-6:, -6:]])
            assert bool((corners == -1).all())
        bright = phantom(1, index, 96, anatomy="head")[0]
        dark = phantom(1, index, 96, anatomy="head", modality="mr")[0]
        skull = bright > 0.5  # bone is 0.8 to 1 of 1, all else in a head at most 0.72 but for lesions
        assert 0.01 < float(skull.float().mean()) < 0.3
        assert float(dark[skull].median()) < -0.5


def test_a_complex_phantom_is_a_magnitude_and_a_smooth_phase() -> None:
    for index in range(4):
        z = torch.complex(*complex_phantom(0, index, 96))
        magnitude = (phantom(0, index, 96, modality="mr")[0] + 1) / 2
        torch.testing.assert_close(z.abs(), magnitude, rtol=0, atol=1e-6)
        body = magnitude > 0.1
        across, both = z[:, 1:] * z[:, :-1].conj(), body[:, 1:] & body[:, :-1]
        turn = across.angle()[both].abs()
        assert float(turn.max()) < 0.35  # radians from a pixel to the next
        assert float(turn.mean()) > 0.003
    phases = torch.stack([torch.complex(*complex_phantom(0, i, 16))[8, 8] for i in range(60)])
    direction = phases / phases.abs().clamp_min(1e-6)
    assert float(direction.mean().abs()) < 3 / math.sqrt(60)  # no phase is preferred


# The table of Toft (1996), letter by letter: intensity, half axes, centre, angle in degrees, y upwards.
TOFT = [
    (1, 0.69, 0.92, 0, 0, 0), (-0.8, 0.6624, 0.8740, 0, -0.0184, 0), (-0.2, 0.1100, 0.3100, 0.22, 0, -18),
    (-0.2, 0.1600, 0.4100, -0.22, 0, 18), (0.1, 0.2100, 0.2500, 0, 0.35, 0), (0.1, 0.0460, 0.0460, 0, 0.1, 0),
    (0.1, 0.0460, 0.0460, 0, -0.1, 0), (0.1, 0.0460, 0.0230, -0.08, -0.605, 0), (0.1, 0.0230, 0.0230, 0, -0.606, 0),
    (0.1, 0.0230, 0.0460, 0.06, -0.605, 0),
]  # fmt: skip


def dense_shepp_logan(size: int, fine: int = 8) -> np.ndarray:
    """``[0, 1]``, by counting points inside."""
    n = size * fine
    x = (np.arange(n) + 0.5) * 2 / n - 1
    x, y = np.meshgrid(x, -x)
    total = np.zeros((n, n))
    for value, a, b, x0, y0, degrees in TOFT:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        u, v = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
        total[(u / a) ** 2 + (v / b) ** 2 <= 1] += value
    return total.reshape(size, fine, size, fine).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [64, 129])
def test_shepp_logan_against_its_table(size: int) -> None:
    picture, expected = shepp_logan(size), 2 * dense_shepp_logan(size) - 1
    difference = np.abs(picture[0].numpy() - expected)
    assert picture.shape == (1, size, size)
    assert difference.max() < 0.15  # of a step of 2 at the skin: the share of a pixel on an edge, to first order
    assert difference.mean() < 3e-3
    flat = expected == np.round(expected, 1)  # nearly all within the ellipses
    assert (difference[flat] < 1e-5).mean() > 0.99


def test_shepp_logan_against_skimage() -> None:
    """Theirs is 400 x 400, without antialiasing."""
    data = pytest.importorskip("skimage.data")
    theirs = torch.from_numpy(data.shepp_logan_phantom()).float()
    assert float((2 * theirs - 1 - shepp_logan(400)[0]).abs().mean()) < 0.03


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("size", lambda: phantom(0, 0, 0)),
        ("size", lambda: shepp_logan(-1)),
        ("seed", lambda: phantom(-1, 0)),
        ("index", lambda: complex_phantom(0, -1)),
        ("modality", lambda: phantom(0, 0, modality="pet")),  # type: ignore[arg-type]
        ("anatomy", lambda: phantom(0, 0, anatomy="knee")),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_named(name: str, call: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name


# The canvas


def test_covered_area_of_shapes() -> None:
    canvas = _Canvas(200, np.random.default_rng(0))
    pixel = (2 / 200) ** 2

    def area(depth: np.ndarray) -> float:
        return float(canvas.cover(depth).sum()) * pixel

    assert area(canvas.ellipse((0.1, -0.2), (0.5, 0.3), 0.4)) == pytest.approx(math.pi * 0.15, rel=2e-3)
    assert area(canvas.tube((-0.3, 0.1), (0.3, 0.5), 0.1)) == pytest.approx(
        0.1 * math.hypot(0.6, 0.4) + math.pi * 0.05**2, rel=2e-3
    )


def test_depth_is_the_distance_to_the_outline() -> None:
    canvas = _Canvas(200, np.random.default_rng(0))
    depth = canvas.ellipse((0.1, -0.2), (0.5, 0.5))
    distance = 0.5 - np.hypot(canvas.x - 0.1, canvas.y + 0.2)
    assert np.abs(depth - distance).max() < 1e-3
    stretched = canvas.ellipse((0, 0), (0.8, 0.4))
    on_axis = 0.4 - np.abs(canvas.y[:, 100])
    near = np.abs(on_axis) < 0.05
    np.testing.assert_allclose(stretched[near, 100], on_axis[near], atol=5e-3)


def test_a_field_has_unit_variance_and_the_same_shape_at_any_size() -> None:
    fields = [_Canvas(64, np.random.default_rng(i)).field(16) for i in range(20)]
    assert float(np.mean([f.mean() for f in fields])) == pytest.approx(0, abs=0.12)  # four deviations
    assert float(np.mean([(f**2).mean() for f in fields])) == pytest.approx(1, rel=0.1)
    coarse, fine = (_Canvas(n, np.random.default_rng(3)).field(5) for n in (64, 192))
    np.testing.assert_allclose(fine[1::3, 1::3], coarse, atol=1e-5)  # pixel centres that coincide
