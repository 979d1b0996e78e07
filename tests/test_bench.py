"""``kintsugi bench``: what a suite may say, what a row is, and runs that are killed, shared and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import kintsugi
from kintsugi.errors import InvalidFile
from kintsugi.oracles import distance, oracle
from test_cli import done, refused

parquet = pytest.importorskip("pyarrow.parquet")
bench = pytest.importorskip("kintsugi.bench")
row_files = bench.store.row_files

ORACLES: dict[str, Any] = {
    "name": "small",
    "oracles": ["gaussian-mask", "line"],
    "samplers": ["ddnm", {"name": "cpigdm", "settings": {"w": 12.0}, "steps": [3]}, "mcg"],
    "steps": [2, 4],
    "seeds": [0, 1],
    "samples": 16,
}
# What depends on the machine and not on the row.
LOOSE = {"seconds", "peak_mib", "versions"}


def write(folder: Path, suite: dict[str, Any], name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(suite))
    return path


def read(folder: Path) -> dict[str, dict[str, Any]]:
    found = [row for path in row_files(folder) for row in parquet.read_table(path).to_pylist()]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def same(a: dict[str, dict[str, Any]], b: dict[str, dict[str, Any]]) -> None:
    """Equal rows, but for what the machine decides."""
    assert a.keys() == b.keys()
    for id in a:
        assert {k: v for k, v in a[id].items() if k not in LOOSE} == {k: v for k, v in b[id].items() if k not in LOOSE}


def pictures(model: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "pictures",
        "priors": [str(model)],
        "images": {"scale": 0.5, "crop": 32},
        "problems": [
            {"name": "sr", "operator": "bicubic", "factor": 4},
            {"name": "holes", "operator": "random", "keep": 0.5, "noise": 0.1},
        ],
        "samplers": ["ddnm", "mcg"],
        "steps": [2],
        "metrics": ["psnr", "consistency"],
        **more,
    }


# --- suites -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samplers": ["ddnn"]}, "samplers.0: sampler 'ddnn': expected one of kintsugi"),
        ({"samplers": [{"name": "cpigdm", "settings": {"w": -1}}]}, "samplers.0: sampler 'cpigdm': w: expected"),
        ({"samplers": [{"name": "ddnm", "settings": {"zeta": 1}}]}, "samplers.0: sampler 'ddnm'"),
        ({"samplers": []}, "samplers: List should have at least 1 item"),
        ({"steps": [0]}, "steps.0: Input should be greater than or equal to 1"),
        ({"stepz": [5]}, "stepz: Extra inputs are not permitted"),
        ({"oracles": ["gaussian"]}, "oracles: 'gaussian': expected some of gaussian-mask"),
        ({"oracles": []}, "suite: expected either problems"),
        ({"samples": 1}, "suite: samples: oracles need at least 2"),
        ({"metrics": ["psnr"]}, "suite: oracles have no images"),
        ({"name": "a/b"}, "name: String should match"),
        ({"seeds": [1, 1]}, "suite: the same twice"),
    ],
)
def test_mistakes_in_a_suite_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path, ORACLES | change)
    with pytest.raises(InvalidFile) as caught:
        bench.load_suite(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert refused("bench", path, "-o", tmp_path / "run").startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_suites(tmp_path: Path) -> None:
    for content in ("a: [", "just words", "- a\n- b\n", ""):
        (tmp_path / "x.yaml").write_text(content)
        with pytest.raises(InvalidFile):
            bench.load_suite(tmp_path / "x.yaml")
    with pytest.raises(InvalidFile, match=r"those that come with the package: .*deepinv, faces"):
        bench.load_suite(Path("nothing"))


def test_the_suites_of_the_package_are_good() -> None:
    names = bench.available_suites()
    assert {"oracle", "photo", "photo-quick", "faces", "deepinv", "papers-cpigdm-imagenet"} <= names.keys()
    for name in names:
        assert bench.load_suite(Path(name)).name == name
    listed = done("bench", "--list").splitlines()
    assert [line.split()[0] for line in listed] == list(names)
    assert all(title and line.endswith(title) for line, title in zip(listed, names.values(), strict=True))


def test_an_id_is_what_decides_a_result() -> None:
    suite = bench.Suite.model_validate(ORACLES)
    rows = list(bench.rows(suite, {}))
    assert len(rows) == 2 * (2 * 2 + 1 * 2 + 2 * 2)
    assert len({row.id for row in rows}) == len(rows)
    other = bench.Suite.model_validate(ORACLES | {"name": "other", "title": "x", "oracles": ["line", "phase"]})
    assert len({row.id for row in rows} & {row.id for row in bench.rows(other, {})}) == len(rows) // 2
    more = bench.Suite.model_validate(ORACLES | {"samples": 17})
    assert not {row.id for row in rows} & {row.id for row in bench.rows(more, {})}
    photos = bench.Suite.model_validate(pictures(Path("photo")))
    ids = [{row.id for row in bench.rows(photos, {"a": digest})} for digest in ("0", "1")]
    assert not ids[0] & ids[1]  # another picture of the same name


def test_a_slow_method_may_have_fewer_images() -> None:
    slow = ["ddnm", {"name": "dps", "steps": [20]}, {"name": "dps", "steps": [1000], "limit": 2}]
    suite = bench.Suite.model_validate(pictures(Path("photo"), samplers=slow))
    found = [(row.image, row.steps) for row in bench.rows(suite, dict.fromkeys("abc", "0")) if row.problem == "sr"]
    assert found == [(image, steps) for image in "abc" for steps in (2, 20, 1000) if (image, steps) != ("c", 1000)]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_rows_of_oracles_are_the_distances(tmp_path: Path) -> None:
    suite = bench.load_suite(write(tmp_path, ORACLES))
    assert bench.run(suite, tmp_path / "run", say=lambda line: None) == 20
    found = read(tmp_path / "run")
    assert len(found) == 20
    row = next(
        r for r in found.values() if r["sampler"] == "cpigdm (w=12.0)" and r["problem"] == "line" and r["seed"] == 1
    )
    known = oracle("line")
    drawn = kintsugi.restore(known.problem, known.prior, "cpigdm", steps=3, samples=16, seed=1, batch=16, w=12.0)
    expected = distance(drawn.samples[0], known, generator=1)
    assert row["metric.sliced"] == expected.sliced
    assert row["metric.mean"] == expected.mean
    assert (row["forwards"], row["vjps"], row["steps"], row["status"]) == (3, 3, 3, "done")
    said = json.loads(row["versions"])
    assert said["kintsugi"] == kintsugi.__version__
    assert {"torch", "python", "commit", "device"} <= said.keys()
    # A hard projection and noise: refused, with the reason, and not tried again.
    noisy = bench.load_suite(write(tmp_path, ORACLES | {"oracles": ["phase"], "samplers": ["ddnm"]}))
    assert bench.run(noisy, tmp_path / "phase", say=lambda line: None) == 4
    assert {(r["status"], r["message"][:28]) for r in read(tmp_path / "phase").values()} == {
        ("refused", "operator: expected a linear ")
    }
    assert bench.run(noisy, tmp_path / "phase", say=lambda line: None) == 0


def test_rows_of_pictures_are_restorations(model: Path, tmp_path: Path) -> None:
    suite = bench.load_suite(write(tmp_path, pictures(model, keep_images=True)))
    ahead = bench.plan(suite, tmp_path / "run")
    assert (ahead.total, ahead.left, ahead.missing) == (8, 8, {})
    assert ahead.seconds is not None
    assert 0 < ahead.seconds < 60
    bench.run(suite, tmp_path / "run", say=lambda line: None)
    found = read(tmp_path / "run")
    row = next(r for r in found.values() if (r["image"], r["problem"], r["sampler"]) == ("lighthouse", "holes", "mcg"))
    from kintsugi.bench.pictures import Pictures

    truth = Pictures(suite.images).load("lighthouse")
    assert truth.shape == (3, 32, 32)
    problem = suite.problems[1].simulate(truth, "lighthouse")
    assert problem.noise == 0.1
    mine = kintsugi.restore(problem, model, "mcg", steps=2, tile=None)
    x = mine.samples[0, 0].clamp(-1, 1)
    assert row["metric.psnr"] == pytest.approx(float(10 * torch.log10(4 / (x - truth).square().mean())), abs=1e-4)
    names = {path.name for path in (tmp_path / "run/images").iterdir()}
    assert {f"{id}.png" for id in found} <= names
    assert {"truth-parrots.png", "y-holes-parrots.png"} <= names
    assert bench.plan(suite, tmp_path / "run").left == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_the_peak_is_that_of_the_block() -> None:
    from kintsugi.bench.memory import Peak

    with Peak("cpu") as before:
        pass
    with Peak("cpu") as large:
        torch.ones(2**26).sum()  # 256 MiB
    with Peak("cpu") as after:
        pass
    assert large.mib - before.mib == pytest.approx(256, abs=30)
    assert after.mib - before.mib < 30


def test_masks_and_noise_depend_on_the_picture_alone() -> None:
    suite = bench.Suite.model_validate(pictures(Path("photo")))
    x = torch.zeros(3, 32, 32)
    a, b, c = (suite.problems[1].simulate(x, name) for name in ("one", "one", "two"))
    assert torch.equal(a.y, b.y)
    assert not torch.equal(a.y, c.y)


def test_what_cannot_be_is_said_before_anything_runs(model: Path, tmp_path: Path) -> None:
    for change, said in (
        ({"images": {"crop": 4000}}, "less than the crop of 4000"),
        ({"priors": ["nothing-here"]}, "prior: expected one of"),
        ({"metrics": ["psnrr"]}, "psnrr"),
        ({"metrics": ["diversity"]}, "samples"),
        ({"metrics": ["ms_ssim"]}, "176"),
        ({"images": {"folder": str(tmp_path / "none")}}, "none"),
        ({"problems": [{"name": "all", "operator": "box", "size": 32}]}, "mask"),
    ):
        path = write(tmp_path, pictures(model) | change)
        assert said in refused("bench", path, "-o", tmp_path / "run")
    assert not list(tmp_path.glob("run/rows/*"))


def test_a_folder_holds_one_suite(tmp_path: Path) -> None:
    path, folder = write(tmp_path, ORACLES | {"oracles": ["line"]}), tmp_path / "run"
    assert "10 rows, 10 to do" in done("bench", path, "-o", folder, "--dry-run")
    assert not folder.exists()
    done("bench", path, "-o", folder)
    assert "10 rows, 0 to do" in done("bench", path, "-o", folder)
    write(tmp_path, ORACLES)
    assert "another suite" in refused("bench", path, "-o", folder)


# --- killed, and shared -----------------------------------------------------------------------------------------------


def start(path: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "kintsugi", "bench", str(path), "-o", str(folder), *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows of a run that nothing disturbed, by a process like the others: more threads round otherwise."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(write(folder, ORACLES), folder / "run").wait() == 0
    return read(folder / "run")


def test_a_run_that_is_killed_goes_on(whole: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path, folder = write(tmp_path, ORACLES), tmp_path / "run"
    for least in (1, 7, 12):
        process = start(path, folder)
        while process.poll() is None and len(row_files(folder)) < least:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen = read(folder)  # whole rows only, at whatever moment
        same(seen, {id: whole[id] for id in seen})
    before = {path: path.stat().st_mtime_ns for path in row_files(folder)}
    assert start(path, folder).wait() == 0
    same(read(folder), whole)
    assert not list(folder.glob("rows/.*"))  # nor is anything half-written left
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was done twice


def test_workers_share_a_run(whole: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path, folder = write(tmp_path, ORACLES), tmp_path / "run"
    processes = [start(path, folder) for _ in range(2)]
    while not row_files(folder):
        time.sleep(0.01)
    processes[0].kill()  # a lost worker: the other does its row as well
    assert processes[1].wait() == 0
    processes[0].wait()
    assert start(path, folder, "--workers", "2").wait() == 0
    same(read(folder), whole)


def test_a_row_that_somebody_is_at_is_left_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kintsugi.bench.store import Store

    suite = bench.load_suite(write(tmp_path, ORACLES | {"oracles": ["line"]}))
    store = Store(tmp_path / "run", suite.model_dump(mode="json"))
    taken = next(bench.rows(suite, {})).id
    with store.claim(taken) as ours:
        assert ours
        with store.claim(taken) as again:
            assert not again
        words = [sys.executable, "-m", "kintsugi", "bench", str(tmp_path / "suite.yaml"), "-o", str(tmp_path / "run")]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert len(read(tmp_path / "run")) == 9
    assert taken not in read(tmp_path / "run")
    # One that stays, as under `accelerate launch`, does the row of a process that is lost.
    lock, sleep, waits = store.claims.take(taken), time.sleep, []

    def wait(seconds: float) -> None:
        if seconds < 1:  # of subprocess, which asks git for the commit
            return sleep(seconds)
        waits.append(seconds)
        lock.release()
        return None

    monkeypatch.setattr(time, "sleep", wait)
    assert bench.run(suite, tmp_path / "run", stay=True, say=lambda line: None) == 1
    assert len(waits) == 1
    assert len(read(tmp_path / "run")) == 10
