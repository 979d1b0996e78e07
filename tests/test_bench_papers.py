"""The suites of faces and of the papers, to the end: every entry, on a tiny model and tiny pictures, in few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import kintsugi
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.noise import RowNoise
from kintsugi.priors import load_prior
from kintsugi.priors.known import KNOWN
from kintsugi.priors.network import NetworkPrior, save_model
from kintsugi.priors.oracles import GaussianPrior
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM, Schedule, make_sampler
from test_cli import refused

pytest.importorskip("pyarrow")
bench = pytest.importorskip("kintsugi.bench")
from kintsugi.bench.measures import missing_metrics  # noqa: E402
from kintsugi.bench.methods import make_method  # noqa: E402
from kintsugi.bench.pictures import Pictures  # noqa: E402
from kintsugi.bench.report import read_rows, report  # noqa: E402
from kintsugi.bench.sets import read_sets  # noqa: E402
from kintsugi.bench.suite import suite_path  # noqa: E402

SIDE = 24
PAPERS = [name for name in bench.available_suites() if name.startswith("papers-")]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two pictures with a list of their names, and a file of masks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("stand-ins")
    save_model(NetworkPrior(UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=16))), folder / "tiny.safetensors")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((2 * SIDE, 2 * SIDE))
        smooth.save(folder / "images" / f"{name}.png")
    (folder / "names.txt").write_text("n0/b.JPEG 3\nn1/a.JPEG 1\n")
    masks = (rng.random((3, SIDE, SIDE)) < 0.2).astype(np.uint8)
    np.savez(folder / "masks.npz", **{"10-20% freeform": masks, "20-30% freeform": masks})
    return folder


def shrunk(name: str, folder: Path) -> Any:
    """The suite with stand-ins for its model, pictures and masks, in 2 steps (3 where a method stands twice)."""
    content: dict[str, Any] = yaml.safe_load(suite_path(Path(name)).read_text())
    images = {"folder": str(folder / "images"), **content["images"]}
    for key, value in (("names", str(folder / "names.txt")), ("size", SIDE), ("crop", SIDE)):
        if key in images:
            images[key] = value
    problems = [{**p, **({"file": str(folder / "masks.npz")} if "file" in p else {})} for p in content["problems"]]
    samplers, seen = [], set()
    for entry in content["samplers"]:
        spec = {"name": entry} if isinstance(entry, str) else dict(entry)
        where = (spec["name"], spec.get("label"), tuple(spec.get("problems", ())))
        spec["steps"] = [3 if where in seen else 2]
        seen.add(where)
        samplers.append(spec)
    if name == "faces":
        images["limit"] = 1  # many rows
    for_sets = {"features": "test_bench_sets:colours"} if content.get("set_metrics") else {}
    changed = {"priors": [str(folder / "tiny.safetensors")], "images": images, "problems": problems}
    small = bench.Suite.model_validate({**content, **changed, **for_sets, "samplers": samplers, "steps": [2]})
    # What needs weights that are not here, or pictures of 176 pixels.
    gone = {word.split()[1] for word in missing_metrics(small)} | {"ms_ssim"}
    return small.model_copy(update={"metrics": [metric for metric in small.metrics if metric not in gone]})


@pytest.mark.parametrize("name", [*PAPERS, "faces"])
def test_every_entry_of_a_suite_runs(name: str, stand_ins: Path, tmp_path: Path) -> None:
    suite, run = shrunk(name, stand_ins), tmp_path / "run"
    bench.run(suite, run, say=lambda line: None)
    rows = read_rows(run)
    assert [(row["sampler"], row["problem"], row["message"]) for row in rows if row["status"] != "done"] == []
    names = ["a"] if name == "faces" else ["a", "b"]
    wanted = {
        (spec.shown, problem.name, image)
        for spec in suite.samplers
        for problem in suite.problems
        if spec.problems is None or problem.name in spec.problems
        for image in names
    }
    assert {(row["sampler"], row["problem"], row["image"]) for row in rows} == wanted
    assert all(row["metric.psnr"] > 0 for row in rows)
    sets = read_sets(run)
    assert len(sets) == (len(rows) // 2 if suite.set_metrics else 0)
    assert all(entry["images"] == 2 and entry["metric.fid"] >= 0 for entry in sets)
    if name == "papers-cpigfm-celebahq":
        pytest.importorskip("jinja2")
        text = report(run)[1].read_text()
        assert all(f"## {problem.name}" in text for problem in suite.problems)
        assert "fid ↓ (pictures)" in text


def value(run: Path, **where: Any) -> float:
    found = [row for row in read_rows(run) if all(row[key] == v for key, v in where.items())]
    assert len(found) == 1
    return float(found[0]["metric.psnr"])


def psnr(x: torch.Tensor, truth: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (x.clamp(-1, 1) - truth).double().square().mean()))


def test_rows_are_the_methods_with_the_settings_of_the_file(stand_ins: Path, tmp_path: Path) -> None:
    """A row of each kind of entry, made again by hand."""
    prior, run = load_prior(stand_ins / "tiny.safetensors"), tmp_path / "run"
    suite = shrunk("papers-cpigdm-imagenet", stand_ins)
    bench.run(suite, run, say=lambda line: None)
    truth = Pictures(suite.images).load("b")
    problems = {problem.name: problem.simulate(truth, "b") for problem in suite.problems}
    assert problems["sr4-noisy"].noise == 0.1
    uniform = Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
    for sampler, problem, method in (
        ("C-PiGDM", "sr4", CPiGDM(w=15.0, tau=0.6)),
        ("C-PiGDM", "sr4-noisy", CPiGDM(w=2.0, tau=0.6, lam=-0.15)),
        ("C-PiGDM", "inpaint", CPiGDM()),
        ("PiGDM", "gaussian", make_sampler("pigdm", w=6.0, tau=0.6)),
        ("DDRM", "sr4", make_sampler("ddrm", schedule=uniform)),
    ):
        x = kintsugi.restore(problems[problem], prior, method, steps=2, tile=None).samples[0, 0]
        assert value(run, sampler=sampler, problem=problem, image="b") == pytest.approx(psnr(x, truth), abs=1e-3)


def test_red_diff_is_the_update_of_its_code(stand_ins: Path) -> None:
    """Their means over image and measurement, one step of Adam a level, noise as the library draws it."""
    suite = shrunk("papers-reddiff-imagenet", stand_ins)
    spec = next(s for s in suite.samplers if s.name == "reddiff" and s.problems == ["phase"])
    n = torch.arange(3 * 8 * 8, dtype=torch.float64)
    prior = GaussianPrior((3, 8, 8), 0.1 * torch.exp(-(n[:, None] - n).abs() / 3))
    truth = prior.sample(1, torch.Generator().manual_seed(0))[0]
    problem: Problem = next(p for p in suite.problems if p.name == "phase").simulate(truth, "a")
    method = make_method(spec.name, spec.settings)
    with torch.no_grad():
        mine = method.run(prior, problem, 3, RowNoise([(0, 0, 0)]), lambda done, total: None)
    noise = RowNoise([(0, 0, 0)])
    mu = (prior.data_variance**0.5 * noise.normal(truth.shape, problem.y)).requires_grad_()
    # Our gradient is larger by the number of readings and the square of the scale, which Adam's epsilon can tell.
    optimizer = torch.optim.Adam([mu], lr=0.5, betas=(0.9, 0.99), eps=1e-8 / (2.25 * problem.y.numel()))
    for level in Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time").levels(prior, 3)[:-1]:
        eps = noise.normal_like(mu.detach())
        with torch.no_grad():
            z = mu + level * eps
            estimate = (z - prior.denoise(z, torch.tensor([level], dtype=torch.float64))) / level
        optimizer.zero_grad()
        # The modulus of their transform, which is divided by the root of the padded number of samples.
        padded = torch.nn.functional.pad(mu, (2,) * 4)
        modulus = torch.fft.fft2(padded, norm="ortho").abs()
        loss = ((problem.y / 1.5 - modulus) ** 2).mean() / 2 + 0.25 * level * ((estimate - eps) * mu).mean()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(mine, mu.detach(), atol=1e-6, rtol=1e-6)


def test_checkpoints_are_those_of_load_prior() -> None:
    for name in PAPERS:
        (prior,) = bench.load_suite(Path(name)).priors
        assert prior.partition(":")[0] in KNOWN
        assert (":" in prior) == KNOWN[prior.partition(":")[0]].by_hand


def test_what_is_missing_is_said(stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    images = stand_ins / "images"
    faces = yaml.safe_load(suite_path(Path("faces")).read_text())
    (tmp_path / "faces.yaml").write_text(yaml.safe_dump({**faces, "priors": ["no-face"], "images": {"crop": SIDE}}))
    said = refused("bench", tmp_path / "faces.yaml", "-o", tmp_path / "run", "--images", images)
    assert "got no-face" in said  # so it is of "face" until that comes with the package
    assert "sr3_top1k.txt" in refused("bench", "papers-cpigdm-imagenet", "-o", tmp_path / "run", "--images", images)
    content = yaml.safe_load(suite_path(Path("papers-cpigdm-ffhq")).read_text())
    with pytest.raises(InvalidFile, match=r"imagenet_freeform_masks\.npz"):
        bench.plan(bench.load_suite(Path("papers-cpigdm-ffhq"), images), tmp_path / "run")
    content["problems"] = content["problems"][:1]
    content["samplers"] = ["cpigdm"]
    content["images"]["folder"] = str(images)
    with pytest.raises((InvalidArgument, InvalidFile), match=r"lpips|ms_ssim|fid|ffhq_10m\.pt"):
        bench.run(bench.Suite.model_validate(content), tmp_path / "run")
    assert not (tmp_path / "run").exists()
