"""Hostile folders: ``kintsugi restore`` of one, with what may lie in it and in the folder that is written to.

Damaged pictures, names that terminals and shells would obey, links that lead in circles or outside, a state of an
earlier run that is none. Whatever it is, the good pictures are restored or all is refused, nothing but the folder of
the results changes, and no input does.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import samples
import test_faults_models as models
from corrupt import damaged
from hypothesis import strategies as st
from judge import Broken, Door, check_line, judge, passes
from PIL import Image
from typer.testing import CliRunner

from kintsugi.cli import app
from kintsugi.errors import KintsugiError

GOOD_PICTURE = samples.saved(Image.fromarray(samples.pixels(8, 8, 3)), "PNG")
NAMES = ("a.png", "-o.png", "--help.png", "new\nline.png", "\x1b[2J.png", "sub/a.png", "sub/-b.jpg", "..png", "...png",
         "\udcff.png", "a b.png", "a.PNG", "a.txt", "*.png", "n" * 240 + ".png", "-/x.png", "~.png", ".hid.png",
         "a.npy", "sub.png/a.png", "\u202egnp.png", "CON.png", "a\\b.png", "$(touch ran).png")  # fmt: skip
# Links: a name and where it leads. The folder "away" lies beside the pictures, and is nobody's to change.
LINKS = (("loop", "."), ("up", ".."), ("out.png", "../away/secret.png"), ("away", "../away"), ("none.png", "nowhere"),
         ("self.png", "self.png"), ("zero.png", "/dev/zero"), ("null.png", "/dev/null"))  # fmt: skip
# What already is in the folder of the results.
STATE = ".kintsugi/settings.json"
OUTPUT_LINKS = ((".kintsugi", "../away"), ("a.png", "../away/secret.png"), ("sub", "../away"), ("sub", "."),
                (STATE, "../../away/secret.png"), (".kintsugi/done", "../../away"))  # fmt: skip
RECORDS = (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"name": 1}', b"{}", b"9" * 5000)


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Any]:
    """The pictures, the links, and what is there already."""
    bombs, states = samples.bombs()[:8], (STATE, ".kintsugi", "sub", ".kintsugi/failed/x.json", ".kintsugi/done")
    content = st.one_of(
        st.just(GOOD_PICTURE), damaged(GOOD_PICTURE), st.sampled_from(bombs), st.sampled_from(samples.foreign())
    )
    words = ((), ("--suffix", ".jpg"), ("--compare",), ("--samples", "2"), ("--suffix", "../x"), ("--mask", "in"))
    return {
        "files": draw(st.dictionaries(st.sampled_from(NAMES), content, max_size=3)),
        "links": draw(st.lists(st.sampled_from(LINKS), max_size=2)),
        "there": draw(st.dictionaries(st.sampled_from(states), st.sampled_from(RECORDS), max_size=1)),
        "there_links": draw(st.lists(st.sampled_from(OUTPUT_LINKS), max_size=1)),
        "again": draw(st.booleans()),
        "words": draw(st.sampled_from(words)),
    }


def put(root: Path, files: dict[str, bytes], links: list[tuple[str, str]]) -> None:
    """Lay them out; what the system refuses, because another thing has the name, is left out."""
    for name, content in files.items():
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        except OSError:
            pass
    for name, target in links:
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(target)
        except OSError:
            pass


def listing(root: Path) -> dict[str, bytes]:
    """The plain files below a folder."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


def act(case: dict[str, Any], folder: Path) -> None:
    for name in ("in", "out", "away"):
        (folder / name).mkdir()
    (folder / "away/secret.png").write_bytes(GOOD_PICTURE)
    (folder / "tiny.safetensors").write_bytes(models.tiny())
    put(folder / "in", case["files"], case["links"])
    put(folder / "out", case["there"], case["there_links"])
    before, here = {n: c for n, c in listing(folder).items() if not n.startswith("out/")}, Path.cwd()
    os.chdir(folder)
    try:
        words = ["restore", "in", "-o", "out", "-t", "denoise", "--noise", "0.1", "--prior", "tiny.safetensors"]
        words += ["--sampler", "ddnm", "--steps", "1", "--device", "cpu", *case["words"]]
        for _ in range(1 + case["again"]):
            result = CliRunner().invoke(app, words)
    finally:
        os.chdir(here)
    after = listing(folder)
    changed = {name for name in before if after.get(name) != before[name]}
    new = {name for name in after if name not in before and not name.startswith("out/")}
    half = {
        name
        for name in after
        if name.startswith("out/") and Path(name).name.startswith(".") and name not in case["there"]
    }
    half -= {f"out/{name}" for name in case["files"]} | {f"out/{name}" for name in case["there"]}
    if changed or new or half:
        raise Broken(f"files changed or made outside of the output, or half-written: {changed | new | half}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise Broken(f"{type(result.exception).__name__}: {result.exception}") from result.exception
    if not (result.stdout + result.stderr).replace("\n", "").isprintable():
        raise Broken(f"a terminal would obey {result.stdout[-500:]!r} {result.stderr[-500:]!r}")
    said = [line for line in result.stderr.splitlines() if not line.startswith(("note: ", "failed: "))]
    if result.exit_code in (0, 1):
        if result.exit_code == 0 and any(c == GOOD_PICTURE for n, c in case["files"].items() if n == "a.png"):
            _ends_well(folder, case)
        return
    if result.exit_code != 2 or len(said) != 1 or not said[0].startswith("error: "):
        raise Broken(f"exit code {result.exit_code}, and {result.stderr[-1500:]!r}")
    check_line(said[0])
    raise KintsugiError(said[0])


def _ends_well(folder: Path, case: dict[str, Any]) -> None:
    """The good picture has a result that can be read, of its size."""
    suffix = ".jpg" if ".jpg" in case["words"] else ".png"
    with Image.open(folder / "out" / f"a{suffix}") as image:
        if image.size != (8, 8):
            raise Broken(f"a result of {image.size}")


GOOD: dict[str, Any] = {
    "files": {"a.png": GOOD_PICTURE}, "links": [], "there": {}, "there_links": [], "again": True, "words": ()
}  # fmt: skip
# Each picture of the folder has a second.
FOLDERS = Door("folders", folders(), act, GOOD, seconds=5.0)
DOORS = (FOLDERS,)

test_folders = passes(FOLDERS)


def test_records_of_failures_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    from kintsugi.cli.manifest import Manifest

    manifest = Manifest(tmp_path, {})
    for number, content in enumerate((*RECORDS, json.dumps({"name": "a.png", "reason": "why"}).encode())):
        (tmp_path / ".kintsugi/failed" / f"{number}.json").write_bytes(content)
    assert manifest.failures()["a.png"] == "why"
    assert len(manifest.failures()) == len(RECORDS) + 1


@pytest.mark.parametrize("link", OUTPUT_LINKS[:1] + OUTPUT_LINKS[2:3] + OUTPUT_LINKS[-1:])
def test_nothing_is_written_through_a_link_that_leads_out(link: tuple[str, str]) -> None:
    files = {"a.png": GOOD_PICTURE, "sub/a.png": GOOD_PICTURE}
    assert judge(FOLDERS, GOOD | {"files": files, "there_links": [link]}).outcome == "KintsugiError"


@pytest.mark.parametrize("name", ["\udcff.png", "new\nline.png", "\x1b[2J.png"])
def test_names_of_any_bytes_are_restored_and_written_out(name: str) -> None:
    assert judge(FOLDERS, GOOD | {"files": {name: GOOD_PICTURE, "a.png": GOOD_PICTURE}}).outcome == "result"
