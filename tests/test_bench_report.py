"""A benchmark's report: its numbers against SciPy's, its page whole and alone, its errors clear."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from kintsugi.bench.figures import picture_width  # noqa: E402
from kintsugi.bench.intervals import Interval, best, formatter, goal, summary, t_interval  # noqa: E402
from kintsugi.bench.report import read_rows, report  # noqa: E402
from kintsugi.errors import InvalidArgument, InvalidFile  # noqa: E402

# dps on three images with two seeds each; the mean of each image's seeds.
PSNR = {"a": (20.0, 22.0), "b": (25.0, 26.0), "c": (30.0, 30.5)}
IMAGES = [21.0, 25.5, 30.25]


def row(id: str, **changes: Any) -> dict[str, Any]:
    versions = {"kintsugi": "1.2.3", "torch": "2.6", "python": "3.12", "commit": "abc123", "device": "a CPU"}
    return {
        "id": id, "prior": "photo", "image": "a", "problem": "sr4", "sampler": "dps", "steps": 10, "seed": 0,
        "samples": 1, "noise": 0.0, "settings": "{}", "status": "done", "message": "", "forwards": 10.0, "vjps": 10.0,
        "seconds": 2.0, "peak_mib": 0.0, "versions": json.dumps(versions), "metric.psnr": 20.0,
    } | changes  # fmt: skip


def make(folder: Path, *rows: dict[str, Any], **suite: Any) -> Path:
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    (folder / "suite.json").write_text(json.dumps({"name": "small", "title": "A small suite"} | suite))
    for i, content in enumerate(rows):
        parquet.write_table(pyarrow.Table.from_pylist([content]), folder / "rows" / f"{i:03}-{content['id']}.parquet")
    return folder


def known() -> list[dict[str, Any]]:
    """dps (means `IMAGES`) and ddnm (one seed) at 10 steps; ddrm refuses, tds fails on one of its images."""
    rows = [
        row(f"dps-{image}-{seed}", image=image, seed=seed, **{"metric.psnr": value, "metric.lpips": None})
        for image, values in PSNR.items()
        for seed, value in enumerate(values)
    ]
    for i, image in enumerate("abc"):
        numbers = {"metric.psnr": 10.0 + 0.1 * i, "metric.lpips": 0.25 + 0.01 * i}
        rows.append(row(f"ddnm-{image}", image=image, sampler="ddnm", vjps=0.0, seconds=1.0 + i, **numbers))
        no = {"status": "refused", "message": "operator: not | flat", "forwards": None, "vjps": None, "seconds": None}
        rows.append(row(f"ddrm-{image}", image=image, sampler="ddrm", **no, **{"metric.psnr": None}))
    bad = {"status": "failed", "message": "samples are not finite", "metric.psnr": None}
    return [*rows, row("tds-a", sampler="tds"), row("tds-b", sampler="tds", image="b", **bad)]


def cells(markdown: str, sampler: str, steps: int = 10) -> dict[str, str]:
    """The cells of a sampler's first row, by the names of their columns."""
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    header = next(line for line in lines if line[0] == "sampler")
    return dict(zip(header, next(x for x in lines if x[:2] == [sampler, str(steps)]), strict=True))


