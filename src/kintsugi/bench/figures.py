"""The pictures of a report, as data URIs: curves (SVG, for light and dark pages), swatches for their legend, images."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..images.reading import opened
from ..optional import optional
from .intervals import Interval

# Okabe and Ito's colours, told apart by the colour-blind: without yellow, and black is the text's; brighter on dark.
_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#B5548A", "#C98500", "#3F9BD4", "#1a1a1a")
_DARK = ("#4DA3E0", "#F0803C", "#2FC79A", "#E39AC4", "#F2B134", "#8FD0F5", "#e8e8e8")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", ":", "-.")
_INK = {False: ("#1a1a1a", "#d8d8d8"), True: ("#e8e8e8", "#3c4048")}  # text, grid
LONGEST = 512


@dataclass(frozen=True)
class Drawing:
    """A drawing for light pages and one for dark pages, and the words for those who see neither."""

    light: str
    dark: str
    alt: str


@dataclass(frozen=True)
class Style:
    """How a sampler's line looks: the ``index``-th of the styles, in every plot of a report."""

    index: int

    def line(self, dark: bool) -> dict[str, Any]:
        n, i = len(_LIGHT), self.index
        return {
            "color": (_DARK if dark else _LIGHT)[i % n],
            "marker": _MARKERS[(i + i // n) % len(_MARKERS)],
            "linestyle": _LINES[i // n % len(_LINES)],
            "linewidth": 1.6,
            "markersize": 5,
        }


def curves(
    lines: Mapping[str, Sequence[tuple[float, Interval]]],
    styles: Mapping[str, Style],
    x_label: str,
    y_label: str,
    problem: str,
) -> Drawing:
    """A line a sampler through its points (cost, interval), the cost on a logarithmic axis.

    Points that cost nothing have no place there: they are drawn as a level.
    """

    def draw(dark: bool) -> str:
        figure, axes = _figure(5.2, 3.5, dark)
        axes.set_position((0.17, 0.15, 0.81, 0.82))  # the same for all, so that they stand in line
        faint = 0.5 if len(lines) <= 6 else 0.2
        for name, points in lines.items():
            style = styles[name].line(dark)
            placed = sorted((x, y) for x, y in points if x > 0)
            for _, level in (point for point in points if point[0] == 0):
                axes.axhline(level.mean, **{**style, "marker": "", "linewidth": 1.1})
            if placed:
                xs, ys = [x for x, _ in placed], [y for _, y in placed]
                halves = [y.half or 0.0 for y in ys]
                axes.errorbar(
                    xs, [y.mean for y in ys], halves, fmt="none", ecolor=style["color"], alpha=faint, elinewidth=1
                )
                axes.plot(xs, [y.mean for y in ys], **style)
        _log_axis(axes, [x for points in lines.values() for x, _ in points if x > 0])
        axes.set_xlabel(_plain(x_label))
        axes.set_ylabel(_plain(y_label))
        return _svg(figure)

    return _both(draw, f"{y_label} against {x_label}, {problem}")


def swatch(style: Style) -> Drawing:
    """A piece of a sampler's line, for a legend of text."""

    def draw(dark: bool) -> str:
        figure, axes = _figure(0.46, 0.16, dark)
        axes.set_position((0, 0, 1, 1))
        axes.axis("off")
        axes.set(xlim=(0, 2), ylim=(-1, 1))
        axes.plot([0.1, 1, 1.9], [0, 0, 0], markevery=[1], **style.line(dark))
        return _svg(figure)

    return _both(draw, "")


def picture(path: Path) -> str:
    """An image file as a PNG data URI, at most ``LONGEST`` pixels on its longer side. Errors: `InvalidFile`."""
    with opened(path) as image:
        image.load()
        if image.format == "PNG" and max(image.size) <= LONGEST:
            return _uri("image/png", path.read_bytes())
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def picture_width(path: Path | None) -> tuple[int, bool]:
    """The width at which a page shows pictures like ``path``, and whether it is a whole multiple of their pixels."""
    if path is None:
        return 192, False
    with opened(path) as image:
        width = image.width
    return (width * (192 // width), True) if width <= 192 else (min(width, 256), width <= 256)


def _both(draw: Any, alt: str) -> Drawing:
    matplotlib = optional("matplotlib", "bench", "a report's plots")
    settings = {"svg.fonttype": "path", "svg.hashsalt": "kintsugi", "font.size": 10, "axes.unicode_minus": True}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        return Drawing(draw(False), draw(True), alt)


def _figure(width: float, height: float, dark: bool) -> tuple[Any, Any]:
    figure = optional("matplotlib.figure", "bench", "a report's plots").Figure(figsize=(width, height))
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    text, lines = _INK[dark]
    axes.grid(color=lines, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=lines, labelcolor=text)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(lines)
    axes.xaxis.label.set_color(text)
    axes.yaxis.label.set_color(text)
    return figure, axes


def _log_axis(axes: Any, xs: Sequence[float]) -> None:
    """A logarithmic axis with ticks at 1, 2, 5, 10, ... printed as numbers; about six of them."""
    axes.set_xscale("log")
    low, high = (min(xs), max(xs)) if xs else (1.0, 10.0)
    low, high = low / 1.2, high * 1.2
    axes.set_xlim(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [t for t in (d * 10.0**e for e in decades for d in digits) if low <= t <= high]
        if len(ticks) <= 7:
            break
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _svg(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _uri("image/svg+xml", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
