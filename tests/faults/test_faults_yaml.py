"""Hostile YAML: suites of ``kintsugi bench``, plans of ``kintsugi tune``, presets."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from corrupt import damaged
from hypothesis import strategies as st
from judge import Broken, Door, passes

from kintsugi.bench import load_suite
from kintsugi.bench.suite import rows
from kintsugi.presets import Place, load_preset
from kintsugi.tune import load_plan
from kintsugi.tune.plan import cases as searches

SUITE = {
    "name": "a", "images": {"folder": "folder"}, "steps": [2, 5], "seeds": [0], "metrics": ["psnr"], "samples": 1,
    "problems": [{"name": "sr4", "operator": "bicubic", "factor": 4, "noise": 0.05},
                 {"name": "g", "operator": "gaussian", "sigma": 2.0}],
    "samplers": ["kintsugi", {"name": "cpigdm", "settings": {"w": 10.0}, "steps": [3]}],
}  # fmt: skip
PLAN = {
    "name": "a", "prior": "photo", "images": {"folder": "folder", "crop": 32}, "samplers": ["cpigdm"], "steps": [5],
    "trials": {5: 2}, "objective": {"psnr": 1.0}, "seed": 0,
    "problems": [{"name": "sr4", "operator": "bicubic", "factor": 4}],
}  # fmt: skip
PRESET = {
    "name": "a", "summary": "s", "prior": {"name": "photo", "digest": "0"},
    "entries": [{"sampler": "cpigdm", "operator": "bicubic", "factor": 4, "noise": 0.0, "steps": 5,
        "settings": {"w": 9.0}}],
}  # fmt: skip
ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**9, 10**40, 1e308, float("nan"), float("inf"), "",
    "kintsugi", "../x",
                        "x" * 3000, "a\nb", "\x1b[1m", [], [1], [[]], {}, {1: 2}, {"a": {"b": 1}}, ["kintsugi",
                            "kintsugi"],
                        "psnr", "bicubic", "mask", "random", "cpigdm", [None], b"\0")  # fmt: skip
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)
TEXTS = (
    "", "- a", "a", "a: b: c", "\t", "%YAML 9.9\n---\na: 1", "a: &a [*a]", "a: &a {b: *a}\nsamplers: *a", LAUGHS,
    LAUGHS + "samplers: *i\nname: a\nsteps: *i", "[" * 5000, "{a: " * 3000, "a: " + "9" * 5000,
        "a: 2001-99-99", "a: !!bool x",
    "a: !!int x", "a: !!float x", "a: !!timestamp x", "a: !!binary '*'", "? [1]\n: 2", "? {}\n: 2", "<<: 1",
        "<<: [1]", "a: 0x",
    "!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "a: !!set {b}", "a: !!omap [b: 1]",
    "a: 1:99:99", "a: 0b", "a: .", "\ufeffname: a", "name: a\0", "---\na: 1\n---\nb: 2", "a: 1\na: 2", "x" * 600_000,
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn, good: dict[str, Any]) -> bytes:
    """A good document with odd values in it, damaged bytes, or one made by hand."""
    way = draw(st.integers(0, 5))
    if way == 0:
        return draw(st.sampled_from(TEXTS)).encode()
    if way == 1:
        return draw(damaged(yaml.safe_dump(good).encode()))
    content = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 2))):
        place: Any = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if isinstance(place, dict):
                keys += ["new", "preset", "weights", "taps", "gain", "key", "limit", "label"]
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place.get(key) if isinstance(place, dict) else place[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            place[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
            break
    return yaml.safe_dump(content).encode()


def put(content: bytes, folder: Path) -> Path:
    path = folder / "a.yaml"
    path.write_bytes(content)
    return path


def suite(content: bytes, folder: Path) -> None:
    """A suite that is accepted has rows, each with an id, and every operator of it can be made or is refused."""
    found = load_suite(put(content, folder))
    try:
        ids = [row.id for _, row in zip(range(200), rows(found, {"picture": "0"}), strict=False)]
        for problem in found.problems:
            problem.make((3, 64, 64), "picture")
    finally:
        no_code_ran(folder)
    if len(set(ids)) != len(ids):
        raise Broken("two rows of one id")


def plan(content: bytes, folder: Path) -> None:
    found = load_plan(put(content, folder))
    for case, _ in zip(searches(found, "0", {"picture": "0"}), range(20), strict=False):
        if not case.id or found.trials_at(case.steps) < 1:
            raise Broken("a case without an id or trials")


def preset(content: bytes, folder: Path) -> None:
    """What a preset gives can be made a sampler of."""
    found = load_preset(put(content, folder))
    match = found.find("cpigdm", Place("bicubic", 4.0), 5)
    if match.sampler().name != "cpigdm" or not match.note or not isinstance(found.summary + found.prior, str):
        raise Broken("another sampler")


def no_code_ran(folder: Path) -> None:
    if {path.name for path in folder.iterdir()} != {"a.yaml"} or Path("ran").exists():
        raise Broken("files were made")


def door(name: str, good: dict[str, Any], act: Callable[[bytes, Path], None]) -> Door:
    text = yaml.safe_dump(good).encode()
    tricks = [b"a: &a [1]\nb: *a", b"? [1]\n: {<<: {a: !!int 1}}", b"a: |\n  b\nc: 1e9"]
    return Door(name, documents(good), act, text, files=lambda: [text, *tricks], from_bytes=bytes)


SUITES = door("suites", SUITE, suite)
PLANS = door("plans", PLAN, plan)
PRESETS = door("presets", PRESET, preset)
DOORS = (SUITES, PLANS, PRESETS)  # test_faults_suites.py has the tests of suites and plans

test_presets = passes(PRESETS)
