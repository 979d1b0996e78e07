"""``kintsugi tune``: searches that find what is known to be best, that go on when killed, and that claim no luck."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

import kintsugi
from conftest import draw_picture
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.presets import load_preset
from kintsugi.training.config import TrainConfig
from kintsugi.training.data import find_images, split, to_signal
from test_cli import done, refused

optuna = pytest.importorskip("optuna")
pytest.importorskip("pydantic")

from kintsugi import tune as tuning  # noqa: E402
from kintsugi.bench.problems import ProblemSpec, seed_of  # noqa: E402
from kintsugi.tune import measure, outcome, run, search  # noqa: E402
from kintsugi.tune.measure import Measured, Measurer, weights_digest  # noqa: E402
from kintsugi.tune.pictures import Crop, halves, held_out  # noqa: E402
from kintsugi.tune.plan import Case, TuneImages, TunePlan  # noqa: E402
from kintsugi.tune.search import Found  # noqa: E402


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven pictures of 40 pixels or more a side, and a small one."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(7):
        draw_picture((40 + 2 * seed, 44), seed).save(folder / f"p{seed}.png")
    draw_picture((20, 20), 9).save(folder / "small.png")
    return folder


def stated(photos: Path, model: Path, **more: Any) -> dict[str, Any]:
    """A plan that takes seconds."""
    return {
        "name": "small",
        "prior": str(model),
        "images": {"folder": str(photos), "held_out": False, "at_least": 40, "crop": 32, "crops": 2},
        "problems": [{"name": "holes", "operator": "random", "keep": 0.5, "noise": 0.1}],
        "samplers": ["ddrm"],
        "steps": [2],
        "trials": 8,
        **more,
    }


def write(folder: Path, plan: Mapping[str, Any]) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(dict(plan)))
    return path


# --- a search whose best setting is known -----------------------------------------------------------------------------

CROPS = tuple(Crop(f"p{k}", f"p{k}", Path("none"), (0.5, 0.5), 1.0, 32) for k in range(6))
BEST = {"w": 20.0, "tau": 0.7}


def case(sampler: str = "pigdm") -> Case:
    return Case(sampler, ProblemSpec(name="holes", operator="random", keep=0.5), 5, "known")


def plan(**more: Any) -> TunePlan:
    given = {"samplers": ["pigdm"], "steps": [5], "trials": 45, "prior": "photo", "name": "known", **more}
    images = TuneImages(folder=Path("none"))
    return TunePlan(images=images, problems=[ProblemSpec(name="holes", operator="random", keep=0.5)], **given)


class Known:
    """Scores that are known: a parabola in log w and tau about ``BEST``, on pictures that are not equally hard."""

    calls: ClassVar[int] = 0

    def __init__(self, fails: float = math.inf, gain: float = 1.0) -> None:
        self.fails, self.gain = fails, gain

    def __call__(self, case: Case, settings: Mapping[str, Any], crop: Crop) -> Measured:
        w, tau = (settings or {"w": 10.0, "tau": 0.5}).values()  # the defaults of pigdm at 5 steps
        if w > self.fails:
            return Measured(None, "a sample is not finite")
        away = math.log(w / BEST["w"]) ** 2 + (4 * (tau - BEST["tau"])) ** 2
        number = int(crop.name[1:])
        psnr = 20 + 5 * number - self.gain * away * (1 + 0.1 * number)
        return Measured({"psnr": psnr, "band_energy": abs(math.log(w / 60.0))})


def test_the_search_finds_the_best_setting(tmp_path: Path) -> None:
    found = search.search(case(), plan(), Known(), CROPS, tmp_path)  # type: ignore[arg-type]
    assert found.trials == 46
    assert math.log(found.settings["w"] / 20.0) == pytest.approx(0, abs=0.35)
    assert found.settings["tau"] == pytest.approx(0.7, abs=0.08)
    assert 10 < found.pruned < 45  # most of 45 trials are worse on all crops, and few of them see all six
    assert found.failed == 0


def test_a_trial_is_the_mean_difference_from_the_defaults(tmp_path: Path) -> None:
    """Pictures differ by 25 dB, settings by 2: the values of trials hold the latter alone."""
    search.search(case(), plan(trials=20), Known(), CROPS, tmp_path)  # type: ignore[arg-type]
    study = optuna.load_study(study_name=case().id, storage=storage(tmp_path))
    first = study.trials[0]
    assert first.value == 0
    assert first.params == pytest.approx({"w": 10.0, "tau": 0.5})
    assert first.user_attrs["settings"] == {}
    complete = [t for t in study.trials[1:] if t.state == optuna.trial.TrialState.COMPLETE]
    assert complete
    for trial in complete:
        settings = trial.user_attrs["settings"]
        psnr = [Known()(case(), s, c).values["psnr"] for s in (settings, {}) for c in CROPS]  # type: ignore[index]
        assert trial.value == pytest.approx(sum(psnr[:6]) / 6 - sum(psnr[6:]) / 6, abs=1e-9)


def test_a_mixture_has_its_best_between_those_of_its_parts(tmp_path: Path) -> None:
    """-(log w/20)^2 - m |log w/60| is largest where 2 log w/20 = m, for m below 2 log 3: at w = 20 e^{m/2}."""
    weights = {"psnr": 1.0, "band_energy": -1.25}
    found = search.search(case(), plan(objective=weights), Known(), CROPS[:1], tmp_path)  # type: ignore[arg-type]
    assert math.log(found.settings["w"] / (20 * math.exp(0.625))) == pytest.approx(0, abs=0.25)


def test_failed_trials_are_in_no_mean_and_never_win(tmp_path: Path) -> None:
    found = search.search(case(), plan(trials=40), Known(fails=25.0), CROPS, tmp_path)  # type: ignore[arg-type]
    assert found.failed > 3
    assert 10 < found.settings["w"] <= 25.0
    study = optuna.load_study(study_name=case().id, storage=storage(tmp_path))
    for trial in study.trials:
        failed = trial.params["w"] > 25
        assert (trial.state == optuna.trial.TrialState.FAIL) == failed
        assert trial.value is None or not failed
        assert ("why" in trial.user_attrs) == failed
    assert len(study.trials) == 41


def test_defaults_that_fail_are_no_reference(tmp_path: Path) -> None:
    found = search.search(case(), plan(trials=30), Known(fails=9.0), CROPS, tmp_path)  # type: ignore[arg-type]
    assert 2 < found.settings["w"] <= 9.0
    assert found.failed >= 1


def test_the_defaults_win_a_tie(tmp_path: Path) -> None:
    found = search.search(case(), plan(trials=5), Known(gain=0.0), CROPS, tmp_path)  # type: ignore[arg-type]
    assert found.settings == {}


def storage(folder: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / f"{case().id}.journal"))
    return optuna.storages.JournalStorage(backend)


class Stopping(Known):
    """Is killed at its ``at``-th measurement."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __call__(self, case: Case, settings: Mapping[str, Any], crop: Crop) -> Measured:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().__call__(case, settings, crop)


