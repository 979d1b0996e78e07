"""The page in a real browser: Chromium without a window, driven by playwright, against ``kintsugi ui`` as it is run."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import draw_picture
from kintsugi.cli import app
from kintsugi.sounds import write_sound

pytest.importorskip("gradio", reason="needs the extra [ui]")
pytest.importorskip("soundfile", reason="needs the extra [audio]")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
PATIENCE = 60_000  # milliseconds: CI shares its cores


@dataclass(frozen=True)
class Server:
    """``kintsugi ui`` in a process of its own; ``folder`` holds the models under the names that visitors see."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def server(model: Path, sound_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    words = [sys.executable, "-m", "kintsugi", "ui", "--no-browser", "--device", "cpu"]
    for each in (model, sound_model):
        shutil.copy(each, folder)
        words += ["--prior", str(each)]
    words += ["--max-megapixels", "0.5", "--max-upload", "1", "--max-seconds", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield Server(process.stdout.readline().split(" ")[0], folder)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def visit(browser: Any, server: Server, **options: Any) -> Iterator[Any]:
    """The page in a new window. Every request must go to the server, and no script may fail."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    requests: list[str] = []
    failures: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda line: failures.append(line.text) if line.type == "error" else None)
    page.goto(server.address)
    page.wait_for_selector("body[data-ready=yes]")
    yield page
    elsewhere = [url for url in requests if not url.startswith((server.address, "data:", "blob:"))]
    assert elsewhere == []
    assert [line for line in failures if "429" not in line and "400" not in line] == []
    context.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    draw_picture((96, 72), 3).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def drop(page: Any, picture: Path) -> None:
    page.set_input_files("#k-file", picture)
    page.wait_for_selector("#k-board:visible")


def wrong(page: Any, name: str) -> None:
    page.click(f"#k-wrong label:has(input[value={name}])")
    page.wait_for_selector(f"body[data-wrong={name}]")


def fill(page: Any, control: str, value: object) -> None:
    page.fill(f"#{control} input[type=number]", str(value))
    page.keyboard.press("Tab")


def mended(page: Any) -> None:
    page.wait_for_selector("#k-result:not(.k-running) #k-views")
    assert page.inner_text("#k-told") == "Done."


def fetch(page: Any, saved: str) -> bytes:
    """What the download link ``saved`` gives."""
    with page.expect_download() as download:
        page.click(f"#k-files a:text-is('{saved}')")
    assert download.value.suggested_filename == saved
    return Path(download.value.path()).read_bytes()


def test_a_painted_mask_gives_what_the_command_gives(browser: Any, server: Server, photo: Path, tmp_path: Path) -> None:
    with visit(browser, server) as page:
        drop(page, photo)
        wrong(page, "holes")
        box = page.locator("#k-mask").bounding_box()
        x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"]
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 0.3 * box["width"], y, steps=6)
        page.mouse.up()
        fill(page, "k-samples", 2)
        fill(page, "k-texture", 1)
        page.click("#k-mend")
        mended(page)
        command = page.inner_text("#k-command")
        names = page.locator("#k-files a").all_inner_texts()
        made = {name: fetch(page, name) for name in names}
        (tmp_path / "photo-mask.png").write_bytes(made["photo-mask.png"])
    with Image.open(tmp_path / "photo-mask.png") as image:
        missing = np.asarray(image.convert("L"))
    assert missing.shape == (72, 96)
    assert set(np.unique(missing)) == {0, 255}
    assert (missing[36, 32:55] == 255).all()  # where the brush went
    assert (missing[:20] == 0).all()
    shutil.copy(server.folder / "tiny.safetensors", tmp_path)
    with contextlib.chdir(tmp_path):
        said = CliRunner().invoke(app, shlex.split(command)[1:])
        assert said.exit_code == 0, said.output
    compared = [name for name in names if "restored" in name]
    assert len(compared) == 5  # the first, two samples, mean and deviation
    for name in compared:
        assert (tmp_path / name).read_bytes() == made[name], name


def test_a_sound_gives_what_the_command_gives(browser: Any, server: Server, photo: Path, tmp_path: Path) -> None:
    t = torch.arange(8000) / 8000
    write_sound(tmp_path / "song.wav", (0.6 * torch.sin(2764 * t)).clamp(-0.4, 0.4)[None], 8000)
    with visit(browser, server) as page:
        drop(page, tmp_path / "song.wav")
        page.wait_for_function("document.getElementById('k-name').textContent === 'song.wav, 1.0 s'")
        assert page.is_visible("#k-listen")
        assert page.is_hidden("#k-stage")
        offered = page.eval_on_selector_all(
            "#k-wrong input", "all => all.filter((x) => x.offsetParent).map((x) => x.value)"
        )
        assert offered == ["hiss", "clipped", "gaps", "hum", "dull", "mulaw", "rounded"]
        assert page.evaluate("document.body.dataset.wrong") == "hiss"
        page.focus("#k-wrong input[value=hiss]")
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("body[data-wrong=clipped]")
        fill(page, "k-samples", 2)
        fill(page, "k-level", 0.39)
        page.keyboard.press("Control+Enter")
        mended(page)
        for player in ("k-before", "k-after"):
            page.wait_for_function(f"document.getElementById('{player}').readyState > 0")
            assert page.evaluate(f"document.getElementById('{player}').duration") == pytest.approx(1)
        first = page.get_attribute("#k-after", "src")
        page.click("#k-strip button:has-text('Sample 2')")
        assert page.get_attribute("#k-after", "src") != first
        assert page.is_hidden("[data-view=gold]")
        page.wait_for_function("[...document.querySelectorAll('#k-pair img')].every((x) => x.naturalWidth > 0)")
        command = page.inner_text("#k-command")
        names = page.locator("#k-files a").all_inner_texts()
        made = {name: fetch(page, name) for name in names}
        drop(page, photo)  # a picture after a sound: the form is its own again
        page.wait_for_selector("body[data-wrong=unknown]")
        assert page.is_hidden("#k-listen")
        assert page.is_hidden("#k-level")
        assert page.is_hidden("#k-result")
    assert "--level 0.39" in command
    shutil.copy(server.folder / "tiny-sound.safetensors", tmp_path)
    with contextlib.chdir(tmp_path):
        said = CliRunner().invoke(app, shlex.split(command)[1:])
        assert said.exit_code == 0, said.output
    assert len(names) == 5  # the first, two samples, their mean, and the spectrograms
    for name in names:
        assert (tmp_path / name).read_bytes() == made[name], name


def test_an_example_sound(browser: Any, server: Server, photo: Path, tmp_path: Path) -> None:
    with visit(browser, server) as page:
        looks = "[...document.querySelectorAll('#k-examples img')].map((x) => x.naturalWidth > 0)"
        page.wait_for_function(f"{looks}.every(Boolean)")
        assert len(page.evaluate(looks)) == 4
        page.click("[data-example=guitar]")
        page.wait_for_selector("body[data-wrong=gaps]")
        page.wait_for_function("document.getElementById('k-name').textContent === 'guitar, 2.5 s'")
        assert page.is_visible("#k-listen")
        assert page.evaluate("document.getElementById('k-listen').src").endswith("mend/examples/guitar.flac")
        assert page.is_hidden("#k-stage")
        page.click("#k-mend")
        mended(page)
        page.wait_for_function("document.getElementById('k-after').readyState > 0")
        command = page.inner_text("#k-command")
        made = fetch(page, "guitar-restored.wav")
        drop(page, photo)  # a picture after an example sound
        page.wait_for_selector("#k-stage:visible")
        assert page.is_hidden("#k-listen")
    shutil.copy(server.folder / "tiny-sound.safetensors", tmp_path)
    with contextlib.chdir(tmp_path):
        said = CliRunner().invoke(app, shlex.split(command)[1:])
        assert said.exit_code == 0, said.output
    assert (tmp_path / "guitar-restored.wav").read_bytes() == made


def test_with_the_keyboard_alone(browser: Any, server: Server, photo: Path) -> None:
    with visit(browser, server) as page:
        drop(page, photo)
        page.focus("#k-wrong input[value=small]")
        for key, name in ((" ", "small"), ("ArrowDown", "holes")):
            page.keyboard.press(key)
            page.wait_for_selector(f"body[data-wrong={name}]")
        page.focus("#k-mask")
        for key in ("ArrowRight", " ", "Shift+ArrowRight", " ", "u", "+"):
            page.keyboard.press(key)
        assert page.evaluate("kintsugi.easel.state.strokes.length") == 1
        page.keyboard.press("Control+Enter")
        mended(page)
        page.focus("#k-slide")
        before = page.evaluate("document.getElementById('k-over').style.clipPath")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.getElementById('k-over').style.clipPath") != before
        page.focus("#k-views [aria-selected=true]")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#k-views [aria-selected=true]") == "The mending"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_server_removes_all_files(model: Path, tmp_path: Path, ending: signal.Signals) -> None:
    words = [sys.executable, "-m", "kintsugi", "ui", "--no-browser", "--device", "cpu", "--prior", str(model)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split(" ")[0]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert answer.status == 200
            assert list(tmp_path.glob("kintsugi-ui-*"))
            process.send_signal(ending)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert list(tmp_path.glob("kintsugi-ui-*")) == []


def test_stop(browser: Any, server: Server, tmp_path: Path) -> None:
    draw_picture((640, 480), 5).save(tmp_path / "large.png")
    with visit(browser, server) as page:
        drop(page, tmp_path / "large.png")
        wrong(page, "noise")
        page.click("#k-find label")
        fill(page, "k-noise", 20)
        page.click("#k-more button")
        fill(page, "k-steps", 50)
        page.click("#k-mend")
        page.wait_for_function("document.getElementById('k-told').textContent.includes('step ')")
        page.click("#k-stop")
        page.wait_for_function("document.getElementById('k-told').textContent === 'Stopped.'")
        assert page.is_hidden("#k-result")
        assert page.is_enabled("#k-mend")


def test_errors_in_plain_words(browser: Any, server: Server, photo: Path, tmp_path: Path) -> None:
    with visit(browser, server) as page:
        page.click("#k-mend")
        assert page.inner_text("#k-error") == "Drop a file first, or take one of the examples."
        drop(page, photo)
        assert page.is_hidden("#k-error")
        wrong(page, "holes")
        page.click("#k-mend")
        page.wait_for_selector("#k-error:visible")
        assert page.inner_text("#k-error") == "Paint over the holes first, or choose a mask file."
        (tmp_path / "letter.png").write_text("Dear Sir,")
        drop(page, tmp_path / "letter.png")
        page.wait_for_function("document.querySelector('#k-caption').innerText.includes('cannot show it')")
        wrong(page, "small")
        page.click("#k-mend")
        page.wait_for_selector("#k-error:visible")
        assert page.inner_text("#k-error").startswith("Letter.png: not a picture that can be read")
        (tmp_path / "large.png").write_bytes(bytes(2**20 + 1))
        page.set_input_files("#k-file", tmp_path / "large.png")
        page.wait_for_function("document.querySelector('#k-error').innerText.includes('large.png')")
        assert page.inner_text("#k-error") == "large.png is too large: this page takes up to 1 MiB."


def test_copied_and_seen(browser: Any, server: Server) -> None:
    with visit(browser, server, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.click("[data-example=lighthouse]")
        page.wait_for_selector("body[data-wrong=small]")
        fill(page, "k-samples", 3)
        page.click("#k-mend")
        mended(page)
        page.click("[data-copy=k-command]")
        page.wait_for_selector("[data-copy=k-command]:text-is('Copied')")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("kintsugi restore example:lighthouse -o lighthouse-restored.png --task sr --factor 2")
        assert page.locator("#k-strip img").count() == 3
        for view in ("samples", "gold", "steps", "compare"):
            page.click(f"[data-view={view}]")
            page.wait_for_function("[...document.querySelectorAll('#k-pair img')].every((x) => x.hidden || x.complete)")
            sizes = page.evaluate(
                "[...document.querySelectorAll('#k-pair img')].map((x) => x.hidden || x.naturalWidth)"
            )
            assert all(sizes), view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Any, server: Server, scheme: str) -> None:
    phone = {
        "viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": scheme,
        "reduced_motion": "reduce",
    }  # fmt: skip
    with visit(browser, server, **phone) as page:
        width = "document.documentElement.scrollWidth"
        assert page.evaluate(width) == 390
        page.click("[data-example=lighthouse]")
        page.wait_for_selector("#k-board:visible")
        page.click("#k-mend")
        mended(page)
        assert page.evaluate(width) == 390
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour == {"light": "rgb(247, 243, 234)", "dark": "rgb(22, 24, 28)"}[scheme]
        page.click("#k-theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != colour
        small = "[...document.querySelectorAll('#k-page button, .k-button, [role=tab]')]"
        heights = page.evaluate(small + ".filter((x) => x.offsetParent).map((x) => x.offsetHeight)")
        assert min(heights) >= 36  # for a thumb
