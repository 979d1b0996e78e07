"""Pictures in the terminal, for those that can: iTerm2, kitty and sixel.

All three send a picture as an escape sequence: iTerm2 and kitty a PNG file in base64, sixel bands of six rows of a
palette picture, a character for the six pixels of a column. Nothing is sent to what is not a terminal that says it
can, since others print the bytes.
"""

from __future__ import annotations

import base64
import io
import os
import re
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from PIL import Image

Protocol = Literal["iterm", "kitty", "sixel"]
CHUNK = 4096  # characters of base64 in one of kitty's escape sequences
COLOURS = 255  # of a sixel palette
WIDEST = 800  # pixels; a larger picture is reduced for the terminal
PATIENCE = 0.2  # seconds that a terminal has to say what it can
_BY_PROGRAM: dict[str, Protocol] = {"iTerm.app": "iterm", "WezTerm": "iterm", "mintty": "iterm", "ghostty": "kitty"}


def detect(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Protocol | None:
    """What the terminal behind ``stream`` understands, None for nothing: files, pipes, tmux and screen."""
    if not stream.isatty() or environ.get("TMUX") or environ.get("TERM", "").startswith(("screen", "tmux")):
        return None
    if environ.get("TERM") in ("xterm-kitty", "xterm-ghostty") or "KITTY_WINDOW_ID" in environ:
        return "kitty"
    for variable in ("TERM_PROGRAM", "LC_TERMINAL"):
        known = _BY_PROGRAM.get(environ.get(variable, "").replace("iTerm2", "iTerm.app"))
        if known is not None:
            return known
    return "sixel" if says_sixel(_attributes(stream)) else None


def says_sixel(answer: str) -> bool:
    """Whether the answer to a terminal's "primary device attributes", ``ESC [ ? 62 ; 4 ; ... c``, lists a 4."""
    found = re.search(r"\x1b\[\?([\d;]*)c", answer)
    return found is not None and "4" in found[1].split(";")[1:]


def _attributes(stream: TextIO) -> str:
    """What the terminal answers when asked for its attributes; nothing where it cannot be asked."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        return ""
    if not sys.stdin.isatty():
        return ""
    descriptor, answer = sys.stdin.fileno(), ""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        stream.write("\x1b[c")
        stream.flush()
        while not answer.endswith("c") and select.select([descriptor], [], [], PATIENCE)[0]:
            answer += os.read(descriptor, 64).decode("ascii", "replace")
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    return answer


def escape(picture: Image.Image, protocol: Protocol) -> str:
    """The characters that show ``picture``, reduced to at most ``WIDEST`` pixels of width."""
    picture = picture.convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, max(1, round(picture.height * WIDEST / picture.width))))
    if protocol == "sixel":
        return _sixel(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    coded = base64.b64encode(buffer.getvalue()).decode("ascii")
    if protocol == "iterm":
        return f"\x1b]1337;File=inline=1;size={len(buffer.getvalue())}:{coded}\x07"
    chunks = [coded[i : i + CHUNK] for i in range(0, len(coded), CHUNK)]
    out = []
    for i, chunk in enumerate(chunks):
        first = "a=T,f=100," if i == 0 else ""  # show a PNG now
        out.append(f"\x1b_G{first}m={int(i < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(out)


def _sixel(picture: Image.Image) -> str:
    palette = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    table = (palette.getpalette() or [])[: 3 * COLOURS]
    indices = np.asarray(palette)
    height, width = indices.shape
    out = [f'\x1bPq"1;1;{width};{height}']
    for i in sorted(set(indices.ravel().tolist())):
        percent = (round(c * 100 / 255) for c in table[3 * i : 3 * i + 3])
        out.append(f"#{i};2;" + ";".join(map(str, percent)))
    for top in range(0, height, 6):
        band = indices[top : top + 6]
        weights = 1 << np.arange(len(band))[:, None]
        rows = []
        for i in sorted(set(band.ravel().tolist())):
            sixels = ((band == i) * weights).sum(0) + 63
            rows.append(f"#{i}" + _run_lengths("".join(map(chr, sixels.tolist()))))
        out.append("$".join(rows) + "-")  # $: back to the left, for the next colour; -: the next band
    return "".join((*out, "\x1b\\"))


def _run_lengths(text: str) -> str:
    return re.sub(r"(.)\1{3,}", lambda found: f"!{len(found[0])}{found[1]}", text)


def show(path: Path, stream: TextIO | None = None) -> bool:
    """Show the picture file ``path`` on ``stream`` (stderr), if that is a terminal that can; whether it was."""
    stream = sys.stderr if stream is None else stream
    protocol = detect(stream)
    if protocol is None:
        return False
    with Image.open(path) as picture:
        stream.write(escape(picture, protocol) + "\n")
    stream.flush()
    return True
