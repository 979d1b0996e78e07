"""Hostile command lines: words that no option takes, files that are none, names that terminals would obey.

Each command runs in this process, in a folder ``in`` beside an empty folder ``out``. It ends with exit code 0, or with
one line on stderr and 2; nothing appears but below ``out``, no hidden temporary file is left, no input changes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import numpy as np
import samples
import test_faults_models as models
from hypothesis import strategies as st
from judge import Broken, Door, check_line, passes
from PIL import Image
from typer.testing import CliRunner

from kintsugi.cli import app
from kintsugi.errors import KintsugiError

STDERR_LINES = ("error: ", "note: ")
WORDS = ("", "0", "1", "-1", "2", "1e400", "nan", "inf", "-inf", "99999999999999999999", "auto", "²", "٣",
    "0x1", "None", "[]",
         "-", "--", "--help", "-o", "../x", "/dev/null", "\n", "a\nb", "\x1b[2J", "\udcff", "a" * 5000, "CON",
             "~", "*", ".",
         "..", "photo", "example:", "example:../x", "example:none", "gaussian:1", "gaussian:", "motion:5:nan",
         "{" * 300, "w=" + "(" * 300, "w=1", "=1", "w=[1,2]", "w='a'", "a=1", "steps=3", "w=nan",
             "9" * 5000)  # fmt: skip
FILES = ("good.png", "grey.png", "mask.png", "cut.png", "text.txt", "folder", "none.png", "tiny.safetensors", "nan.pt",
         "-dash.png", "new\nline.png", "k.npy", "a b.jpg", "suite.yaml", "empty")  # fmt: skip
OUTPUTS = ("../out/o.png", "../out/o.jpg", "../out/o.tif", "../out/o", "../out/none/o.png", "../out", "good.png",
           "../out/o\nx.png", "../out/" + "n" * 300 + ".png", "../out/-o.png", "/proc/o.png", "../out/o.safetensors",
           "../out/o.html", "", "../out/o.exe")  # fmt: skip
TASKS = ("sr", "inpaint", "deblur", "denoise", "colorize", "jpeg", "dequantize", "hdr", "SR", "")
OPTIONS = {
    "restore": ("--mask", "--factor", "--kernel", "--noise", "--boundary", "--quality", "--bits", "--gain", "--sampler",
                "--preset", "--texture", "--set", "--samples", "--seed", "--prior", "--prior-set", "--label",
                "--prompt", "--guidance", "--windows", "--device", "--compare", "--suffix", "--nothing"),
    "degrade": ("--mask", "--missing", "--box", "--mask-out", "--factor", "--kernel", "--noise", "--boundary",
                "--quality", "--bits", "--gain", "--seed", "--nothing"),
    "convert": ("--prior-set", "--like", "--float32", "--nothing"),
    "bench": ("--images", "--device", "--engine", "--cpus", "--nothing"),
    "tune": ("--images", "--nothing"),
    "train": ("--steps", "--batch", "--crop", "--lr", "--ema", "--size", "--widths", "--blocks", "--attention",
              "--dropout", "--set", "--orientations", "--objective", "--cooldown", "--min-scale", "--augment"),
    "info": ("--nothing",), "priors": ("--nothing",), "samplers": ("--nothing",), "presets": ("--nothing",),
    "report": ("--output",), "plot-log": ("--output",), "": ("--version", "--help"),
}  # fmt: skip
FLAGS = {"--windows", "--compare", "--float32", "--version", "--help"}
# Numbers that are right, so that some of what is wrong is met behind them.
FIT = {"--factor": "2", "--noise": "0.1", "--kernel": "gaussian:1", "--mask": "mask.png", "--quality": "50",
    "--bits": "3",
       "--gain": "2", "--box": "4", "--missing": "0.5", "--sampler": "ddnm", "--seed": "1",
           "--samples": "2"}  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line that is right but for one or two of its words."""
    command = draw(st.sampled_from(("restore", "degrade", *OPTIONS)))
    any_word = st.one_of(st.sampled_from(WORDS), st.sampled_from(FILES), st.sampled_from(OUTPUTS), st.text(max_size=8))
    any_word = any_word.filter(lambda word: "\0" not in word)  # no command line can have it
    words = [command] if command else []
    if command in ("restore", "degrade"):
        task = draw(st.sampled_from(TASKS[:-2] * 3 + TASKS))
        source = draw(st.one_of(st.just("good.png"), st.sampled_from(FILES)))
        words += [source] if not source.startswith("-") else ["--", source]
        first = ["-o", draw(st.one_of(st.just("../out/o.png"), st.sampled_from(OUTPUTS))), "--task", task]
        needs = {"inpaint": "--mask", "deblur": "--kernel", "jpeg": "--quality", "dequantize": "--bits"}.get(task)
        first += [needs, FIT[needs]] if needs and draw(st.integers(0, 4)) else []
        if command == "restore":
            first += ["--prior", "tiny.safetensors", "--device", "cpu", "--steps", "2", "--sampler", "ddnm"]
        words[1:1] = first
    elif command in ("convert", "bench", "tune", "train", "report", "plot-log", "info"):
        words.append(draw(st.one_of(st.sampled_from(FILES), any_word)))
        if command not in ("info", "report"):
            words += ["-o", draw(st.sampled_from(OUTPUTS))]
        words += ["--dry-run"] if command == "bench" else []
        # Not to be trained or tuned: the folder of pictures has none, and the only plan is not right.
    for _ in range(draw(st.integers(0, 2))):
        option = draw(st.sampled_from(OPTIONS[command]))
        value = [] if option in FLAGS else [draw(st.one_of(st.just(FIT.get(option, "1")), any_word))]
        words[1:1] = [option, *value] if command else [option]
    if draw(st.integers(0, 9)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(any_word))
    return words


