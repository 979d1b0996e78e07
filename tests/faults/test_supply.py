"""What the library brings along and whom it talks to: bounded dependencies, free licences, no network, no telemetry."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import kintsugi
from conftest import draw_picture
from kintsugi.operators import Mask
from kintsugi.optional import NO_TELEMETRY, optional
from kintsugi.problem import Problem
from test_cli import done

ROOT = Path(__file__).parents[2]
NAME = "kintsugi-diffusion"


# --- the network ------------------------------------------------------------------------------------------------------


class NetworkUsed(BaseException):
    """Not an Exception: nobody is to swallow it."""


# The interpreter tells a hook of each of these, whatever module calls them, and a hook cannot be taken away.
_TALK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")
_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _TALK:
        where = arguments[-1] if event == "socket.connect" else arguments
        if isinstance(where, str | bytes):  # a socket in the file system: another process of this machine
            return
        raise NetworkUsed(f"{event} {where}")


sys.addaudithook(_hook)


@pytest.fixture
def no_network() -> Iterator[None]:
    global _watching
    _watching = True
    yield
    _watching = False


def test_the_guard_guards(no_network: None) -> None:
    with pytest.raises(NetworkUsed, match="getaddrinfo"):
        socket.create_connection(("localhost", 9))
    with socket.socket() as plain, pytest.raises(NetworkUsed, match="connect"):
        plain.connect(("127.0.0.1", 9))


def test_restoring_and_loading_make_no_connection(no_network: None, model: Path, tmp_path: Path) -> None:
    x = torch.zeros(1, 3, 16, 16)
    stated = Problem.simulate(x, Mask(torch.rand(16, 16) > 0.5, (3, 16, 16)), 0.05)
    for prior in ("photo", str(model), model):
        kintsugi.restore(stated, kintsugi.load_prior(prior), steps=1)
    picture = tmp_path / "in.png"
    draw_picture((32, 32), 0).save(picture)
    done("restore", picture, "-t", "sr", "-o", tmp_path / "out.png", "--prior", model, "--steps", 1)
    done("priors")
    done("info", model)


def test_benchmarks_make_no_connection(no_network: None, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    pytest.importorskip("pyarrow")
    suite: dict[str, Any] = {
        "name": "small",
        "priors": [str(model)],
        "images": {"scale": 0.5, "crop": 32},
        "problems": [{"name": "sr", "operator": "bicubic", "factor": 4}],
        "samplers": ["ddnm"],
        "steps": [1],
        "metrics": ["psnr"],
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    done("bench", path, "-o", tmp_path / "run")
    done("report", tmp_path / "run", "-o", tmp_path / "report.html")


def test_training_makes_no_connection(no_network: None, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    for seed in range(2):
        draw_picture((32, 32), seed).save(tmp_path / f"{seed}.png")
    words = ["--steps", 1, "--batch", 1, "--crop", 16, "--widths", "4,4", "--blocks", "1,1"]
    words += ["--set", "validation_levels=(0.1,)", "--set", "validation_crops=1"]
    done("train", tmp_path, "-o", tmp_path / "run", *words)


def test_tuning_makes_no_connection(no_network: None, pictures: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    plan = {
        "name": "small",
        "prior": str(model),
        "images": {"folder": str(pictures), "held_out": False, "at_least": 36, "crop": 32, "crops": 1},
        "problems": [{"name": "holes", "operator": "random", "keep": 0.5, "noise": 0.1}],
        "samplers": ["ddrm"],
        "steps": [1],
        "trials": 2,
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    done("tune", path, "-o", tmp_path / "preset.yaml")


def test_a_folder_of_diffusers_makes_no_connection(no_network: None, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    net = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(net, diffusers.DDPMScheduler(clip_sample=False)).save_pretrained(tmp_path)
    prior = kintsugi.load_prior(tmp_path)
    assert prior.denoise(torch.zeros(1, 3, 8, 8), torch.ones(1)).shape == (1, 3, 8, 8)


def test_with_the_network_off(tmp_path: Path) -> None:
    """A process in a network of its own, without so much as a loopback device: import, restore, the command line."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs Linux and the right to make a network namespace")
    draw_picture((32, 32), 0).save(tmp_path / "in.png")
    words = ["restore", "in.png", "-t", "denoise", "-o", "out.png", "--steps", "1"]
    command = [unshare, "-n", sys.executable, "-m", "kintsugi", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.png").exists()


# --- telemetry --------------------------------------------------------------------------------------------------------


def test_what_is_imported_is_told_not_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in NO_TELEMETRY:
        monkeypatch.delenv(variable, raising=False)
    optional("math", "images")
    assert {variable: os.environ[variable] for variable in NO_TELEMETRY} == NO_TELEMETRY
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    optional("math", "images")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


def test_packages_obey() -> None:
    """As they read the variables in a process of their own: the names are theirs, and may change."""
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("ray")
    code = (
        "from kintsugi.optional import optional\n"
        "hub = optional('huggingface_hub', 'diffusers')\n"
        "optional('ray', 'ray')\n"
        "from huggingface_hub import constants\n"
        "from ray._common.usage import usage_lib\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY, usage_lib.usage_stats_enabled())\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in NO_TELEMETRY}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert result.stdout.split() == ["True", "False"], result.stderr


# --- dependencies -----------------------------------------------------------------------------------------------------


def stated() -> Iterator[tuple[str, Requirement]]:
    """Every requirement of pyproject.toml with the extra it stands in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, lines in groups.items():
        for line in lines:
            requirement = Requirement(line)
            if requirement.name != NAME:
                yield extra, requirement


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the checkout")
@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lowest.txt"])
def test_every_dependency_has_bounds_that_its_tested_versions_keep(file: str) -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    pins = {Requirement(line).name.lower(): Requirement(line) for line in lines if line}
    for extra, requirement in stated():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, f"{requirement} of [{extra}]: a lower and an upper bound"
        pin = pins.get(requirement.name.lower())
        if pin is None:
            continue
        (exact,) = pin.specifier
        assert requirement.specifier.contains(exact.version, prereleases=True), f"{file}: {pin} is not in {requirement}"
        lowest = next(Version(s.version) for s in requirement.specifier if s.operator == ">=")
        if file == "constraints-lowest.txt" and requirement.name != "torch":
            assert Version(exact.version) == lowest, f"{file}: {pin} is not the lowest of {requirement}"


# --- licences ---------------------------------------------------------------------------------------------------------

# Words in what a package says of its licence; any of them will do.
_FREE = re.compile(
    r"\b(mit|0?bsd|apache|python-2\.0|psf|python software foundation|isc|iscl|mpl|mozilla|hpnd|zlib|unlicense|cc0|boost"
    r"|lgpl|lgplv[23]|lesser general public|public domain)\b"
)
# Named exceptions: (who brings it, why it may).
EXCEPTIONS = {
    "astra-toolbox": "GPLv3: only in [ct], imported where tomography asks for it; nothing of it is in this package",
    "nvidia-": "proprietary, redistributable: libraries that astra-toolbox and CUDA builds of torch bring",
    "cuda-": "NVIDIA's licence: as above",
    "triton": "MIT in its wheel's licence file",
}


def licence(name: str) -> str:
    """What an installed package says of its licence, in small letters."""
    from importlib.metadata import metadata

    said = metadata(name)
    classifiers = [c for c in said.get_all("Classifier") or [] if c.startswith("License")]
    return " ".join([said.get("License-Expression") or "", (said.get("License") or "")[:200], *classifiers]).lower()


def brought(extras: set[str]) -> set[str]:
    """The names of installed packages that the package itself, with these extras, brings along."""
    found: set[str] = set()
    waiting = [(NAME, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # not installed, or for another system
            continue
        found.add(name.lower())
        for line in lines:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found - {NAME}


def extras() -> list[str]:
    """Of what a user installs; tests, tools and pages come with nothing that is shipped."""
    if not (ROOT / "pyproject.toml").exists():
        return []
    return sorted({extra for extra, _ in stated()} - {"", "test", "dev", "docs"})


@pytest.mark.parametrize("extra", ["", *extras()])
def test_licences_are_free(extra: str) -> None:
    try:
        version(NAME)
    except PackageNotFoundError:
        pytest.skip("not installed as a package")
    names = brought({extra} if extra else set())
    assert "torch" in names
    doubtful = {
        name: licence(name) or "nothing said"
        for name in sorted(names)
        if not _FREE.search(licence(name)) and not name.startswith(tuple(EXCEPTIONS))
    }
    assert doubtful == {}
    if extra != "ct":
        assert not any(name.startswith("astra") for name in names)
