"""In the shell: pictures in terminals, ``--json``, progress in logs, completion."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import kintsugi
from kintsugi.cli import app, inline
from kintsugi.progress import shown, step_lines

RUNNER = CliRunner()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def picture(width: int = 23, height: int = 17) -> Image.Image:
    """Few colours, at the levels that sixel's percents can say, in a pattern without symmetry."""
    levels = np.array([0, 51, 102, 204, 255], dtype=np.uint8)
    n = np.arange(width * height).reshape(height, width)
    return Image.fromarray(np.stack([levels[n * n % 5], levels[n // 7 % 5], levels[(n % 11) % 5]], -1))


def pixels(image: Image.Image) -> NDArray[Any]:
    return np.asarray(image.convert("RGB"))


def decode_sixel(text: str) -> NDArray[Any]:
    """A literal sixel decoder: colour registers, run lengths, carriage returns and bands of six."""
    found = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.DOTALL)
    assert found is not None
    width, height = int(found[1]), int(found[2])
    out = np.zeros((height, width, 3), np.uint8)
    registers: dict[int, tuple[int, ...]] = {}
    x = top = 0
    colour: tuple[int, ...] = ()
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([$-])|([?-~])", found[3]):
        if token[1]:
            registers[int(token[1])] = tuple(round(int(token[i]) * 255 / 100) for i in (2, 3, 4))
        elif token[5]:
            colour = registers[int(token[5])]
        elif token[8]:
            x, top = 0, top + 6 * (token[8] == "-")
        else:
            bits, times = ord(token[7] or token[9]) - 63, int(token[6] or 1)
            for row in range(6):
                if bits >> row & 1:
                    out[top + row, x : x + times] = colour
            x += times
    return out


def test_sixel_holds_the_picture() -> None:
    assert (decode_sixel(inline.escape(picture(), "sixel")) == pixels(picture())).all()
    assert (decode_sixel(inline.escape(picture(40, 6), "sixel")) == pixels(picture(40, 6))).all()


def test_iterm_holds_the_picture() -> None:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):(.*)\x07", inline.escape(picture(), "iterm"))
    assert found is not None
    data = base64.b64decode(found[2], validate=True)
    assert len(data) == int(found[1])
    assert (pixels(Image.open(io.BytesIO(data))) == pixels(picture())).all()


def test_kitty_holds_the_picture_in_chunks() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    chunks = re.findall(r"\x1b_G(?:(a=T,f=100),)?m=([01]);([^\x1b]*)\x1b\\", inline.escape(noise, "kitty"))
    assert "".join(f"\x1b_G{a and a + ','}m={m};{d}\x1b\\" for a, m, d in chunks) == inline.escape(noise, "kitty")
    assert len(chunks) > 2
    assert [bool(head) for head, _, _ in chunks] == [True] + [False] * (len(chunks) - 1)
    assert [more for _, more, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    assert max(len(data) for _, _, data in chunks) <= 4096
    data = base64.b64decode("".join(data for _, _, data in chunks), validate=True)
    assert (pixels(Image.open(io.BytesIO(data))) == pixels(noise)).all()


def test_large_pictures_are_reduced() -> None:
    data = inline.escape(Image.new("RGB", (2000, 1000)), "iterm").partition(":")[2][:-1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (800, 400)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({}, None),
    ],
)
def test_which_terminal(environ: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "_attributes", lambda stream: "\x1b[?62;22c")  # no sixel
    assert inline.detect(Terminal(), environ) == expected
    assert inline.detect(io.StringIO(), environ) is None  # a file


def test_sixel_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inline.says_sixel("\x1b[?62;4;22c")
    assert not inline.says_sixel("\x1b[?4;22c")  # the first number is the terminal's class
    assert not inline.says_sixel("\x1b[?62;14;44c")
    assert not inline.says_sixel("")
    monkeypatch.setattr(inline, "_attributes", lambda stream: "\x1b[?62;4;22c")
    assert inline.detect(Terminal(), {"TERM": "foot"}) == "sixel"


def test_show_writes_the_file_to_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "p.png")
    monkeypatch.setattr(inline, "detect", lambda stream: "iterm")
    stream = Terminal()
    assert inline.show(tmp_path / "p.png", stream)
    assert stream.getvalue() == inline.escape(picture(), "iterm") + "\n"


def test_restore_as_json_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Path] = []
    monkeypatch.setattr(inline, "show", lambda path: bool(shown.append(path)))
    picture(16, 16).save(tmp_path / "in.png")
    out = tmp_path / "out.png"
    words = ["restore", str(tmp_path / "in.png"), "-o", str(out), "-t", "denoise", "--noise", "0.1", "--steps", "1"]
    result = RUNNER.invoke(app, [*words, "--samples", "2", "--json", "--show"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["output"] == str(out)
    assert sorted(said["files"]) == sorted(str(p) for p in tmp_path.iterdir() if p.name != "in.png")
    assert said["cost"]["forwards"] == 1
    assert said["recipe"]["noise"] == "0.1"
    assert said["recipe"]["samples"] == 2
    assert shown == [out]
    assert "this terminal shows no pictures" in result.stderr

    result = RUNNER.invoke(app, words)
    assert result.stdout.startswith(f"{out}: 1 forwards, 0 VJPs, ")
    assert result.stderr == ""
    assert shown == [out]  # not shown again


def test_a_folder_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    picture(16, 16).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    words = ["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-t", "denoise", "--noise", "0.1"]
    result = RUNNER.invoke(app, [*words, "--steps", "1", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"output": str(tmp_path / "out"), "failed": 1}
    assert "1 restored" in result.stderr
    assert "1 restored" not in capfd.readouterr().out


def test_errors_are_no_json(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["info", str(tmp_path / "none.png"), "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")


def test_what_there_is_as_json(tmp_path: Path) -> None:
    from kintsugi import available_samplers

    every = json.loads(RUNNER.invoke(app, ["samplers", "--json"]).stdout)["samplers"]
    assert [one["name"] for one in every] == list(available_samplers())
    one = json.loads(RUNNER.invoke(app, ["samplers", "cpigdm", "--json"]).stdout)
    assert one in every
    assert one["paper"].startswith("Pandey, Yang, Mandt, NeurIPS 2024")
    assert set(one["settings"]) == {field.name for field in fields(available_samplers()["cpigdm"])}  # type: ignore[arg-type]

    models = json.loads(RUNNER.invoke(app, ["priors", "--json"]).stdout)
    photo = next(model for model in models["in_the_package"] if model["name"] == "photo")
    assert photo["parameters"] == sum(p.numel() for p in kintsugi.load_prior("photo").parameters())
    assert "imagenet-256" in {model["name"] for model in models["published"]}

    picture().save(tmp_path / "p.png")
    said = json.loads(RUNNER.invoke(app, ["info", str(tmp_path / "p.png"), "--json"]).stdout)
    assert (said["kind"], said["size"], said["notes"]) == ("picture", "23 x 17 pixels", [])


def test_a_benchmark_as_json(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: s\noracles: [line]\nsamplers: [ddnm]\nsteps: [2]\nsamples: 4\n")
    words = ["bench", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "run"), "--json"]
    ahead = json.loads(RUNNER.invoke(app, [*words, "--dry-run"]).stdout)
    assert (ahead["suite"], ahead["rows"], ahead["left"], ahead["missing"]) == ("s", 1, 1, {})
    assert json.loads(RUNNER.invoke(app, words).stdout)["left"] == 0
    pages = json.loads(RUNNER.invoke(app, ["report", str(tmp_path / "run"), "--json"]).stdout)
    assert all(Path(pages[key]).is_file() for key in ("html", "markdown"))


def test_progress_in_logs(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter([0.0, 2.0, 5.0, 6.0, 9.9, 10.0])
    report = step_lines(5.0, lambda: next(now))
    for done in range(1, 6):
        report(done, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "restoring: 2 of 10 steps, 5 s, about 20 s left",
        "restoring: 5 of 10 steps, 10 s, about 10 s left",
    ]


def test_no_control_characters_in_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.progress.EVERY", 0.0)
    with shown(True) as report:
        report(1, 2)
        report(2, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 2
    assert said.err.replace("\n", "").isprintable()


def test_a_bar_where_somebody_sees_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    with shown(True, "drawing") as report:
        report(1, 4)
        report(4, 4)
    said = capsys.readouterr()
    assert said.out == ""
    assert "drawing" in said.err
    assert "100%" in said.err


def test_progress_of_the_library_in_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from kintsugi import oracles, restore

    oracle = oracles.oracle("line")
    restore(oracle.problem, oracle.prior, "ddnm", steps=3, progress=True)
    assert capsys.readouterr() == ("", "")  # done sooner
    monkeypatch.setattr("kintsugi.progress.EVERY", 0.0)
    restore(oracle.problem, oracle.prior, "ddnm", steps=3, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert re.sub(r"\d+ s\b", "n s", said.err).splitlines() == [
        f"restoring: {done} of 3 steps, n s, about n s left" for done in (1, 2, 3)
    ]


def test_completion() -> None:
    """What bash asks for after ``kintsugi re`` and ``kintsugi restore --te``."""

    def complete(words: str) -> list[str]:
        environ = {
            "_KINTSUGI_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        return RUNNER.invoke(app, prog_name="kintsugi", env=environ).stdout.split()

    assert complete("kintsugi re") == ["restore", "report"]
    assert complete("kintsugi restore --te") == ["--texture"]
    assert complete("kintsugi restore --task inp") == ["inpaint"]
    assert complete("kintsugi restore --sampler dd") == ["ddim", "ddnm", "ddnmplus", "ddrm"]
    assert complete("kintsugi samplers re") == ["reddiff", "repaint", "resample"]
    assert complete("kintsugi restore --preset photo-p") == ["photo-psnr"]


def test_names_that_are_completed_are_those_there_are() -> None:
    from kintsugi import available_priors, available_samplers
    from kintsugi.cli import complete
    from kintsugi.presets import available_presets

    assert complete.sampler_names("") == sorted(available_samplers())
    assert complete.prior_names("") == sorted(available_priors())
    assert complete.preset_names("") == sorted(available_presets())