def furnish(folder: Path) -> None:
    """The folder ``in`` with a little of everything, and ``out``."""
    inside = folder / "in"
    (inside / "folder").mkdir(parents=True)
    (folder / "out").mkdir()
    good = samples.saved(Image.fromarray(samples.pixels(12, 10, 3)), "PNG")
    mask = np.zeros((12, 10), np.uint8)
    mask[3:6, 2:7] = 255
    contents = {
        "good.png": good, "-dash.png": good, "new\nline.png": good, "cut.png": good[:60], "text.txt": b"hello",
            "empty": b"",
        "grey.png": samples.saved(Image.fromarray(samples.pixels(12, 10)), "PNG"),
        "mask.png": samples.saved(Image.fromarray(mask), "PNG"),
        "a b.jpg": samples.saved(Image.fromarray(samples.pixels(12, 10, 3)), "JPEG"),
        "tiny.safetensors": models.tiny(), "nan.pt": b"\x80\x02}.", "k.npy": b"\x93NUMPY",
            "suite.yaml": b"name: a\nsteps: [1]",
    }  # fmt: skip
    for name, content in contents.items():
        (inside / name).write_bytes(content)


def act(words: list[str], folder: Path) -> None:
    furnish(folder)
    before, here = listing(folder), Path.cwd()
    os.chdir(folder / "in")
    try:
        result = CliRunner().invoke(app, words)
    finally:
        os.chdir(here)
    after = listing(folder)
    # What the user names as the output is overwritten, also beside the inputs, unless it is one of them.
    asked = {f"in/{word}" for option, word in itertools.pairwise(words) if option in ("-o", "--output", "--mask-out")}
    changed = {name for name in before if after.get(name) != before[name] and not name.startswith("out/")} - asked
    new = {name for name in set(after) - set(before) if not name.startswith("out/") or Path(name).name.startswith(".")}
    if changed or new:
        raise Broken(f"files changed or made outside of the output: {changed | new}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise Broken(f"{type(result.exception).__name__}: {result.exception}") from result.exception
    said = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    if result.exit_code == 0:
        return
    if result.exit_code == 1 and "restore" in words:  # some pictures of a folder could not be restored
        return
    if result.exit_code != 2 or len(said) != 1 or not said[0].startswith("error: "):
        raise Broken(f"exit code {result.exit_code}, and {result.stderr[-1500:]!r}")
    check_line(said[0])
    raise KintsugiError(said[0])


def listing(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


GOOD = ["restore", "good.png", "-o", "../out/o.png", "--task", "sr", "--factor", "2", "--prior", "tiny.safetensors"]
COMMANDS = Door("command lines", lines(), act, GOOD)
DOORS = (COMMANDS,)

test_command_lines = passes(COMMANDS, examples=60)
