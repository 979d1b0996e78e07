"""``kintsugi calibrate``: from a model and a folder of pictures to a model that knows what its spread is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import kintsugi
from kintsugi.cli import app
from kintsugi.errors import InvalidFile
from kintsugi.operators import Bicubic
from kintsugi.priors import load_model
from kintsugi.training.data import find_images
from kintsugi.uncertainty import coverage, heldout

TEXTURE = ("--texture", "1", "--steps", "2")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_calibrate_writes_a_copy_that_covers(model: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "calibrated.safetensors"
    small = ("--samples", "3", "--crops", "8", "--size", "24")
    done = run("calibrate", model, pictures, "-o", output, *TEXTURE, *small)
    assert done.exit_code == 0, done.stderr
    assert "small holes, exact: raw coverage" in done.stdout
    assert "5 calibrations of kintsugi, texture 1, 2 steps, on 8 crops" in done.stdout
    before, after = load_model(model), load_model(output)
    assert all(a.equal(b) for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True))
    kinds = {entry.kind: entry for entry in after.calibrations}
    assert list(kinds) == [
        "small holes, exact", "large holes, exact", "fewer pixels, exact", "filtered, noisy", "all pixels, noisy",
    ]  # fmt: skip

    # On the very crops that it was fitted on, the coverage is the level.
    truth = heldout.crops(find_images(pictures), 8, 24, max_scale=0.5)
    problem = kintsugi.Problem.simulate(truth, Bicubic((3, 24, 24), 4), seed=2)
    result = kintsugi.restore(problem, after, texture=1.0, steps=2, samples=3, seed=2)
    for level in (0.5, 0.9):
        found = coverage(result.intervals(level, calibrated=True), truth)
        assert float(found.mean()) == pytest.approx(level, abs=0.03)

    again = run("calibrate", output, pictures, "-o", tmp_path / "more.safetensors", "--steps", "1", *small)
    assert again.exit_code == 0, again.stderr
    assert len(load_model(tmp_path / "more.safetensors").calibrations) == 10  # others' entries are kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output", "model.pt"), "output"),
        (("--output", "nowhere/model.safetensors"), "output"),
        (("--held-out", "1.5"), "held_out"),
        (("--size", "600"), "no picture of at least 600 pixels"),
        (("--sampler", "ddrm", "--texture", "1"), "texture"),
    ],
)
def test_bad_calls_are_refused(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("calibrate", model, pictures, "-o", "model.safetensors", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_crops_are_spread_over_pictures_and_scales(pictures: Path) -> None:
    files = find_images(pictures)
    found = heldout.crops(files, 20, 24, seed=1)
    assert found.shape == (20, 3, 24, 24)
    assert float(found.abs().max()) <= 1
    torch.testing.assert_close(found, heldout.crops(files, 20, 24, seed=1))
    # A picture of 40 x 36 is reduced by 0.9 or less to a crop and a half of 24: some of the 20 crops are reduced.
    assert len({round(float(x.std()), 4) for x in found}) == 20
    with pytest.raises(InvalidFile, match="no picture"):
        heldout.crops(files, 2, 2000)
