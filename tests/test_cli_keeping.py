"""``kintsugi restore``: maps of the uncertainty, and what is kept of the original."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import kintsugi
from kintsugi.cli import app, outputs
from kintsugi.images import read_picture
from kintsugi.priors.network import load_model, save_model
from kintsugi.samplers import make_sampler
from kintsugi.uncertainty import describe_sampler, fit, gold, kind_of

SIZE = (64, 60)  # height, width
HOLE = np.zeros(SIZE, dtype=np.uint8)
HOLE[8:32, 9:33] = 255


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.stderr + str(result.exception)
    return result


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    noise = np.random.default_rng(0).normal(0, 12, (*SIZE, 3))
    array = np.stack((x * 2 + 60, y * 2 + 50, 200 - x - y), axis=-1) + noise
    Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    return tmp_path / "photo.png"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(float)


def inpaint(photo: Path, model: Path | str, output: str, *words: object) -> Result:
    mask = photo.with_name("mask.png")
    own = ("-t", "inpaint", "--mask", mask, "--prior", model, "--steps", 2)
    return run("restore", photo, "-o", photo.with_name(output), *own, *words)


def denoise(photo: Path, model: Path | str, output: str, *words: object) -> Path:
    own = ("-t", "denoise", "--noise", 0.05, "--prior", model, "--steps", 2)
    done("restore", photo, "-o", photo.with_name(output), *own, *words)
    return photo.with_name(output)


def test_maps_of_uncertainty_and_gold(photo: Path, model: Path, tmp_path: Path) -> None:
    map_, gilded = tmp_path / "map.png", tmp_path / "gold.png"
    words = ("--samples", 3, "--texture", 1, "--uncertainty", map_, "--invented", gilded)
    said = inpaint(photo, model, "out.png", *words)
    assert said.exit_code == 0, said.stderr
    assert said.stderr == ""
    # The other map is of clipped pictures.
    assert (pixels(map_) == pixels(tmp_path / "out-std.png")).mean() > 0.95
    assert not pixels(map_)[HOLE == 0].any()
    result = pixels(tmp_path / "out.png")
    assert np.array_equal(pixels(gilded)[HOLE == 0], result[HOLE == 0])  # nothing was invented there
    inside = np.abs(pixels(gilded) - result)[HOLE > 0]
    assert inside.mean() > 3


def test_the_gold_is_that_of_the_library(photo: Path, model: Path, tmp_path: Path) -> None:
    words = ("-t", "sr", "--factor", 2, "--prior", model, "--steps", 2, "--samples", 2, "--texture", 1)
    done("restore", photo, "-o", tmp_path / "out.png", *words, "--invented", tmp_path / "gold.png")
    y = read_picture(photo).pixels
    operator = kintsugi.operators.Bicubic((3, 128, 120), 2, "unknown")
    problem = kintsugi.Problem(y, operator, 2 / 255 / 12**0.5)
    found = kintsugi.restore(problem, str(model), texture=1.0, steps=2, samples=2)
    shown = gold(found.samples[0, 0].clamp(-1, 1), found.invented()[0], found.std[0])
    expected = np.rint((shown.clamp(-1, 1).numpy() + 1) / 2 * 255).transpose(1, 2, 0)
    assert np.abs(pixels(tmp_path / "gold.png") - expected).max() <= 1


def test_likeliest_samples_are_told_to_be_no_measure(photo: Path, model: Path, tmp_path: Path) -> None:
    said = inpaint(photo, model, "out.png", "--samples", 2, "--uncertainty", tmp_path / "map.png")
    assert said.stderr == (
        "note: these samples are likeliest pictures and hardly differ; for uncertainty add --texture 1\n"
    )


def test_calibrated_maps(photo: Path, model: Path, tmp_path: Path) -> None:
    prior = load_model(model)
    y = read_picture(photo).pixels
    problem = kintsugi.Problem(y, kintsugi.operators.Identity((3, *SIZE)), 0.1)
    sampler = make_sampler("kintsugi", texture=1.0)
    samples, truth = torch.randn(4, 3, 3, 8, 8) * 0.1, torch.randn(4, 3, 8, 8) * 0.3
    known = fit(samples, truth, sampler=describe_sampler(sampler), steps=2, kind=kind_of(problem))
    prior.calibrations = (known,)
    save_model(prior, tmp_path / "known.safetensors")
    asked = ("--texture", 1, "--samples", 3, "--uncertainty", tmp_path / "map.png", "--calibrated")
    own = ("restore", photo, "-o", tmp_path / "out.png", "-t", "denoise", "--noise", 0.05, "--steps", 2, *asked)
    said = done(*own, "--prior", tmp_path / "known.safetensors")
    assert "widths calibrated on 4 held-out pictures (kintsugi, texture 1, 2 steps, all pixels, noisy)" in said.stderr
    found = kintsugi.restore(problem, prior, sampler, steps=2, samples=3)
    expected = known.reach(0.68, found.std[0]).square().mean(0).sqrt() / 2 / outputs.STD_WHITE
    assert np.abs(pixels(tmp_path / "map.png") / 255 - expected.clamp(0, 1).numpy()).max() < 0.01
    refused = run(*own, "--prior", model)
    assert refused.exit_code == 2
    assert "calibrated: expected a calibration in the model's file (there: none)" in refused.stderr


def test_strength_and_blend_are_linear(photo: Path, model: Path, tmp_path: Path) -> None:
    before, after = pixels(photo), pixels(denoise(photo, model, "full.png"))
    assert np.abs(after - before).mean() > 1.5
    for words, strength in ((("--strength", 0.25), 0.25), (("--blend", 0.5), 0.5), (("--blend", 1), 0)):
        found = pixels(denoise(photo, model, "some.png", *words))
        assert np.abs(found - before - strength * (after - before)).max() <= 1
    ramp = np.tile(np.linspace(0, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    found = pixels(denoise(photo, model, "ramped.png", "--strength", tmp_path / "ramp.png"))
    assert np.abs(found - before - ramp[..., None] / 255 * (after - before)).max() <= 1
    assert np.array_equal(found[:, 0], before[:, 0])


def test_strength_after_enlarging_is_between_bicubic_and_the_result(photo: Path, model: Path, tmp_path: Path) -> None:
    words = ("-t", "sr", "--factor", 2, "--prior", model, "--steps", 2)
    found = []
    for strength in (0, 0.5, 1):
        done("restore", photo, "-o", tmp_path / "out.png", *words, "--strength", strength)
        found.append(pixels(tmp_path / "out.png"))
    inside = (np.minimum(found[0], found[2]) > 0) & (np.maximum(found[0], found[2]) < 255)  # not clipped
    assert inside.mean() > 0.5
    assert np.abs(found[1] - (found[0] + found[2]) / 2)[inside].max() <= 1
    operator = kintsugi.operators.Bicubic((3, 128, 120), 2, "unknown")
    plain = operator.visible(operator.pinv(read_picture(photo).pixels[None]))[0]
    assert np.abs(found[0] - np.rint((plain.clamp(-1, 1).numpy() + 1) / 2 * 255).transpose(1, 2, 0)).max() <= 1


def roughness(picture: np.ndarray, where: np.ndarray | None = None) -> float:
    """The level of the noise, from differences of neighbours."""
    jumps = np.diff(picture, axis=1) / 2**0.5
    jumps = jumps - np.median(jumps, axis=(0, 1))
    return float(np.sqrt((jumps**2).mean() if where is None else (jumps[where[:, 1:] & where[:, :-1]] ** 2).mean()))


def test_grain_is_brought_back_to_the_level_of_the_original(photo: Path) -> None:
    smooth = pixels(denoise(photo, "photo", "smooth.png"))
    grainy = pixels(denoise(photo, "photo", "grainy.png", "--keep-grain", 1))
    half = pixels(denoise(photo, "photo", "half.png", "--keep-grain", 0.5))
    level = roughness(pixels(photo))
    assert roughness(smooth) < 0.4 * level
    assert roughness(grainy) == pytest.approx(level, rel=0.2)
    assert np.abs(half - (smooth + grainy) / 2).max() <= 1
    assert abs(float((grainy - smooth).mean())) < 0.3  # the brightness stays
    noise = grainy - smooth
    assert abs(np.corrcoef(noise.ravel(), (pixels(photo) - smooth).ravel())[0, 1]) < 0.2  # fresh, not the original's
    again = pixels(denoise(photo, "photo", "again.png", "--keep-grain", 1))
    assert np.array_equal(again, grainy)


def test_the_surface_is_the_originals_own(photo: Path) -> None:
    smooth = pixels(denoise(photo, "photo", "smooth.png"))
    own = pixels(denoise(photo, "photo", "own.png", "--keep-surface", 1)) - smooth
    assert np.corrcoef(own.ravel(), (pixels(photo) - smooth).ravel())[0, 1] > 0.9


def test_a_filled_hole_gets_the_grain_around_it(photo: Path, tmp_path: Path) -> None:
    assert inpaint(photo, "photo", "plain.png").exit_code == 0
    said = inpaint(photo, "photo", "grain.png", "--keep-grain", 1)
    assert said.exit_code == 0, said.stderr
    assert "note: the grain of the original: " in said.stderr
    plain, grain = pixels(tmp_path / "plain.png"), pixels(tmp_path / "grain.png")
    assert np.array_equal(grain[HOLE == 0], plain[HOLE == 0])
    added = (grain - plain)[HOLE > 0]
    assert 8 < added.std() < 14  # the noise around it has 12
    assert abs(added.mean()) < 2


def test_a_folder_takes_strengths_but_no_single_map(photo: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo.rename(folder / "photo.png")
    own = ("restore", folder, "-o", tmp_path / "out", "-t", "denoise", "--noise", 0.05, "--prior", model)
    done(*own, "--steps", 2, "--blend", 1)
    assert np.array_equal(pixels(tmp_path / "out" / "photo.png"), pixels(folder / "photo.png"))
    settings = json.loads((tmp_path / "out" / ".kintsugi" / "settings.json").read_text())
    assert settings["blend"] == 1.0
    refused = run(*own, "--samples", 2, "--invented", tmp_path / "gold.png")
    assert (refused.exit_code, refused.stderr) == (2, f"error: invented: expected a single picture, got {folder}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--uncertainty", "map.png"), "samples: expected at least 2 for --uncertainty"),
        (("--invented", "gold.png"), "samples: expected at least 2 for --invented"),
        (("--invented", "gold.txt", "--samples", 2), "invented: expected a file name that ends in"),
        (("--uncertainty", "out.png", "--samples", 2), "output: expected files of different names"),
        (("--calibrated",), "calibrated: expected --uncertainty"),
        (("--strength", 1.5), "strength: expected a number from 0 to 1"),
        (("--strength", "small.png"), "strength: expected a number, or a picture of the input's size"),
        (("--strength", "nowhere.png"), "nowhere.png"),
        (("--blend", -1), "blend: expected a share from 0 to 1"),
        (("--keep-grain", 2), "keep_grain: expected a share"),
        (("--keep-surface", "nan"), "keep_surface: expected a share"),
    ],
)
def test_bad_options_are_refused_before_any_network_runs(
    photo: Path, model: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: str
) -> None:
    monkeypatch.chdir(photo.parent)
    Image.fromarray(HOLE[:10]).save("small.png")
    result = run("restore", photo, "-o", "out.png", "-t", "denoise", "--noise", 0.1, "--prior", model, *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert not Path("out.png").exists()


def test_grain_needs_room_to_be_measured(photo: Path, model: Path) -> None:
    checks = (np.arange(SIZE[0])[:, None] // 4 + np.arange(SIZE[1]) // 4) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(photo.with_name("mask.png"))
    result = inpaint(photo, model, "out.png", "--keep-grain", 1)
    assert result.exit_code == 2
    assert "at least 8 windows of 16 x 16 known pixels to measure grain" in result.stderr


def test_a_surface_cannot_be_enlarged(photo: Path, model: Path, tmp_path: Path) -> None:
    words = ("-t", "sr", "--factor", 2, "--prior", model, "--keep-surface", 1)
    result = run("restore", photo, "-o", tmp_path / "out.png", *words)
    assert result.exit_code == 2
    assert "keep_surface: expected 0 where the size changes" in result.stderr
