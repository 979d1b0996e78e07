"""Synthetic slices of bodies, and the Shepp-Logan phantom: test signals for tomography and magnetic resonance.

A phantom is layers of *tissue* painted over each other, from the skin inwards: heads (scalp, skull, folded cortex,
ventricles, deep nuclei), chests (ribs, lungs with vessels, heart, spine), abdomens (liver, kidneys, bowel, spine) and
plain nested ellipses. Sizes, places and intensities are random; the plane is bent by a smooth random field, so that no
outline stays an ellipse; organs have faint texture, some hold small lesions, and "mr" slices a soft bias field. The two
modalities differ in the intensities: "ct" has dark fat and bright bone, "mr" dark bone and random contrast of the rest.

The plane is [-1, 1] x [-1, 1], x to the right and y down. Every random number is drawn before the size of the picture
matters, so a phantom is a function of ``(seed, index)`` and its anatomy is the same at any size. Edges are one pixel
wide: covered area is computed at twice the size from the distance to the outline, and averaged.

They are test signals. They teach a model what such pictures look like, and nothing about medicine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import InvalidArgument

Modality = Literal["ct", "mr"]
Anatomy = Literal["head", "chest", "abdomen", "ellipses"]
_Plane = NDArray[np.float32]
_Point = tuple[float, float]

# Intensities in [0, 1], each drawn uniformly from its range once a phantom. Air is 0.
_CT = {
    "fat": (0.30, 0.38), "muscle": (0.46, 0.54), "organ": (0.48, 0.62), "fluid": (0.38, 0.44), "blood": (0.50, 0.78),
    "lung": (0.06, 0.16), "bone": (0.80, 1.00), "marrow": (0.58, 0.72), "grey": (0.50, 0.57), "white": (0.42, 0.49),
    "lesion": (0.60, 0.85),
}  # fmt: skip
_MR = {
    "fat": (0.55, 0.95), "muscle": (0.20, 0.45), "organ": (0.25, 0.60), "fluid": (0.05, 0.95), "blood": (0.05, 0.80),
    "lung": (0.02, 0.07), "bone": (0.02, 0.10), "marrow": (0.35, 0.70), "grey": (0.30, 0.60), "white": (0.30, 0.75),
    "lesion": (0.70, 1.00),
}  # fmt: skip


def phantom(
    seed: int, index: int, size: int = 128, *, modality: Modality = "ct", anatomy: Anatomy | None = None
) -> Tensor:
    """A slice ``(1, size, size)`` in [-1, 1], float32; air is -1. ``anatomy`` None draws one.

    >>> phantom(0, 3, size=64).shape
    torch.Size([1, 64, 64])
    """
    return 2 * _magnitude(seed, index, size, modality, anatomy) - 1


def complex_phantom(seed: int, index: int, size: int = 128, *, anatomy: Anatomy | None = None) -> Tensor:
    """A complex "mr" slice as two channels ``(2, size, size)``, real and imaginary part, in [-1, 1], float32.

    Its magnitude, at most 1, is that of ``phantom(seed, index, size, modality="mr")``, which is 2 magnitude - 1; its
    phase is smooth: any constant, a ramp of up to half a turn, and a field of one to five bumps a side.
    """
    magnitude = _magnitude(seed, index, size, "mr", anatomy)[0]
    canvas = _Canvas(2 * size, np.random.default_rng((seed, index, 1)))
    ramp = canvas.rng.uniform(-np.pi / 2, np.pi / 2, 2)
    phase = canvas.rng.uniform(-np.pi, np.pi) + ramp[0] * canvas.x + ramp[1] * canvas.y
    phase = phase + canvas.rng.uniform(0.1, 0.9) * canvas.field(int(canvas.rng.integers(1, 6)))
    turned = torch.from_numpy(_halve(phase.astype(np.float32)))
    return magnitude * torch.stack((turned.cos(), turned.sin()))


# Toft's "modified" contrast of the head phantom of Shepp and Logan (1974): intensity, half axes, centre, degrees.
_SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0), (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0), (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18), (0.1, 0.21, 0.25, 0.0, 0.35, 0), (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0), (0.1, 0.046, 0.023, -0.08, -0.605, 0), (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)  # fmt: skip


def shepp_logan(size: int = 128) -> Tensor:
    """The modified Shepp-Logan phantom ``(1, size, size)`` in [-1, 1], float32: air -1, skull 1, brain -0.6.

    >>> shepp_logan(64)[0, 32, 32].item()
    -0.6...
    """
    canvas = _Canvas(2 * _checked(size), np.random.default_rng(0))
    for value, a, b, x, y, degrees in _SHEPP_LOGAN:
        canvas.image += np.float32(value) * canvas.cover(canvas.ellipse((x, -y), (a, b), -np.deg2rad(degrees)))
    return torch.from_numpy(2 * np.clip(_halve(canvas.image), 0, 1) - 1)[None]


def _magnitude(seed: int, index: int, size: int, modality: str, anatomy: str | None) -> Tensor:
    """The slice in [0, 1]."""
    for name, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise InvalidArgument(name, value, "an integer of at least 0")
    if modality not in get_args(Modality):
        raise InvalidArgument("modality", modality, f"one of {', '.join(get_args(Modality))}")
    if anatomy is not None and anatomy not in get_args(Anatomy):
        raise InvalidArgument("anatomy", anatomy, f"one of {', '.join(get_args(Anatomy))}, or None")
    rng = np.random.default_rng((seed, index))
    drawn = rng.choice(get_args(Anatomy), p=(0.4, 0.2, 0.25, 0.15))
    canvas = _Canvas(2 * _checked(size), rng)
    canvas.bend()
    tissue = {name: float(rng.uniform(*bounds)) for name, bounds in (_CT if modality == "ct" else _MR).items()}
    _SCENES[anatomy or str(drawn)](canvas, tissue)
    bias = canvas.field(2)
    if modality == "mr":
        canvas.image *= np.exp(0.12 * bias)
        canvas.image *= np.float32(rng.uniform(0.75, 1.0)) / max(1.0, float(canvas.image.max()))
    return torch.from_numpy(_halve(np.clip(canvas.image, 0, 1)))[None]


def _checked(size: int) -> int:
    if size < 1:
        raise InvalidArgument("size", size, "a positive integer")
    return size


def _halve(plane: _Plane) -> _Plane:
    n = len(plane) // 2
    return plane.reshape(n, 2, n, 2).mean(axis=(1, 3))


class _Canvas:
    """A picture (n, n) in the making. A shape is its *depth*: the distance to its outline, positive inside."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        axis = (np.arange(n, dtype=np.float32) + 0.5) * 2 / n - 1
        self.n, self.rng = n, rng
        self.x: _Plane = np.broadcast_to(axis, (n, n))
        self.y: _Plane = self.x.T
        self.image: _Plane = np.zeros((n, n), dtype=np.float32)

    def bend(self) -> None:
        """Turn, shift and bend the plane a little: what is painted from now on is seen through it."""
        angle, shift = self.rng.normal(0, 0.12), self.rng.uniform(-0.05, 0.05, 2)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = c * self.x - s * self.y + np.float32(shift[0]), s * self.x + c * self.y + np.float32(shift[1])
        for cells, amount in ((3, 0.028), (9, 0.008)):
            x, y = x + amount * self.field(cells), y + amount * self.field(cells)
        self.x, self.y = x.astype(np.float32), y.astype(np.float32)

    def field(self, cells: int) -> _Plane:
        """Smooth noise of about unit variance: cubic B-splines, ``cells`` a side, with normal coefficients."""
        place = (np.arange(self.n) + 0.5) / self.n * cells
        first = place.astype(int)
        f = place - first
        weights = np.stack(((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)) / 6
        basis = np.zeros((self.n, cells + 3))
        for k in range(4):
            basis[np.arange(self.n), first + k] = weights[k]
        return (basis @ self.rng.normal(0, 1 / 0.479, (cells + 3, cells + 3)) @ basis.T).astype(np.float32)

    def ellipse(self, at: _Point, radii: _Point, angle: float = 0.0) -> _Plane:
        """Depth in an ellipse, to first order."""
        c, s = np.cos(angle), np.sin(angle)
        dx, dy = self.x - np.float32(at[0]), self.y - np.float32(at[1])
        u = np.float32(c / radii[0]) * dx + np.float32(s / radii[0]) * dy
        v = np.float32(-s / radii[1]) * dx + np.float32(c / radii[1]) * dy
        q = u * u + v * v
        steepness = np.sqrt(u * u * np.float32(radii[0] ** -2) + v * v * np.float32(radii[1] ** -2))
        return (np.sqrt(q) - q) / np.maximum(steepness, np.float32(1e-6)) + np.float32(min(radii)) * (q < 1e-8)

    def tube(self, start: _Point, end: _Point, width: float) -> _Plane:
        """Depth in a stroke of that width with round ends."""
        ax, ay = end[0] - start[0], end[1] - start[1]
        dx, dy = self.x - np.float32(start[0]), self.y - np.float32(start[1])
        t = np.clip((dx * np.float32(ax) + dy * np.float32(ay)) / np.float32(ax**2 + ay**2 + 1e-12), 0, 1)
        return np.float32(width / 2) - np.hypot(dx - t * np.float32(ax), dy - t * np.float32(ay))

    def lines(self, cells: int, width: float) -> _Plane:
        """Depth in winding lines of that width: the zeros of a field."""
        f = self.field(cells)
        gy, gx = np.gradient(f, 2 / self.n)
        return np.float32(width / 2) - np.abs(f) / (np.hypot(gx, gy) + np.float32(1e-3))

    def cover(self, depth: _Plane) -> _Plane:
        """The share of each pixel that lies inside."""
        return np.clip(depth * np.float32(self.n / 2) + np.float32(0.5), 0, 1)

    def paint(self, depth: _Plane, value: float, rough: float = 0.0, grain: int = 24) -> None:
        """Cover the inside with ``value``, uneven by ``rough`` (a standard deviation) at ``grain`` cells a side."""
        tissue: Any = np.float32(value)
        if rough:
            tissue = tissue + np.float32(rough) * (0.7 * self.field(grain) + 0.7 * self.field(3 * grain))
        self.image += self.cover(depth) * (tissue - self.image)


_Tissue = dict[str, float]
_Scene = Callable[[_Canvas, _Tissue], None]


def _lesions(c: _Canvas, t: _Tissue, within: _Plane, reach: _Point, most: int) -> None:
    """Up to ``most`` small bright spots inside ``within``, some with a dark rim or a dark core."""
    for _ in range(int(c.rng.integers(0, most + 1))):
        at = (c.rng.uniform(-reach[0], reach[0]), c.rng.uniform(-reach[1], reach[1]))
        radius, kind = float(np.exp(c.rng.uniform(np.log(0.015), np.log(0.08)))), c.rng.random()
        spot = c.ellipse(at, (radius, radius * c.rng.uniform(0.6, 1)), c.rng.uniform(0, np.pi))
        if kind < 0.3:
            c.paint(np.minimum(spot + np.float32(0.6 * radius), within), 0.8 * t["white"])
        c.paint(np.minimum(spot, within), t["lesion"] * c.rng.uniform(0.75, 1), rough=0.03)
        if kind > 0.8:
            c.paint(np.minimum(spot - np.float32(0.5 * radius), within), t["fluid"])


def _head(c: _Canvas, t: _Tissue) -> None:
    rng = c.rng
    radii = (rng.uniform(0.62, 0.76), rng.uniform(0.80, 0.90))
    outline = c.ellipse((0, 0), radii)
    scalp, skull, gap = rng.uniform(0.025, 0.06), rng.uniform(0.04, 0.08), rng.uniform(0.01, 0.035)
    c.paint(outline, 0.5 * (t["muscle"] + t["fat"]))
    c.paint(outline - np.float32(0.012), t["fat"], rough=0.03)
    bone = outline - np.float32(scalp) + 0.006 * c.field(6)
    c.paint(bone, t["bone"], rough=0.02)
    if rng.random() < 0.7:
        middle = np.float32(0.22 * skull) - np.abs(bone - np.float32(0.5 * skull)) + 0.008 * c.field(10)
        c.paint(middle, t["marrow"], rough=0.04)
    inside = bone - np.float32(skull)
    c.paint(inside, t["fluid"])
    brain = inside - np.float32(gap)
    c.paint(brain, t["grey"], rough=0.012)
    cortex = rng.uniform(0.06, 0.10)
    white = brain - np.float32(cortex) + np.float32(0.6 * cortex) * c.field(int(rng.integers(16, 24)))
    c.paint(white, t["white"], rough=0.012)
    for deepest in (0.07, 0.2):  # furrows, each in a fold of grey
        fold = c.lines(int(rng.integers(12, 17)), rng.uniform(0.012, 0.025))
        fold = np.minimum(fold, np.float32(deepest * rng.uniform(0.7, 1.0)) + 0.03 * c.field(8) - brain)
        c.paint(np.minimum(fold + np.float32(rng.uniform(0.02, 0.035)), brain), t["grey"])
        c.paint(np.minimum(fold, brain), t["fluid"])
    c.paint(np.minimum(c.tube((0, -radii[1]), (0, radii[1]), rng.uniform(0.008, 0.02)), inside), t["fluid"])
    _middle_of_head(c, t, brain, radii)
    _lesions(c, t, brain, (0.8 * radii[0], 0.8 * radii[1]), 3)
    for _ in range(int(rng.integers(0, 7))):  # vessels cut across
        at = (rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5))
        c.paint(np.minimum(c.ellipse(at, (0.012, 0.012)), brain), t["blood"])


