"""Samples of a prior by itself, in Python and by ``kintsugi sample``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import kintsugi
from kintsugi.cli import app
from kintsugi.drawing import signal_shape
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Mask
from kintsugi.priors import GaussianPrior
from kintsugi.priors.base import Prior
from kintsugi.samplers.schedule import Schedule
from kintsugi.sounds import read_sound

SHAPE = (1, 2, 3)
ROOT = (
    torch.tril(torch.randn(6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)) / 3
    + torch.eye(6) / 4
)
MEAN = torch.linspace(-0.5, 0.5, 6, dtype=torch.float64)


def test_progress_says_that_it_draws(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.progress.EVERY", 0.0)
    kintsugi.sample(GaussianPrior(SHAPE, torch.eye(6)), steps=2, progress=True)
    assert capsys.readouterr().err.startswith("drawing: 1 of 2 steps")


@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_samples_of_a_gaussian_are_its_own(churn: float) -> None:
    """Mean and covariance of 3000 samples, in units of the prior's own."""
    prior = GaussianPrior(SHAPE, ROOT @ ROOT.T, MEAN.view(SHAPE))
    fine = Schedule(start="zero", eta=200.0, end=0.002)
    x = kintsugi.sample(prior, 3000, steps=300, churn=churn, schedule=fine, batch=3000).double().flatten(1)
    white = torch.linalg.solve_triangular(ROOT, (x - MEAN).T, upper=False)
    torch.testing.assert_close(white.mean(1), torch.zeros_like(MEAN), rtol=0, atol=0.06)
    torch.testing.assert_close(white.cov(), torch.eye(6, dtype=torch.float64), rtol=0, atol=0.12)


def test_samples_are_those_of_ddim(model: Path) -> None:
    """With the churn and the levels that were asked for; by default levels in units of the data's deviation, 0.5."""
    seen = torch.zeros(8, 12, dtype=torch.bool)
    seen[3, 4] = True
    problem = kintsugi.Problem(torch.ones(1, 3, 8, 12), Mask(seen, (3, 8, 12)))
    for given, eta, end in ((Schedule(start="zero", eta=9.0, end=0.1), 9.0, 0.1), (None, 50.0, 0.0015)):
        drawn = kintsugi.sample(model, 2, size=(8, 12), steps=4, churn=0.6, schedule=given)
        schedule = Schedule(start="zero", eta=eta, end=end)
        ddim = kintsugi.restore(problem, model, "ddim", steps=4, samples=2, churn=0.6, schedule=schedule)
        assert torch.equal(drawn, ddim.samples[0])


def test_a_sample_depends_on_its_seed_alone(model: Path) -> None:
    several = kintsugi.sample(model, 3, size=(8, 12), steps=3, seed=5)
    assert several.shape == (3, 3, 8, 12)
    torch.testing.assert_close(kintsugi.sample(model, 2, size=(8, 12), steps=3, seed=5, batch=1), several[:2])
    assert not torch.allclose(kintsugi.sample(model, 3, size=(8, 12), steps=3, seed=6), several, atol=0.1)
    assert not torch.allclose(several[0], several[1], atol=0.1)


def test_shapes() -> None:
    def prior(*shape: int | None) -> Prior:
        made = Prior()
        made.shape = shape
        return made

    assert signal_shape(prior(3, 8, 8), None) == (3, 8, 8)
    assert signal_shape(prior(3, 8, 8), (8, 8)) == (3, 8, 8)
    assert signal_shape(prior(1, None), (50,)) == (1, 50)
    assert signal_shape(prior(None, None, None), (2, 4, 6)) == (2, 4, 6)
    assert signal_shape(Prior(), (2, 4)) == (2, 4)
    for shape, size in (
        ((3, None, None), None), ((3, None, None), (4,)), ((3, 8, 8), (8, 9)), ((3, None, None), (1, 4, 4)),
        ((1, None), (0,)), ((1, None), (2.5,)), ((None, None, None), (4, 4)), ((3, 8), (1, 3, 8)),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match="size"):
            signal_shape(prior(*shape), size)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="channels and size"):
        signal_shape(Prior(), (4,))


def run(*words: object) -> str:
    said = CliRunner().invoke(app, ["sample", *map(str, words)])
    assert said.exit_code == 0, said.output
    return said.output


def test_a_sheet_of_pictures(model: Path, tmp_path: Path) -> None:
    run(model, "-o", tmp_path / "sheet.png", "-n", 5, "--size", "12x8", "--steps", 3, "--seed", 5)
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * 8, 3 * 12, 3)
    drawn = kintsugi.sample(model, 5, size=(8, 12), steps=3, seed=5).clamp(-1, 1)
    expected = ((drawn + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    for k in range(5):
        row, column = divmod(k, 3)
        np.testing.assert_allclose(sheet[8 * row :, 12 * column :][:8, :12].astype(int), expected[k], atol=1)
    assert (sheet[8:, 24:] == 0).all()


def test_sounds(sound_model: Path, tmp_path: Path) -> None:
    said = run(sound_model, "-o", tmp_path / "tone.wav", "-n", 2, "--seconds", 0.05, "--steps", 3)
    assert [Path(line).name for line in said.split()] == ["tone-1.wav", "tone-2.wav"]
    run(sound_model, "-o", tmp_path / "alone.wav", "-n", 1, "--seconds", 0.05, "--steps", 3)
    first, alone = (read_sound(tmp_path / name) for name in ("tone-1.wav", "alone.wav"))
    assert (first.samples.shape, first.rate) == ((1, 400), 8000)
    torch.testing.assert_close(first.samples, alone.samples, rtol=0, atol=2**-14)


def test_errors_come_before_the_network(model: Path, sound_model: Path, tmp_path: Path) -> None:
    for words, message in (
        ((model, "-o", tmp_path / "x.png"), "size: expected"),
        ((model, "-o", tmp_path / "x.png", "--size", "8x"), "WIDTHxHEIGHT"),
        ((model, "-o", tmp_path / "x.wav", "--size", "8"), "output"),
        ((model, "-o", tmp_path / "none" / "x.png", "--size", "8"), "output"),
        ((model, "-o", tmp_path / "x.webp", "--size", "16383"), "format that holds"),
        ((sound_model, "-o", tmp_path / "x.png"), "output"),
        ((sound_model, "-o", tmp_path / "x.wav", "--seconds", "nan"), "seconds"),
        ((tmp_path / "none.safetensors", "-o", tmp_path / "x.png"), "none.safetensors"),
    ):
        said = CliRunner().invoke(app, ["sample", *map(str, words)])
        assert said.exit_code == 2, said.output
        assert message in said.output
    assert list(tmp_path.iterdir()) == []