class Reader(HTMLParser):
    """What a page refers to, its tags, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "poster", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write_png(path: Path, level: int, size: int = 16) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((size, size, 3), level, dtype=np.uint8)).save(path)


def test_interval_is_that_of_scipy() -> None:
    values = list(np.random.default_rng(0).normal(30, 2, 7))
    low, high = stats.t.interval(0.95, df=6, loc=np.mean(values), scale=stats.sem(values))
    found = t_interval(values)
    assert found.half is not None
    np.testing.assert_allclose([found.mean - found.half, found.mean + found.half], [low, high], rtol=1e-9)
    assert found.images == 7


def test_interval_of_one_value_of_equal_values_and_of_infinity() -> None:
    assert t_interval([3.0]) == Interval(3.0, None, 1)
    assert t_interval([0.1, 0.1, 0.1]).half == pytest.approx(0.0, abs=1e-15)
    assert t_interval([math.inf, 1.0]) == Interval(math.inf, None, 2)
    with pytest.raises(InvalidArgument, match="values"):
        t_interval([])


def test_summary_averages_seeds_before_images(tmp_path: Path) -> None:
    found = summary(read_rows(make(tmp_path, *known())), "psnr")
    low, high = stats.t.interval(0.95, df=2, loc=np.mean(IMAGES), scale=stats.sem(IMAGES))
    dps = found["sr4", "dps", 10]
    assert dps.mean == pytest.approx(np.mean(IMAGES))
    assert dps.half == pytest.approx((high - low) / 2)
    assert dps.images == 3
    assert found["sr4", "tds", 10] == Interval(20.0, None, 1)
    assert ("sr4", "ddrm", 10) not in found


def test_summary_leaves_out_what_has_no_value() -> None:
    rows = [row("1"), row("2", image="b", **{"metric.psnr": math.nan}), row("3", image="c", **{"metric.psnr": None})]
    assert summary(rows, "psnr") == {("sr4", "dps", 10): Interval(20.0, None, 1)}
    assert summary(rows, "seconds") == {("sr4", "dps", 10): Interval(2.0, 0.0, 3)}
    assert summary([], "psnr") == {}
    with pytest.raises(InvalidArgument, match="one of psnr, forwards"):
        summary(rows, "beauty")


def test_best_and_what_overlaps_it() -> None:
    far, near, top = Interval(1.0, 0.4, 3), Interval(2.0, 0.6, 3), Interval(3.0, 0.5, 3)
    lucky = Interval(9.0, None, 1)
    table = {"far": far, "near": near, "top": top, "lucky": lucky}
    assert best(table, "higher") == ({"near", "top"}, {"top"})
    assert best(table, "lower") == ({"far", "near"}, {"far"})
    assert best(table, 2.1) == ({"far", "near", "top"}, {"near"})
    assert best(table, None) == best({}, "higher") == (set(), set())
    single = {"x": Interval(1.0, None, 1), "y": Interval(1.0, None, 1), "z": Interval(0.9, None, 1)}
    assert best(single, "higher") == ({"x", "y"}, {"x", "y"})


def test_what_is_worse_on_every_image_is_worse_however_much_images_differ() -> None:
    """Differences by image: 1, 1.1 and 0.9 dB, where the intervals of the means overlap by far."""
    rows = []
    for image, (a, b, c) in {"x": (20.0, 21.0, 21.1), "y": (30.0, 31.1, 30.9), "z": (25.0, 25.9, 26.0)}.items():
        for sampler, value in (("worse", a), ("good", b), ("best", c)):
            rows.append(
                {"problem": "p", "sampler": sampler, "steps": 5, "image": image, "status": "done", "metric.psnr": value}
            )
    found = {key[1]: cell for key, cell in summary(rows, "psnr").items()}
    assert found["worse"].overlaps(found["best"])
    difference = [1.1, 0.9, 1.0]
    assert stats.ttest_1samp(difference, 0).pvalue < 0.05 < stats.ttest_1samp([0.1, -0.2, 0.1], 0).pvalue
    # good and best: 26 and 26 to rounding, which of them leads is chance.
    winners, leaders = best(found, "higher")
    assert winners == {"good", "best"}
    assert leaders <= winners
    other = {**found, "worse": Interval(found["worse"].mean, found["worse"].half, 3)}  # of images that nobody knows
    assert best(other, "higher")[0] == {"worse", "good", "best"}


def test_goals_and_formats() -> None:
    assert [goal(name) for name in ("psnr", "MS-SSIM", "lpips_vgg", "unknown", "")] == ["higher"] * 2 + ["lower"] + [
        None
    ] * 2
    assert formatter([12345.6, 1.0])(12345.6) == "12346"
    assert formatter([123.45])(123.45) == "123.5"
    assert formatter([1.2345])(1.2345) == "1.234"
    assert formatter([0.012345])(0.012345) == "0.0123"
    assert formatter([1.5e-7])(1.5e-7) == "1.50e-07"
    assert formatter([0.0])(0.0) == "0.000"
    assert formatter([math.inf])(math.inf) == "inf"


def test_markdown_holds_the_numbers(tmp_path: Path) -> None:
    _, markdown = report(make(tmp_path, *known()))
    text = markdown.read_text(encoding="utf-8")
    half = stats.t.ppf(0.975, 2) * stats.sem(IMAGES)
    dps = cells(text, "dps")
    assert dps["psnr ↑"] == f"**{np.mean(IMAGES):.2f} ± {half:.2f}**" == "**25.58 ± 11.49**"
    assert dps["forwards + VJPs"] == "10 + 10"
    assert dps["seconds"] == "2.000"
    assert dps["lpips ↓"] == "-"
    ddnm = cells(text, "ddnm")
    assert ddnm["forwards + VJPs"] == "10 + 0"
    assert ddnm["psnr ↑"] == "10.10 ± 0.25"
    assert ddnm["lpips ↓"] == "**0.260 ± 0.025**"
    assert cells(text, "ddrm") == {
        "sampler": "ddrm", "steps": "10", "forwards + VJPs": "refused", "seconds": "-", "psnr ↑": "-", "lpips ↓": "-",
    }  # fmt: skip
    assert cells(text, "tds")["psnr ↑"] == "20.00 (1)"
    assert r"- ddrm, steps 10: refused (3 rows): operator: not \| flat" in text
    assert "- tds, steps 10: failed (1 row): samples are not finite" in text


def test_header_counts(tmp_path: Path) -> None:
    text = report(make(tmp_path, *known()))[1].read_text(encoding="utf-8")
    assert text.startswith("# A small suite\n")
    for line in ("rows: 10 done, 3 refused, 1 failed", "network: 110 forwards + 80 VJPs", "time: 22.0 seconds"):
        assert f"- {line}\n" in text
    for line in ("kintsugi: 1.2.3", "commit: abc123", "device: a CPU", "priors: photo", "images: 3"):
        assert f"- {line}\n" in text
    assert "cannot be compared" not in text
    many = [row("1", seconds=7200.0), row("2", image="b", versions='{"device": "another"}')]
    text = report(make(tmp_path / "many", *many))[1].read_text(encoding="utf-8")
    assert "- time: 2.00 hours\n" in text
    assert "- device: a CPU (1 rows); another (1 rows)\n" in text
    assert "their seconds cannot be compared" in text


@pytest.mark.parametrize("pictures", [True, False])
def test_page_is_whole_and_alone(tmp_path: Path, pictures: bool) -> None:
    run = make(tmp_path, *known(), metrics=["psnr", "lpips"])
    if pictures:
        for name, level in (("truth-a", 10), ("y-sr4-a", 20), ("dps-a-0", 30), ("dps-a-1", 40), ("ddnm-a", 50)):
            write_png(run / "images" / f"{name}.png", level)
    html, _ = report(run)
    page = Reader(html.read_text(encoding="utf-8"))
    assert page.open == []
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "url(" not in html.read_text(encoding="utf-8")
    assert "http" not in re.sub(r"data:[^\"]*", "", html.read_text(encoding="utf-8"))
    drawings = [reference for reference in page.references if reference.startswith("data:image/svg")]
    assert len(drawings) == 2 * (3 + 4)  # light and dark: the legend of three samplers; two metrics against two costs
    photos = [reference for reference in page.references if reference.startswith("data:image/png")]
    assert len(photos) == (4 if pictures else 0)  # truth, measurement, ddnm, and dps of the lower seed
    assert "25.58 ± 11.49" in page.text
    assert ("measurement" in page.text) == ("psnr 20.00" in page.text) == pictures
    assert sorted(path.name for path in run.iterdir() if path.is_file()) == ["report.html", "report.md", "suite.json"]


def test_names_are_escaped(tmp_path: Path) -> None:
    names = {"problem": "<b>a|b</b>", "sampler": "dps <script>alert(1)</script> & $x_", "image": '"><img src=x>'}
    broken = row("2", status="refused", message="<i>no</i>\nway", **names | {"sampler": "_under"})
    run = make(tmp_path, row("1", **names), broken, title="</title><script>", note="```")
    write_png(run / "images" / "1.png", 0)
    html, markdown = report(run)
    page = Reader(html.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "i" not in page.tags
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert names["problem"] in page.text
    assert names["sampler"] in page.text
    text = markdown.read_text(encoding="utf-8")
    assert r"## &lt;b&gt;a\|b&lt;/b&gt;" in text
    assert r"| dps &lt;script&gt;alert(1)&lt;/script&gt; &amp; $x\_ | 10 |" in text
    assert "refused (1 row): &lt;i&gt;no&lt;/i&gt; way" in text
    assert "\n````json\n" in text


def test_same_id_counts_once(tmp_path: Path) -> None:
    later = {"metric.psnr": 30.0}
    run = make(tmp_path, row("x"), row("x", **later), row("x", status="failed"), row("z", image="b", status="refused"))
    rows = read_rows(run)
    assert [(r["id"], r["status"], r["metric.psnr"]) for r in rows] == [("x", "done", 30.0), ("z", "refused", 20.0)]
    assert "- rows: 1 done, 1 refused, 0 failed\n" in report(run)[1].read_text(encoding="utf-8")


def test_a_file_of_several_rows_and_one_being_written(tmp_path: Path) -> None:
    run = make(tmp_path)
    extra = {"metric.ssim": 0.5}
    parquet.write_table(pyarrow.Table.from_pylist([row("1"), row("2")]), run / "rows" / "a.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([row("3") | extra]), run / "rows" / "b.parquet")
    (run / "rows" / ".c.xyz.parquet").write_bytes(b"half")
    rows = read_rows(run)
    assert [r["id"] for r in rows] == ["1", "2", "3"]
    assert [r["metric.ssim"] for r in rows] == [None, None, 0.5]


def test_what_differs_is_not_averaged(tmp_path: Path) -> None:
    rows = [
        row("1", settings='{"zeta": 0.1, "w": 1}'), row("2", settings='{"zeta": 0.2, "w": 1}'),
        row("3", prior="other", settings='{"zeta": 0.1, "w": 1}'), row("4", problem="blur", noise=0.1),
        row("5", problem="blur", noise=0.2),
    ]  # fmt: skip
    text = report(make(tmp_path, *rows, problems=[{"name": "sr4"}, {"name": "blur"}]))[1].read_text(encoding="utf-8")
    heads = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert heads == [
        "sr4, other", "sr4, photo", "blur, photo, noise 0.1", "blur, photo, noise 0.2", "Settings",
    ]  # fmt: skip
    assert "| dps (zeta=0.1) | 10 |" in text
    assert "| dps (zeta=0.2) | 10 |" in text
    assert "- dps (zeta=0.2): w = 1, zeta = 0.2" in text


def test_order_is_the_suites(tmp_path: Path) -> None:
    rows = [row("1", sampler="b (w=2)"), row("2", sampler="a"), row("3", sampler="b"), row("4", sampler="0")]
    samplers = [{"name": "b", "label": ""}, {"name": "b", "label": "b (w=2)"}, {"name": "a", "label": ""}]
    text = report(make(tmp_path, *rows, samplers=samplers))[1].read_text(encoding="utf-8")
    assert re.findall(r"^\| (\S.*?) \| 10 ", text, re.MULTILINE) == ["b", "b (w=2)", "a", "0"]


def test_single_image_and_values_at_the_edge(tmp_path: Path) -> None:
    rows = [
        row("1"), row("2", sampler="none", forwards=0.0, vjps=0.0, seconds=0.0, **{"metric.psnr": 15.0}),
        row("3", sampler="perfect", **{"metric.psnr": math.inf}),
    ]  # fmt: skip
    html, markdown = report(make(tmp_path, *rows))
    text = markdown.read_text(encoding="utf-8")
    assert "1 image, noise 0" in text
    assert cells(text, "dps")["psnr ↑"] == "20.00"
    assert cells(text, "none")["forwards + VJPs"] == "0 + 0"
    assert cells(text, "perfect")["psnr ↑"] == "**inf**"
    assert Reader(html.read_text(encoding="utf-8")).open == []


def test_nothing_but_refusals(tmp_path: Path) -> None:
    rows = [row("1", status="refused", message="no", **{"metric.psnr": None}), row("2", sampler="tds", status="failed")]
    html, markdown = report(make(tmp_path, *rows))
    text = markdown.read_text(encoding="utf-8")
    assert cells(text, "dps")["forwards + VJPs"] == "refused"
    assert cells(text, "tds")["forwards + VJPs"] == "failed"
    assert "data:" not in html.read_text(encoding="utf-8")


def test_output_may_be_a_file_or_a_folder(tmp_path: Path) -> None:
    run = make(tmp_path / "run", row("1"))
    file = tmp_path / "deep" / "page.html"
    assert report(run, file) == (file, file.with_suffix(".md"))
    assert report(run, tmp_path / "out") == (tmp_path / "out" / "report.html", tmp_path / "out" / "report.md")
    assert file.read_bytes() == (tmp_path / "out" / "report.html").read_bytes()  # nothing in it depends on the hour
    assert not (run / "report.html").exists()


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    run = make(tmp_path, row("1"))
    write_png(run / "images" / "1.png", 7, size=1024)
    uri = next(r for r in Reader(report(run)[0].read_text(encoding="utf-8")).references if "png" in r)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (512, 512)
        assert image.getpixel((5, 5)) == (7, 7, 7)
    assert picture_width(run / "images" / "1.png") == (256, False)
    write_png(run / "images" / "2.png", 7, size=96)
    assert picture_width(run / "images" / "2.png") == (192, True)


def test_damaged_and_empty_runs(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"nowhere: no such folder"):
        report(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InvalidFile, match=r"suite\.json: cannot be read"):
        report(tmp_path / "bare")
    with pytest.raises(InvalidFile, match="rows: no rows yet"):
        report(make(tmp_path / "empty"))
    run = make(tmp_path / "run", row("1"))
    for text, problem in (("{", "not JSON"), ("[]", "expected a JSON object")):
        (run / "suite.json").write_text(text)
        with pytest.raises(InvalidFile, match=rf"suite\.json: {problem}"):
            report(run)
    assert not (run / "report.html").exists()
    for content in (b"", b"not parquet", (run / "rows" / "000-1.parquet").read_bytes()[:-20]):
        (run / "rows" / "bad.parquet").write_bytes(content)
        with pytest.raises(InvalidFile, match=r"bad\.parquet: cannot be read as Parquet"):
            read_rows(run)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "lost"}, "status: expected one of done, refused, failed, got 'lost'"),
        ({"steps": "many"}, "steps: expected an integer"),
        ({"image": None}, "image: expected a text"),
        ({"metric.psnr": "high"}, "metric.psnr: expected a number"),
        ({"settings": "{"}, "settings: not JSON"),
        ({"versions": "3"}, "versions: expected a JSON object"),
    ],
)
def test_damaged_rows(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidFile, match=rf"000-1\.parquet: {re.escape(problem)}"):
        report(make(tmp_path, row("1") | changes))


def test_missing_columns_and_damaged_pictures(tmp_path: Path) -> None:
    short = row("1")
    del short["noise"], short["seed"]
    with pytest.raises(InvalidFile, match="the columns seed, noise are missing"):
        read_rows(make(tmp_path / "short", short))
    run = make(tmp_path / "run", row("1"))
    for name in ("1", "truth-a"):
        write_png(run / "images" / f"{name}.png", 0)
        (run / "images" / f"{name}.png").write_bytes(b"no picture")
        with pytest.raises(InvalidFile, match=rf"{name}\.png: (not a picture|corrupt)"):
            report(run)