def _middle_of_head(c: _Canvas, t: _Tissue, brain: _Plane, radii: _Point) -> None:
    """What lies on both sides of the middle: nuclei and ventricles, or lower down eyes and cavities."""
    rng = c.rng
    if rng.random() < 0.2:
        apart, up, r = rng.uniform(0.24, 0.34), -0.62 * radii[1], rng.uniform(0.09, 0.14)
        for side in (-1, 1):
            socket = c.ellipse((side * apart, up), (1.35 * r, 1.5 * r))
            c.paint(socket, t["bone"])
            c.paint(socket - np.float32(0.02), t["fat"], rough=0.03)
            c.paint(c.tube((side * apart, up), (side * 0.1, up + 0.33), 0.03), t["muscle"])
            c.paint(c.ellipse((side * apart, up), (r, r)), t["fluid"])
            c.paint(c.ellipse((side * apart, up - 0.7 * r), (0.35 * r, 0.2 * r)), t["grey"])
            c.paint(c.ellipse((side * 0.5, 0.15), (0.16, 0.07), side * 0.5), t["bone"], rough=0.08)
        cavity = c.ellipse((0, up - 0.02), (0.1, 0.16)) + 0.02 * c.field(12)
        c.paint(cavity, t["bone"])
        c.paint(cavity - np.float32(0.02), 0.02)
        c.paint(c.ellipse((0, 0.22), (0.13, 0.11)), t["white"], rough=0.02)
        return
    wide, tall, turn = rng.uniform(0.03, 0.085), rng.uniform(0.16, 0.34), rng.uniform(0.05, 0.45)
    deep = rng.random() < 0.7
    for side in (-1, 1):
        if deep:
            c.paint(c.ellipse((side * 0.2, -0.12), (0.055, 0.15), -side * 0.35), t["grey"], rough=0.015)
            c.paint(c.ellipse((side * 0.11, 0.1), (0.08, 0.12), -side * 0.5), t["grey"], rough=0.015)
        for y, way in ((-0.2, 1), (0.24, -1)):
            horn = c.ellipse((side * (wide + 0.04), y), (wide, 0.75 * tall), -way * side * turn)
            c.paint(np.minimum(horn, brain - np.float32(0.1)), t["fluid"])
    c.paint(c.ellipse((0, 0.03), (0.018, 0.1)), t["fluid"])
    if rng.random() < 0.5:
        c.paint(c.ellipse((0, 0.3), (0.02, 0.015)), t["lesion"])  # a calcified gland