@pytest.mark.parametrize("cut", [False, True])
def test_a_search_that_was_stopped_anywhere_ends_as_one_that_was_not(tmp_path: Path, cut: bool) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    short = plan(trials=14)
    expected = search.search(case(), short, Known(), CROPS, whole)  # type: ignore[arg-type]
    for at in (3, 9, 15, 11):
        with pytest.raises(KeyboardInterrupt):
            search.search(case(), short, Stopping(at), CROPS, parts)  # type: ignore[arg-type]
        if cut:
            with (parts / f"{case().id}.journal").open("ab") as file:
                file.write(b'{"op_code":4,"worker')  # a line that a machine did not finish
    assert search.search(case(), short, Known(), CROPS, parts) == expected  # type: ignore[arg-type]
    assert search.finished(case(), short, parts) == 15


def test_more_trials_later_are_those_of_a_longer_search(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    for folder in (one, two):
        folder.mkdir()
    search.search(case(), plan(trials=6), Known(), CROPS, one)  # type: ignore[arg-type]
    longer = [search.search(case(), plan(trials=12), Known(), CROPS, folder) for folder in (one, two)]  # type: ignore[arg-type]
    assert longer[0] == longer[1]


# --- the other half ---------------------------------------------------------------------------------------------------

UNSEEN = tuple(Crop(f"q{k // 2}", f"p{k}", Path("none"), (0.5, 0.5), 1.0, 32) for k in range(8))


def test_what_is_better_on_the_other_half_is_taken() -> None:
    item = outcome.entry(case(), plan(), Known(), UNSEEN, Found(BEST, 61, 30, 2))  # type: ignore[arg-type]
    away = math.log(2) ** 2 + 0.8**2
    gains = [away * (1 + 0.1 * (2 * k + 0.5)) for k in range(4)]  # of each picture, the mean over its two crops
    mean, spread = sum(gains) / 4, torch.tensor(gains, dtype=torch.float64).std()
    assert item["settings"] == BEST
    assert item["difference"] == {
        "mean": pytest.approx(mean, rel=1e-4),
        "half": pytest.approx(3.182446 * float(spread) / 2, rel=1e-4),  # Student's t, 3 degrees of freedom
        "images": 4,
    }
    assert item["score"]["mean"] - item["defaults"]["mean"] == pytest.approx(mean, rel=1e-3)
    assert item["verdict"].startswith("found: better")
    assert item["trials"] == {"all": 61, "pruned": 30, "failed": 2}
    assert "tried" not in item


class Lucky(Known):
    """Better by 1 on two pictures, worse by 0.5 on the others: no more than luck."""

    def __call__(self, case: Case, settings: Mapping[str, Any], crop: Crop) -> Measured:
        return Measured({"psnr": (1.0 if crop.picture in ("q0", "q1") else -0.5) if settings else 0.0})


def test_luck_is_not_taken_and_is_said() -> None:
    item = outcome.entry(case(), plan(), Lucky(), UNSEEN, Found(BEST, 61, 30, 2))  # type: ignore[arg-type]
    assert item["settings"] == {}
    assert item["verdict"] == outcome.LUCK
    assert item["tried"]["settings"] == BEST
    assert item["tried"]["difference"]["mean"] == 0.25
    assert item["score"] == item["defaults"] == {"mean": 0.0, "half": 0.0, "images": 4}


def test_a_failure_on_the_other_half() -> None:
    high = {"w": 60.0, "tau": 0.7}
    item = outcome.entry(case(), plan(), Known(fails=50), UNSEEN, Found(high, 61, 0, 2))  # type: ignore[arg-type]
    assert (item["settings"], item["verdict"]) == ({}, outcome.UNSTABLE)
    assert item["tried"]["score"] is None
    low = {"w": 6.0, "tau": 0.7}
    item = outcome.entry(case(), plan(), Known(fails=7), UNSEEN, Found(low, 61, 0, 2))  # type: ignore[arg-type]
    assert (item["settings"], item["verdict"], item["defaults"]) == (low, outcome.RESCUE, None)
    item = outcome.entry(case(), plan(), Known(), UNSEEN, Found({}, 61, 0, 2))  # type: ignore[arg-type]
    assert (item["settings"], item["verdict"]) == ({}, outcome.NOTHING)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_the_held_out_pictures_are_those_of_training(pictures_folder: Path) -> None:
    files = find_images(pictures_folder)
    trained, kept = split(files, TrainConfig().validation_share)
    assert held_out(pictures_folder) == kept
    assert not set(trained) & set(kept)
    images = TuneImages(folder=pictures_folder, crop=32, crops=2)
    cut = halves(images)
    assert {crop.path for crop in (*cut.tuned_on, *cut.scored_on)} == set(kept)


@pytest.fixture(scope="module")
def pictures_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for seed in range(40):
        draw_picture((36 + seed % 5, 40), seed).save(folder / f"p{seed:02}.png")
    return folder


def test_halves_share_no_picture_and_crops_are_where_they_should(photos: Path) -> None:
    images = TuneImages(folder=photos, held_out=False, at_least=40, crop=32, crops=2)
    cut = halves(images)
    assert [c.name for c in cut.tuned_on] == ["p1", "p3", "p5", "p1@1", "p3@1", "p5@1"]
    assert [c.name for c in cut.scored_on] == ["p0", "p2", "p4", "p6", "p0@1", "p2@1", "p4@1", "p6@1"]
    x = to_signal(np.asarray(Image.open(photos / "p3.png").convert("RGB")))  # 46 x 44
    assert torch.equal(cut.tuned_on[1].load(), x[:, 6:38, 7:39])
    assert torch.equal(cut.tuned_on[4].load(), x[:, 3:35, 3:35])
    assert len(set(cut.digests.values())) == 14


def test_too_few_and_too_small_pictures(photos: Path) -> None:
    with pytest.raises(InvalidFile, match="0 pictures in all and large enough; expected at least 3"):
        halves(TuneImages(folder=photos, held_out=False, at_least=45, crop=32))
    with pytest.raises(InvalidFile, match="pictures held out of training and large enough"):
        halves(TuneImages(folder=photos, at_least=40, crop=32))
    with pytest.raises(InvalidFile, match="20 x 20 pixels after scaling, less than the crop of 32"):
        _ = halves(TuneImages(folder=photos, held_out=False, crop=32)).digests


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samplers": ["mcg"]}, "samplers: 'mcg': expected some of kintsugi, cpigdm"),
        ({"samplers": []}, "samplers: List should have at least 1 item"),
        ({"objective": "pnsr"}, "objective: 'pnsr': expected one of psnr"),
        ({"objective": {"psnr": -1.0}}, "objective: psnr: expected a weight above 0, since higher is better, got -1.0"),
        ({"objective": {"band_energy": 1.0}}, "objective: band_energy: expected a weight below 0"),
        ({"objective": {"psnr": 0.0}}, "objective: psnr: expected a finite weight other than 0"),
        ({"objective": {"consistency": 1.0}}, "objective: consistency: expected another metric"),
        ({"objective": {"psnr": 1, "ssim": 1, "swd": -1}}, "objective: Dictionary should have at most 2 items"),
        ({"objective": {"diversity": 1.0}}, "objective: 'diversity': expected a metric of one sample"),
        ({"measure": ["lpips"]}, "measure: 'lpips': expected a metric that can be computed here"),
        ({"trials": {5: 10}}, "plan: trials: expected a number for each of the steps [2]"),
        ({"trials": 0}, "trials.constrained-int: Input should be greater than or equal to 1"),
        ({"steps": [2, 2]}, "plan: the same twice: [2, 2]"),
        ({"stepz": 1}, "stepz: Extra inputs are not permitted"),
        ({"images": {"crop": 32}}, "images.folder: Field required"),
    ],
)
def test_mistakes_in_a_plan_are_named(
    change: dict[str, Any], said: str, photos: Path, model: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, stated(photos, model) | change)
    with pytest.raises(InvalidFile) as caught:
        tuning.load_plan(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_word_is_an_objective_in_its_own_direction() -> None:
    assert plan(objective="psnr").objective == {"psnr": 1.0}
    assert plan(objective="band_energy").objective == {"band_energy": -1.0}
    assert plan(objective={"psnr": 2.0, "band_energy": -0.5}).score({"psnr": 10.0, "band_energy": 3.0}) == 18.5


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    for content in ("a: [", "just words", ""):
        (tmp_path / "x.yaml").write_text(content)
        with pytest.raises(InvalidFile):
            tuning.load_plan(tmp_path / "x.yaml")
    with pytest.raises(InvalidFile, match="those that come with the package: photo-psnr, photo-texture"):
        tuning.load_plan(Path("nothing"))


def test_the_plans_of_the_shipped_presets_are_whole(photos: Path) -> None:
    for name in ("photo-psnr", "photo-texture"):
        shipped = tuning.load_plan(Path(name), photos)
        assert shipped.name == name
        assert shipped.images.held_out
        assert shipped.images.folder == photos


def test_what_cannot_be_is_said_before_any_trial(photos: Path, model: Path, tmp_path: Path) -> None:
    nonlinear = stated(photos, model, problems=[{"name": "jpeg", "operator": "jpeg"}])
    with pytest.raises(InvalidArgument, match="problems: expected one that ddrm takes"):
        tuning.ahead(TunePlan.model_validate(nonlinear), tmp_path / "out.yaml")
    whole = TunePlan.model_validate(stated(photos, model))
    for output in (tmp_path / "out.json", tmp_path / "nowhere" / "out.yaml"):
        with pytest.raises(InvalidArgument, match=r"^output: "):
            tuning.ahead(whole, output)
    with pytest.raises(InvalidArgument, match="at least one case that is finished"):
        tuning.tune(whole, tmp_path / "out.yaml", so_far=True)
    assert list(tmp_path.iterdir()) == []


# --- whole runs -------------------------------------------------------------------------------------------------------


def test_a_run_states_what_it_did_and_is_a_preset(photos: Path, model: Path, tmp_path: Path) -> None:
    path, output = write(tmp_path, stated(photos, model, measure=["band_energy"])), tmp_path / "mine.yaml"
    said = done("tune", path, "-o", output, "--dry-run")
    assert "small: 1 cases, 9 trials, 9 to do, at most about" in said
    assert not output.exists()
    done("tune", path, "-o", output)
    content = yaml.safe_load(output.read_text())
    cut = halves(TunePlan.model_validate(stated(photos, model)).images)
    prior = kintsugi.load_prior(model)
    assert content["prior"] == {"name": "tiny.safetensors", "weights": weights_digest(prior)}
    assert content["images"]["tuned_on"] == {c.name: cut.digests[c.name] for c in cut.tuned_on}
    assert content["images"]["scored_on"] == {c.name: cut.digests[c.name] for c in cut.scored_on}
    assert content["objective"] == {"psnr": 1.0}
    assert str(tmp_path) not in output.read_text()
    assert str(photos) not in output.read_text()
    (item,) = content["entries"]
    assert (item["sampler"], item["operator"], item["keep"], item["noise"], item["steps"]) == (
        "ddrm",
        "random",
        0.5,
        0.1,
        2,
    )
    # The defaults' score, computed here anew.
    spec = ProblemSpec.model_validate(stated(photos, model)["problems"][0])
    scores: dict[str, list[float]] = {}
    for crop in cut.scored_on:
        problem = spec.simulate(crop.load(), crop.name)
        seed = seed_of("0", crop.name)
        x = kintsugi.restore(problem, prior, "ddrm", steps=2, seed=seed, tile=None).samples[0]
        mse = float((x[0].clamp(-1, 1) - crop.load()).double().square().mean())
        scores.setdefault(crop.picture, []).append(10 * math.log10(4 / mse))
    means = torch.tensor([sum(v) / len(v) for v in scores.values()], dtype=torch.float64)
    assert item["defaults"]["mean"] == pytest.approx(float(means.mean()), abs=1e-3)
    assert item["default_settings"] == {"churn": 0.85, "schedule": {"eta": 2.0, "end": 0.1}}
    assert item["defaults"]["half"] == pytest.approx(3.182446 * float(means.std()) / 2, abs=1e-3)
    assert load_preset(output).entries[0].settings == item["settings"]
    assert "ddrm" in done("presets", output)
    # Again: nothing is left, and the preset is the same.
    before = output.read_text()
    assert "0 to do" in done("tune", path, "-o", output)
    assert output.read_text() == before


def entries(path: Path) -> Any:
    content = yaml.safe_load(path.read_text())
    return {key: value for key, value in content.items() if key not in ("date", "versions")}


def test_a_run_that_is_killed_goes_on_and_ends_the_same(photos: Path, model: Path, tmp_path: Path) -> None:
    """SIGKILL once some trials are there; then the same command, in another process of one case and then to the end."""
    given = stated(photos, model, samplers=["ddrm", "ddnm"], trials=10)
    path = write(tmp_path, given)
    whole, parts = tmp_path / "whole.yaml", tmp_path / "parts.yaml"
    assert tuning.tune(tuning.load_plan(path), whole, say=lambda text: None)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kintsugi", "tune", str(path), "-o", str(parts)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            journals = list((tmp_path / "parts.trials").glob("*.journal"))
            if journals and journals[0].stat().st_size > 3000:
                break
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not parts.exists()
    assert tuning.ahead(tuning.load_plan(path), parts).left > 0
    assert tuning.tune(tuning.load_plan(path), parts, say=lambda text: None)
    assert entries(parts) == entries(whole)
    for name in (case.name for case in (tmp_path / "whole.trials" / "entries").iterdir()):
        assert (tmp_path / "parts.trials" / "entries" / name).exists()


def test_a_case_that_another_process_holds_is_left_to_it(photos: Path, model: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    given = TunePlan.model_validate(stated(photos, model, samplers=["ddrm", "ddnm"], trials=2))
    output = tmp_path / "out.yaml"
    ready = run._ready(given, output, None, "cpu")
    (tmp_path / "out.trials" / "locks").mkdir(parents=True)
    said: list[str] = []
    with FileLock(tmp_path / "out.trials" / "locks" / ready.cases[0].id):
        assert not tuning.tune(given, output, say=said.append)
        assert said[-1] == f"1 cases are with other processes; the last of these writes {output}"
        assert not output.exists()
        assert tuning.tune(given, output, so_far=True, say=said.append)
        assert yaml.safe_load(output.read_text())["unfinished"] == "1 of 2 cases"
    assert tuning.tune(given, output, say=said.append)
    assert "unfinished" not in yaml.safe_load(output.read_text())


def test_measurements_are_kept_and_shared_between_objectives(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    real = measure.restore
    monkeypatch.setattr(measure, "restore", lambda *a, **k: ran.append(a) or real(*a, **k))
    common = stated(photos, model, trials=3, measure=["psnr", "band_energy"])
    shared = tmp_path / "measured"
    for name, objective in (("one", {"psnr": 1.0}), ("two", {"psnr": 1.0, "band_energy": -0.5})):
        given = TunePlan.model_validate(common | {"objective": objective})
        tuning.tune(given, tmp_path / f"{name}.yaml", measured=shared, say=lambda text: None)
        if name == "one":
            first = len(ran)
    assert 20 <= first <= 4 * 6 + 2 * 8
    assert len(ran) - first < first / 2  # the defaults and the first random settings are the same
    (kept,) = shared.glob("*.jsonl")
    with kept.open("ab") as file:
        file.write(b'{"key":"cut off')
    again = TunePlan.model_validate(common)
    measurer = Measurer(
        kintsugi.load_prior(model), weights_digest(kintsugi.load_prior(model)), halves(again.images).digests,
        ("band_energy", "psnr"), 0, shared,
    )  # fmt: skip
    only = Case("ddrm", again.problems[0], 2, "")
    crop = halves(again.images).tuned_on[0]
    ran.clear()
    known = measurer(only, {}, crop)
    assert not ran
    new = measurer(only, {"churn": 0.123}, crop)
    assert len(ran) == 1
    rows = [json.loads(line) for line in kept.read_text().splitlines() if not line.endswith("cut off")]
    assert rows[-1]["values"] == new.values
    assert known.values is not None


def test_a_sample_that_is_not_finite_is_a_failure_that_is_kept(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = TunePlan.model_validate(stated(photos, model)).images
    cut = halves(images)
    measurer = Measurer(kintsugi.load_prior(model), "x", cut.digests, ("psnr",), 0, tmp_path)

    def diverges(*args: Any, **settings: Any) -> Tensor:
        raise FloatingPointError("ddrm: a sample is not finite")

    spec = ProblemSpec(name="holes", operator="random", keep=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "restore", diverges)
        failed = measurer(Case("ddrm", spec, 2, ""), {"churn": 1.0}, cut.tuned_on[0])
    assert failed == Measured(None, "ddrm: a sample is not finite")
    assert measurer(Case("ddrm", spec, 2, ""), {"churn": 1.0}, cut.tuned_on[0]) == failed
    assert measurer(Case("ddrm", spec, 2, ""), {"churn": 0.5}, cut.tuned_on[0]).values is not None


def test_weights_decide_the_digest(model: Path) -> None:
    one, two = (kintsugi.load_prior(model) for _ in range(2))
    assert weights_digest(one) == weights_digest(two)
    with torch.no_grad():
        next(iter(two.parameters())).view(-1)[0] += 1e-3
    assert weights_digest(one) != weights_digest(two)


def test_the_command_tells_mistakes_in_one_line(photos: Path, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, stated(photos, model))
    assert refused("tune", path, "-o", tmp_path / "out.txt").startswith("error: output: expected the name of a file")
    assert refused("tune", tmp_path / "no.yaml", "-o", tmp_path / "out.yaml").startswith("error: ")
    assert refused("tune", path, "-o", tmp_path / "o.yaml", "--images", tmp_path / "no").startswith("error: ")
