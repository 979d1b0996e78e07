"""Dividing work: units by cost, claims, processes of one command, and models that are carried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kintsugi.errors import InvalidArgument, Unfinished
from kintsugi.priors.carried import carry, model_digest, model_files
from kintsugi.work import Claims, Cluster, Unit, local, make_units, run_processes, target_cost, worker_device


def units(items: list[tuple[str, str, float]], target: float, most: int | None = None) -> list[Unit[Any]]:
    """Of items (family, group, cost)."""
    return make_units(items, key=lambda item: item[:2], cost=lambda item: item[2], target=target, most=most)


# --- units ------------------------------------------------------------------------------------------------------------


def test_small_groups_join_and_large_ones_are_cut() -> None:
    items = [("a", str(group), 1.0) for group in range(6) for _ in range(2)]  # six groups of cost 2
    found = units(items, 4.0)
    assert [unit.cost for unit in found] == [4.0, 4.0, 4.0]
    assert [item for unit in found for item in unit.items] == items  # in their order, groups whole
    found = units([("a", "0", 1.0)] * 10, 4.0)
    assert [len(unit.items) for unit in found] == [4, 3, 3]  # three parts of about the same cost, not 4, 4, 2


def test_the_heavy_ones_go_first_and_families_stay_together() -> None:
    items = [("light", "0", 1.0), ("heavy", "0", 2.0), ("light", "1", 2.0), ("heavy", "1", 9.0), ("heavy", "2", 4.0)]
    found = units(items, 3.0)
    assert [[item[:2] for item in unit.items] for unit in found] == [
        [("heavy", "1")],  # dearer than a unit should be, and not to be cut
        [("heavy", "2")],
        [("heavy", "0")],
        [("light", "0"), ("light", "1")],
    ]
    assert [unit.cost for unit in found] == [9.0, 4.0, 2.0, 3.0]


def test_no_unit_has_more_items_than_may_be() -> None:
    found = units([("a", "0", 0.0)] * 10 + [("a", "1", 0.0)] * 3, 5.0, most=4)
    assert sorted(len(unit.items) for unit in found) == [3, 3, 3, 4]
    assert sum(len(unit.items) for unit in units([("a", "0", 100.0), *[("a", "0", 0.1)] * 9], 10.0, most=4)) == 10


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.floats(0, 100)), max_size=40),
    st.floats(0.1, 300),
    st.none() | st.integers(1, 5),
)
def test_every_item_is_in_one_unit(items: list[tuple[str, str, float]], target: float, most: int | None) -> None:
    found = units(items, target, most)
    assert sorted(item for unit in found for item in unit.items) == sorted(items)
    for unit in found:
        assert unit.cost == pytest.approx(sum(item[2] for item in unit.items))
        assert len({item[0] for item in unit.items}) == 1
        assert most is None or 0 < len(unit.items) <= most
        # About the target: what is far above it is so because of one item.
        assert unit.cost <= target + max(item[2] for item in unit.items) + 1e-9


def test_mistakes_in_units() -> None:
    for target, most in ((0.0, None), (-1.0, None), (float("nan"), None), (1.0, 0)):
        with pytest.raises(InvalidArgument):
            units([("a", "0", 1.0)], target, most)
    for cost in (-1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidArgument, match="cost"):
            units([("a", "0", cost)], 1.0)
    assert units([], 1.0) == []


def test_the_cost_of_a_unit_follows_from_the_workers() -> None:
    assert target_cost(800.0, 2) == 50.0
    assert target_cost(1e6, 2) == 300.0  # no lost worker loses more than five minutes
    assert target_cost(1e6, 2, float("inf")) == 62500.0
    assert target_cost(0.0, 2) > 0


@pytest.mark.parametrize(
    "settings", [{"workers": 0}, {"cpus": 0}, {"gpus": -1}, {"gpus": float("nan")}, {"retries": -1}, {"patience": 1}]
)
def test_mistakes_in_a_cluster(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(settings))):
        Cluster(**settings)


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_is_one_process_s_until_it_ends_however(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "locks")
    code = (
        "import sys, time; from pathlib import Path; from kintsugi.work import Claims\n"
        "lock = Claims(Path(sys.argv[1])).take('a')\n"
        "print(lock is not None, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "locks")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    assert claims.take("a") is None
    assert not claims.died("b")
    with claims.claim("a") as ours, claims.claim("b") as other:
        assert not ours
        assert other
        assert claims.take("b") is None
    process.kill()
    process.wait()
    process.stdout.close()
    assert claims.died("a")
    with claims.claim("a") as ours:
        assert ours
    assert not claims.died("a")
    with claims.claim("b") as ours:
        assert ours


# --- processes --------------------------------------------------------------------------------------------------------

WORKER = """
import os, signal, sys
from pathlib import Path
from kintsugi.work import Claims
folder, mode, number = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
claims = Claims(folder / "locks")
for item in sorted(range(8), key=lambda item: claims.died(str(item))):
    with claims.claim(str(item)) as ours:
        if not ours or (folder / f"{item}.txt").exists():
            continue
        if mode == "dies" and item == 3 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "poison" and item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "wrong":
            sys.exit(2)
        with open(folder / f"{item}.txt", "x") as file:
            file.write(f"{number} {os.environ['OMP_NUM_THREADS']}")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and processes that run ``WORKER`` instead of the command line."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    popen = subprocess.Popen

    def start(words: list[str], **more: Any) -> subprocess.Popen[bytes]:
        assert words[:3] == [sys.executable, "-m", "kintsugi"]
        return popen([sys.executable, str(script), str(tmp_path), *words[3:]], **more)

    monkeypatch.setattr(local.subprocess, "Popen", start)
    return tmp_path