def _spine(c: _Canvas, t: _Tissue, body: _Plane, at: _Point) -> None:
    """A vertebra, its arch and canal, and the muscles of the back, all inside ``body``."""
    rng = c.rng
    r = rng.uniform(0.09, 0.13)
    x, y = at
    for side in (-1, 1):
        back = c.ellipse((x + side * 0.19, y + 0.13), (0.15, 0.09), side * 0.35)
        c.paint(np.minimum(back, body - np.float32(0.02)), t["muscle"], rough=0.03)
    for side in (-1, 1):
        process = (x + side * rng.uniform(0.16, 0.24), y + rng.uniform(0.1, 0.17))
        c.paint(c.tube((x + side * 0.06, y + 0.08), process, rng.uniform(0.03, 0.05)), t["bone"])
    process = (x + rng.uniform(-0.02, 0.02), y + rng.uniform(0.2, 0.27))
    c.paint(np.minimum(c.tube((x, y + 0.12), process, 0.05), body - np.float32(0.03)), t["bone"])
    vertebra = c.ellipse((x, y), (r, 0.8 * r))
    c.paint(vertebra, t["bone"])
    c.paint(vertebra - np.float32(0.02), t["marrow"], rough=0.04)
    canal = c.ellipse((x, y + 0.8 * r + 0.045), (0.07, 0.055))
    c.paint(canal + np.float32(0.02), t["bone"])
    c.paint(canal, t["fluid"])
    c.paint(canal - np.float32(0.022), t["white"])


