"""Presets: which entry is taken, what is said of it, and that restore and bench use its settings."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import kintsugi
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.operators import gaussian_kernel, motion_kernel
from kintsugi.presets import Place, available_presets, load_preset
from kintsugi.samplers import Schedule, available_samplers
from kintsugi.tasks import Settings, box_mask, random_mask
from test_cli import done, refused, run

ENTRIES: list[dict[str, Any]] = [
    {"sampler": "ddrm", "operator": "bicubic", "factor": 2, "noise": 0.0, "steps": 5, "settings": {"churn": 0.1}},
    {"sampler": "ddrm", "operator": "bicubic", "factor": 8, "noise": 0.0, "steps": 5, "settings": {"churn": 0.2}},
    {"sampler": "ddrm", "operator": "bicubic", "factor": 2, "noise": 0.1, "steps": 5, "settings": {"churn": 0.3}},
    {"sampler": "ddrm", "operator": "bicubic", "factor": 2, "noise": 0.0, "steps": 20, "settings": {"churn": 0.4}},
    {
        "sampler": "ddrm", "operator": "denoise", "noise": 0.2, "steps": 2,
        "settings": {"churn": 0.5, "schedule": {"eta": 3.0, "end": 0.1}},
    },
    {"sampler": "cpigdm", "operator": "bicubic", "factor": 2, "noise": 0.0, "steps": 5, "settings": {}},
]  # fmt: skip


def write(folder: Path, **change: Any) -> Path:
    content = {"name": "mine", "summary": "for tests", "prior": {"name": "photo"}, "entries": ENTRIES, **change}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


# --- which entry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "noise", "steps", "churn"),
    [
        (2, 0.0, 5, 0.1),
        (3, 0.0, 5, 0.1),  # log 3/2 < log 8/3
        (5, 0.0, 5, 0.2),  # log 8/5 < log 5/2
        (4, 0.0, 5, 0.1),  # as far from 2 as from 8: the one that stands first
        (2, 0.09, 5, 0.3),
        (2, 2 / 255 / 12**0.5, 5, 0.1),  # the rounding of a file is as good as none
        (2, 0.0, 9, 0.1),
        (2, 0.0, 11, 0.4),
        (2, 0.0, 10, 0.1),  # as far from 5 as from 20: the fewer steps
        (2, 0.0, 1000, 0.4),
    ],
)
def test_the_nearest_entry_is_taken(factor: int, noise: float, steps: int, churn: float, tmp_path: Path) -> None:
    match = load_preset(write(tmp_path)).find("ddrm", Place("bicubic", factor, noise), steps)
    assert match.entry.settings == {"churn": churn}
    assert match.exact == ((factor, noise, steps) == (2, 0.0, 5))


def test_the_distance_is_in_logarithms() -> None:
    floor = 2 / 255 / 12**0.5
    near, far = Place("bicubic", 2, 0.05), Place("bicubic", 6, 0.1)
    assert near.distance(far) == pytest.approx(math.log(3) + math.log((0.1 + floor) / (0.05 + floor)), rel=1e-12)
    assert near.distance(near) == 0
    assert near.distance(Place("average", 2, 0.05)) == math.inf


def test_a_match_says_which_and_how_far(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path))
    exact = preset.find("ddrm", Place("bicubic", 2), 5)
    assert exact.note == "preset mine: ddrm, bicubic, factor 2, noise 0, 5 steps (churn 0.1)"
    away = preset.find("cpigdm", Place("bicubic", 4, 0.05), 8)
    assert away.note == (
        "preset mine: cpigdm, bicubic, factor 2, noise 0, 5 steps (the defaults); "
        "here: bicubic, factor 4, noise 0.05, 8 steps"
    )


def test_a_match_makes_the_sampler(tmp_path: Path) -> None:
    match = load_preset(write(tmp_path)).find("ddrm", Place("denoise", None, 0.2), 2)
    assert match.sampler() == available_samplers()["ddrm"](churn=0.5, schedule=Schedule(eta=3.0, end=0.1))  # type: ignore[call-arg]
    assert match.sampler(churn=0.9).churn == 0.9  # type: ignore[attr-defined]


def test_no_entry_for_it(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path))
    with pytest.raises(InvalidArgument, match=r"^sampler: expected a sampler that the preset mine has: cpigdm, ddrm"):
        preset.find("dps", Place("bicubic", 2), 5)
    with pytest.raises(InvalidArgument, match=r"^preset: .* for ddrm: bicubic, denoise, got box"):
        preset.find("ddrm", Place("box", 32), 5)


# --- what kind of problem ---------------------------------------------------------------------------------------------


def test_masks_and_kernels_are_told_apart() -> None:
    def of(task: str, **settings: Any) -> Place:
        return Place.of_task(task, Settings(**settings), 0.1)

    scattered = of("inpaint", mask=random_mask((64, 48), 0.7))
    assert scattered.operator == "random"
    assert scattered.parameter == pytest.approx(0.3, abs=0.03)
    assert of("inpaint", mask=box_mask((64, 64), 20)) == Place("box", 20.0, 0.1)
    for sigma in (1.0, 2.0, 5.0):
        blur = of("deblur", kernel=gaussian_kernel(sigma))
        assert blur.operator == "gaussian"
        assert blur.parameter == pytest.approx(sigma, rel=0.06)
    for angle in (0.0, 30.0, 90.0):
        blur = of("deblur", kernel=motion_kernel(15, angle))
        assert blur.operator == "motion"
        assert blur.parameter == pytest.approx(15, rel=0.1)
    assert of("sr", factor=3) == Place("bicubic", 3, 0.1)
    assert of("denoise") == Place("denoise", None, 0.1)
    assert of("dequantize", bits=2) == Place("quantise", 2, 0.1)
    assert of("jpeg", quality=20) == Place("jpeg", 20, 0.1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("blur", 2), "operator"), (("bicubic", 0), "factor"), (("denoise", 1), "parameter"), (("box", 3, -1.0), "noise")],
)
def test_places_that_are_none(arguments: tuple[Any, ...], name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{name}: "):
        Place(*arguments)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"entries": None}, "not a preset"),
        ({"prior": "photo"}, "prior: expected its name"),
        ({"entries": [3]}, "entries.0: expected names and values"),
        ({"entries": [{k: v for k, v in ENTRIES[0].items() if k != "noise"}]}, "entries.0: noise is missing"),
        ({"entries": [ENTRIES[0] | {"sampler": "ddr"}]}, "entries.0.sampler: expected one of kintsugi"),
        ({"entries": [ENTRIES[0] | {"operator": "blurr"}]}, "entries.0: operator: expected one of bicubic"),
        ({"entries": [ENTRIES[0] | {"factor": -1}]}, "entries.0: factor: expected a number above 0"),
        ({"entries": [ENTRIES[0] | {"steps": 0}]}, "entries.0.steps: expected an integer of at least 1, got 0"),
        ({"entries": [ENTRIES[0] | {"settings": {"churn": 2.0}}]}, "entries.0: churn: expected a number from 0 to 1"),
        ({"entries": [ENTRIES[0] | {"settings": {"w": 2.0}}]}, "entries.0: w: expected a setting of ddrm"),
        ({"entries": [ENTRIES[0] | {"settings": [1]}]}, "entries.0.settings: expected names and values"),
        ({"entries": [ENTRIES[0] | {"settings": {"schedule": {"e": 1}}}]}, "entries.0: schedule.e: expected one of"),
        ({"entries": [ENTRIES[0] | {"noise": "much"}]}, "entries.0: "),
    ],
)
def test_mistakes_in_a_preset_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path, **change)
    with pytest.raises(InvalidFile) as caught:
        load_preset(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_files_that_are_no_presets(tmp_path: Path) -> None:
    for content in ("a: [", "words", ""):
        (tmp_path / "x.yaml").write_text(content)
        with pytest.raises(InvalidFile):
            load_preset(tmp_path / "x.yaml")
    with pytest.raises(
        InvalidFile, match="no such preset; those that come with the package: photo-psnr, photo-texture"
    ):
        load_preset("nothing")


@pytest.mark.parametrize("name", sorted(available_presets()))
def test_the_shipped_presets(name: str) -> None:
    """Whole, for the model of the package, and no winner by luck; they say on which pictures they were made."""
    preset = kintsugi.load_preset(name)
    assert preset.name == name
    assert preset.prior in kintsugi.available_priors()
    from kintsugi.tune.measure import weights_digest

    # Or of the model before it, if the preset says so: a search takes hours, and what is best changes little.
    weights = preset.content["prior"]["weights"]
    before = weights == "749e8362d8098cec" and "of 24 November 2026" in preset.content["summary"]
    assert before or weights == weights_digest(kintsugi.load_prior(preset.prior))
    tuned, scored = (set(preset.content["images"][half]) for half in ("tuned_on", "scored_on"))
    assert not {n.partition("@")[0] for n in tuned} & {n.partition("@")[0] for n in scored}
    for entry in preset.entries:
        content = entry.content
        assert len(content["verdict"]) > 10
        if entry.settings and content["defaults"] is not None:
            assert content["difference"]["mean"] > content["difference"]["half"]
        for setting, value in entry.settings.items():
            space = available_samplers()[entry.sampler].space
            inner = {f"{setting}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {setting: value}
            assert all(v in space[k] for k, v in inner.items())


# --- restore ----------------------------------------------------------------------------------------------------------


def test_restore_takes_the_settings(tmp_path: Path, model: Path) -> None:
    """The picture is that of the same settings given one by one; --set goes before the preset."""
    given = write(tmp_path)
    base = [
        "restore",
        "example:lighthouse",
        "--task",
        "denoise",
        "--noise",
        "0.1",
        "--prior",
        model,
        "--sampler",
        "ddrm",
    ]
    base += ["--steps", "2"]
    schedule = "schedule={'eta': 3.0, 'end': 0.1}"

    def picture(*words: object) -> bytes:
        done(*base, "-o", tmp_path / "out.png", *words)
        return (tmp_path / "out.png").read_bytes()

    plain, tuned = picture(), picture("--preset", given)
    assert tuned != plain
    assert tuned == picture("--set", "churn=0.5", "--set", schedule)
    assert picture("--preset", given, "--set", "churn=0.9") == picture("--set", "churn=0.9", "--set", schedule)


def test_restore_says_which_entry_it_took(tmp_path: Path, model: Path) -> None:
    words = ["restore", "example:lighthouse", "-o", tmp_path / "out.png", "--task", "denoise", "--noise", "0.05"]
    result = run(*words, "--prior", model, "--sampler", "ddrm", "--steps", "1", "--preset", write(tmp_path))
    assert result.exit_code == 0, result.stderr
    (note,) = [line for line in result.stderr.splitlines() if "preset" in line]
    assert note.startswith("note: preset mine: ddrm, denoise, noise 0.2, 2 steps (churn 0.5, schedule ")
    assert note.endswith("; here: denoise, noise 0.1, 1 steps; tuned with the prior photo")


def test_restore_refuses_what_a_preset_does_not_have(tmp_path: Path, model: Path) -> None:
    base = ["restore", "example:lighthouse", "-o", tmp_path / "out.png", "--prior", model]
    given = write(tmp_path)
    said = refused(*base, "--task", "denoise", "--sampler", "cpigdm", "--preset", given)
    assert "a kind of problem that the preset mine has for cpigdm: bicubic, got denoise" in said
    assert "a sampler that the preset mine has" in refused(*base, "--task", "denoise", "--preset", given)
    assert "no such preset" in refused(*base, "--task", "denoise", "--preset", "nothing")
    assert not (tmp_path / "out.png").exists()


def test_the_command_lists_them(tmp_path: Path) -> None:
    listed = done("presets")
    for name in available_presets():
        assert name in listed
    said = " ".join(done("presets", write(tmp_path)).split())
    assert "denoise, noise 0.2 2 churn 0.5" in said
    assert refused("presets", "nothing").startswith("error: nothing: no such preset")


# --- bench ------------------------------------------------------------------------------------------------------------


def suite(model: Path, preset: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "tuned",
        "priors": [str(model)],
        "images": {"scale": 0.25, "crop": 32},
        "problems": [{"name": "sr", "operator": "bicubic", "factor": 2}],
        "samplers": ["ddrm", {"name": "ddrm", "preset": str(preset)}],
        "steps": [5, 20],
        "metrics": ["psnr"],
        **more,
    }


def test_a_row_of_a_benchmark_keeps_the_settings_that_were_used(tmp_path: Path, model: Path) -> None:
    bench = pytest.importorskip("kintsugi.bench")
    path = tmp_path / "suite.yaml"
    both = {"name": "ddrm", "preset": str(write(tmp_path)), "settings": {"data": 0.5}}
    path.write_text(yaml.safe_dump(suite(model, write(tmp_path), samplers=["ddrm", both | {"settings": {}}, both])))
    checked = bench.load_suite(path)
    found = list(bench.rows(checked, {"a": "digest"}))
    used = {(row.sampler.shown, row.steps): row.sampler.settings for row in found}
    assert used == {
        ("ddrm", 5): {},
        ("ddrm", 20): {},
        ("ddrm (preset mine)", 5): {"churn": 0.1},
        ("ddrm (preset mine)", 20): {"churn": 0.4},
        ("ddrm (preset mine, data=0.5)", 5): {"churn": 0.1, "data": 0.5},
        ("ddrm (preset mine, data=0.5)", 20): {"churn": 0.4, "data": 0.5},
    }
    # The same restoration has the same id, whoever chose the settings.
    path.write_text(
        yaml.safe_dump(suite(model, write(tmp_path), samplers=[{"name": "ddrm", "settings": {"churn": 0.1}}]))
    )
    (alone,) = [row for row in bench.rows(bench.load_suite(path), {"a": "digest"}) if row.steps == 5]
    assert alone.id in {row.id for row in found}


def test_a_benchmark_runs_with_a_preset(tmp_path: Path, model: Path) -> None:
    bench = pytest.importorskip("kintsugi.bench")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "suite.yaml"
    path.write_text(
        yaml.safe_dump(suite(model, write(tmp_path), steps=[5], images={"scale": 0.25, "crop": 32, "limit": 1}))
    )
    bench.run(bench.load_suite(path), tmp_path / "run", say=lambda text: None)
    found = [r for p in bench.store.row_files(tmp_path / "run") for r in parquet.read_table(p).to_pylist()]
    rows = {row["sampler"]: row for row in found}
    assert {name: json.loads(row["settings"]) for name, row in rows.items()} == {
        "ddrm": {},
        "ddrm (preset mine)": {"churn": 0.1},
    }
    assert rows["ddrm"]["metric.psnr"] != rows["ddrm (preset mine)"]["metric.psnr"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samplers": [{"name": "ddrm", "preset": "nothing"}]}, "samplers.0: sampler 'ddrm': nothing: no such preset"),
        (
            {"problems": [{"name": "box", "operator": "box"}]},
            "sampler 'ddrm (preset mine)': preset: expected a kind of",
        ),
        (
            {"samplers": [{"name": "dps", "preset": "PRESET"}]},
            "sampler 'dps (preset mine)': sampler: expected a sampler",
        ),
        (
            {"problems": [], "images": None, "metrics": [], "oracles": ["line"], "samples": 2},
            "presets are for problems",
        ),
    ],
)
def test_mistakes_in_a_suite_are_named(change: dict[str, Any], said: str, tmp_path: Path, model: Path) -> None:
    bench = pytest.importorskip("kintsugi.bench")
    given = write(tmp_path)
    text = yaml.safe_dump(suite(model, given) | change).replace("preset: PRESET", f"preset: {given}")
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(InvalidFile) as caught:
        bench.load_suite(tmp_path / "suite.yaml")
    assert said in str(caught.value)


def test_samples_do_not_depend_on_who_chose_the_settings(tmp_path: Path) -> None:
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    problem = kintsugi.Problem.simulate(x, kintsugi.operators.Bicubic((3, 32, 32), 2))
    method = load_preset(write(tmp_path)).find("ddrm", Place("bicubic", 2), 5).sampler()
    one = kintsugi.restore(problem, "photo", method).samples
    assert torch.equal(one, kintsugi.restore(problem, "photo", "ddrm", churn=0.1).samples)


def test_the_page_shows_the_shipped_presets() -> None:
    """The tables in docs/tune.md are those of the files."""
    page = Path(__file__).parent.parent / "docs" / "tune.md"
    if not page.exists():
        pytest.skip("no docs beside the tests")
    spec = importlib.util.spec_from_file_location("make_tune", page.parent / "make_tune.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = page.read_text()
    for name in available_presets():
        assert script.insert(text, name, script.table(load_preset(name))) == text
    assert script.shown({"w": 3.14159, "schedule": {"eta": 2.0}}) == "w 3.14, schedule.eta 2"