def left(folder: Path) -> int:
    return 8 - len(list(folder.glob("[0-9].txt")))


def test_processes_divide_the_work(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    looks: list[int] = []
    run_processes(lambda k: ["works", str(k)], 2, left=lambda: left(work), watch=lambda: looks.append(left(work)))
    written = [path.read_text().split() for path in work.glob("[0-9].txt")]
    assert len(written) == 8
    assert {number for number, _ in written} <= {"0", "1"}
    assert {threads for _, threads in written} == {"3"}  # each has its share of the six cores
    assert looks[-1] == 0


def test_what_a_lost_process_leaves_is_given_to_another(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_processes(lambda k: ["dies", str(k)], 2, left=lambda: left(work))
    assert left(work) == 0
    assert "1 of 2 workers ended with an error" in capfd.readouterr().err


def test_what_ends_every_process_ends_the_command(work: Path) -> None:
    with pytest.raises(Unfinished, match="1 of 1 workers ended with an error, with 1 items left"):
        run_processes(lambda k: ["poison", str(k)], 2, left=lambda: left(work))
    assert left(work) == 1  # all but the one that no process survives
    for path in work.glob("[0-9].txt"):
        path.unlink()
    with pytest.raises(Unfinished, match="2 of 2 workers ended with an error, with 8 items left"):
        run_processes(lambda k: ["wrong", str(k)], 2, left=lambda: left(work))


def test_each_process_has_a_gpu_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [worker_device("cuda", k) for k in range(4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert worker_device("auto", 1) == "cuda:1"
    assert worker_device("cuda:2", 0) == "cuda:2"
    assert worker_device("cpu", 1) == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert worker_device("auto", 1) == "auto"


def test_processes_of_accelerate_launch_have_their_own_device() -> None:
    pytest.importorskip("accelerate")
    code = "import json, os; from kintsugi.work import launched; print(json.dumps(launched('cpu')))"
    assert local.launched("cpu") is None
    base = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env={**base, "RANK": str(k), "LOCAL_RANK": str(k)}, stdout=subprocess.PIPE
        )
        for k in range(2)
    ]
    assert [json.loads(process.communicate(timeout=60)[0]) for process in processes] == ["cpu", "cpu"]
    assert [process.returncode for process in processes] == [0, 0]


def free_port() -> int:
    import socket

    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_is_carried_with_its_files(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(bytes(range(200)))
    carried = carry(str(file))
    file.unlink()
    with carried.here() as name:
        assert name != str(file)
        assert Path(name).suffix == ".safetensors"
        assert Path(name).read_bytes() == bytes(range(200))
    assert not Path(name).exists()
    folder = tmp_path / "pipeline"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/w.bin").write_bytes(b"weights")
    (folder / "index.json").write_text("{}")
    with carry(str(folder)).here() as name:
        assert {p.relative_to(name).as_posix(): p.read_bytes() for p in Path(name).rglob("*") if p.is_file()} == {
            "unet/w.bin": b"weights",
            "index.json": b"{}",
        }


def test_a_name_is_carried_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo").write_bytes(b"a file of the name of an embedded model")
    for name in ("photo", "imagenet-256", "owner/name", "ffhq-256:nothing.pt"):
        assert not model_files(name)
        with carry(name).here() as here:
            assert here == name
    (tmp_path / "own.pt").write_bytes(b"own")
    with carry("ffhq-256:own.pt").here() as here:
        short, _, path = here.partition(":")
        assert short == "ffhq-256"
        assert Path(path).read_bytes() == b"own"


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2"), ("d.ckpt", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (model_digest(str(tmp_path / name)) for name in ("a.pt", "b.pt", "c.pt", "d.ckpt"))
    assert a == b
    assert len({a, c, d, model_digest("photo"), model_digest("faces"), model_digest(f"ffhq-256:{tmp_path}/a.pt")}) == 6
    assert carry(str(tmp_path / "a.pt")) != carry(str(tmp_path / "c.pt"))
    assert hash(carry(str(tmp_path / "a.pt"))) == hash(carry(str(tmp_path / "a.pt")))