def _body(c: _Canvas, t: _Tissue, radii: _Point) -> tuple[_Plane, _Plane]:
    """Skin, fat and the muscle of the wall; what is returned are the depths inside the skin and inside the wall."""
    outline = c.ellipse((0, 0), radii)
    c.paint(outline, t["muscle"])
    c.paint(outline - np.float32(0.012), t["fat"], rough=0.02)
    muscle = outline - np.float32(c.rng.uniform(0.03, 0.12)) + 0.012 * c.field(5)
    c.paint(muscle, t["muscle"], rough=0.02)
    return outline, muscle - np.float32(c.rng.uniform(0.04, 0.07))


def _chest(c: _Canvas, t: _Tissue) -> None:
    rng = c.rng
    radii = (rng.uniform(0.82, 0.92), rng.uniform(0.56, 0.70))
    outline, inside = _body(c, t, radii)
    c.paint(inside, t["fat"], rough=0.02)
    lungs = []
    for side in (-1, 1):
        at = (side * rng.uniform(0.36, 0.42), rng.uniform(-0.05, 0.05))
        lung = c.ellipse(at, (rng.uniform(0.26, 0.34), rng.uniform(0.38, 0.48)), side * rng.uniform(-0.2, 0.2))
        lungs.append(np.minimum(lung + 0.01 * c.field(8), inside - np.float32(0.015)))
        c.paint(lungs[-1], t["lung"], rough=0.012, grain=20)
        _vessels(c, lungs[-1], (side * 0.14, 0.02), (0.0 if side > 0 else np.pi), 0.55 * t["blood"])
    heart = c.ellipse((rng.uniform(0.04, 0.16), -0.08), (rng.uniform(0.2, 0.28), rng.uniform(0.17, 0.23)), 0.5)
    c.paint(heart, t["muscle"], rough=0.02)
    for at in ((0.16, -0.02), (0.0, -0.14)):
        c.paint(np.minimum(c.ellipse(at, (0.1, 0.08), 0.5), heart - np.float32(0.03)), t["blood"])
    c.paint(c.ellipse((0.12, 0.26), (0.065, 0.065)), t["blood"])
    windpipe = c.ellipse((-0.02, 0.17), (0.045, 0.04))
    c.paint(windpipe + np.float32(0.012), t["muscle"])
    c.paint(windpipe, 0.0)
    _lesions(c, t, np.maximum(*lungs), (0.6, 0.35), 3)
    _spine(c, t, outline, (0, 0.57 * radii[1]))
    count = int(rng.integers(6, 10))
    for side in (-1, 1):
        for k in range(count):
            angle = -1.25 + 2.5 * (k + rng.uniform(0.2, 0.8)) / count
            x, y = side * np.cos(angle) * (radii[0] - 0.13), np.sin(angle) * (radii[1] - 0.12)
            rib = c.ellipse((x, y), (0.028, rng.uniform(0.05, 0.1)), np.arctan2(y / radii[1] ** 2, x / radii[0] ** 2))
            c.paint(rib, t["bone"])
            c.paint(rib - np.float32(0.014), t["marrow"])
    c.paint(c.ellipse((0, -radii[1] + 0.12), (0.1, 0.03)), t["bone"])


def _vessels(c: _Canvas, within: _Plane, root: _Point, way: float, value: float) -> None:
    """A small tree of vessels that thin out, and a few cut across."""
    twigs = [(root, way, 0.034)]
    for depth in range(3):
        grown = []
        for start, angle, width in twigs:
            for _ in range(2 if depth else 4):
                turn = angle + c.rng.normal(0, 0.75 if depth else 0.8)
                length = c.rng.uniform(0.1, 0.2)
                end = (start[0] + length * np.cos(turn), start[1] + length * np.sin(turn))
                c.paint(np.minimum(c.tube(start, end, width), within), value)
                grown.append((end, turn, 0.65 * width))
        twigs = grown if depth == 0 else grown[::2]


def _abdomen(c: _Canvas, t: _Tissue) -> None:
    rng = c.rng
    radii = (rng.uniform(0.78, 0.92), rng.uniform(0.6, 0.74))
    outline, inside = _body(c, t, radii)
    c.paint(inside, t["fat"], rough=0.025)
    spine = (0.0, 0.5 * radii[1])
    for side in (-1, 1):  # psoas
        c.paint(c.ellipse((side * 0.2, spine[1] - 0.02), (0.075, 0.11), side * 0.3), t["muscle"], rough=0.02)
    for _ in range(int(rng.integers(6, 16))):  # loops of bowel
        at = (rng.uniform(-0.55, 0.6), rng.uniform(-0.42, 0.15))
        loop = c.ellipse(at, (rng.uniform(0.07, 0.16), rng.uniform(0.05, 0.1)), rng.uniform(0, np.pi))
        loop = np.minimum(loop, inside)
        c.paint(loop, t["organ"])
        filling = 0.0 if rng.random() < 0.25 else rng.choice((t["fluid"], 0.9 * t["organ"], t["blood"]))
        c.paint(loop - np.float32(rng.uniform(0.012, 0.025)), filling, rough=0.0 if filling == 0.0 else 0.03)
    if rng.random() < 0.85:
        liver = c.ellipse((-0.38, -0.12), (rng.uniform(0.3, 0.42), rng.uniform(0.28, 0.4)), rng.uniform(-0.4, 0.4))
        liver = np.minimum(liver + 0.015 * c.field(5), inside)
        c.paint(liver, t["organ"], rough=0.018)
        _vessels(c, liver - np.float32(0.03), (-0.2, -0.05), np.pi, 0.5 * (t["blood"] + t["organ"]))
        _lesions(c, t, liver, (0.7, 0.4), 4)
        spleen = c.ellipse((0.6, 0.08), (0.11, rng.uniform(0.17, 0.26)), rng.uniform(-0.5, 0.2))
        c.paint(np.minimum(spleen, inside), 0.95 * t["organ"], rough=0.015)
    for side in (-1, 1):
        if rng.random() < 0.85:
            at, turn = (side * rng.uniform(0.38, 0.46), spine[1] - rng.uniform(0.05, 0.14)), side * 0.5
            kidney = np.minimum(c.ellipse(at, (rng.uniform(0.1, 0.13), rng.uniform(0.14, 0.18)), turn), inside)
            c.paint(kidney + np.float32(0.03), t["fat"])
            c.paint(kidney, 0.5 * (t["blood"] + t["organ"]), rough=0.015)
            c.paint(kidney - np.float32(0.04), 0.9 * t["organ"], rough=0.03)
            c.paint(c.ellipse((at[0] - side * 0.05, at[1]), (0.04, 0.055), turn), t["fat"])
    c.paint(c.ellipse((0.06, spine[1] - 0.19), (0.05, 0.05)), t["blood"])
    c.paint(c.ellipse((-0.09, spine[1] - 0.18), (0.06, 0.045)), 0.97 * t["blood"])
    _spine(c, t, outline, spine)


def _ellipses(c: _Canvas, t: _Tissue) -> None:
    """Nested and overlapping ellipses of any intensity: what the other three do not teach."""
    rng = c.rng
    radii = (rng.uniform(0.55, 0.9), rng.uniform(0.55, 0.9))
    outline = c.ellipse((0, 0), radii)
    c.paint(outline, rng.uniform(0.2, 1.0), rough=0.01)
    inside = outline - np.float32(rng.uniform(0.02, 0.1))
    c.paint(inside, rng.uniform(0.1, 0.6), rough=rng.uniform(0, 0.03))
    for _ in range(int(rng.integers(4, 16))):
        at = (rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6))
        size = np.exp(rng.uniform(np.log(0.02), np.log(0.4), 2))
        shape = np.minimum(c.ellipse(at, (size[0], size[1]), rng.uniform(0, np.pi)), inside)
        level, rough = rng.uniform(0, 1), rng.uniform(0, 0.02)
        c.paint(shape, level, rough)
        if min(size) > 0.12 and rng.random() < 0.5:
            c.paint(shape - np.float32(rng.uniform(0.02, 0.06)), rng.uniform(0, 1), rough)
    for _ in range(int(rng.integers(0, 4))):
        start, end = rng.uniform(-0.7, 0.7, 2), rng.uniform(-0.7, 0.7, 2)
        line = c.tube((start[0], start[1]), (end[0], end[1]), rng.uniform(0.01, 0.04))
        c.paint(np.minimum(line, inside), rng.uniform(0, 1))


_SCENES: dict[str, _Scene] = {"head": _head, "chest": _chest, "abdomen": _abdomen, "ellipses": _ellipses}
