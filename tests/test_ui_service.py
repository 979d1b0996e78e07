"""The routes of the page and the door before them, without gradio: what is answered, refused, hidden."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra [ui]")
pytest.importorskip("httpx", reason="needs the extra [test]")
pytest.importorskip("python_multipart", reason="needs the extra [ui]")
pytest.importorskip("soundfile", reason="needs the extra [audio]")

import torch
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from kintsugi import data_path
from kintsugi.priors import load_prior
from kintsugi.sounds import write_sound
from kintsugi.ui.asked import Craft
from kintsugi.ui.door import Door
from kintsugi.ui.examples import EXAMPLES
from kintsugi.ui.limits import Limits
from kintsugi.ui.mend import Mended, Work, mend
from kintsugi.ui.service import Service
from kintsugi.ui.workshop import Job, Workshop

LIMITS = Limits(upload=2**18, megapixels=0.1, seconds=1.0, queue=2, each=1)


class Served:
    """The service of a model behind its door, as ``serve.py`` puts it together."""

    def __init__(self, model: Path, craft: Craft = "pictures", limits: Limits = LIMITS) -> None:
        prior = load_prior(model)

        def work(job: Job) -> Mended:
            return mend(
                Work(job.asked, job.source, job.mask, job.name, job.folder, prior, limits, job.report, job.stop.is_set)
            )

        self.shop = Workshop(work, limits)
        hidden = [
            Route(f"/gradio_api/{name}", lambda request: PlainTextResponse("open")) for name in ("file", "upload")
        ]
        app = Starlette(routes=[*Service(self.shop, limits, {"tiny": craft}).routes(), *hidden])
        self.app = Door(app, limits.upload, ["testserver"])

    def client(self) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False)  # type: ignore[arg-type]


@pytest.fixture
def served(model: Path) -> Iterator[Served]:
    server = Served(model)
    yield server
    server.shop.close()


@pytest.fixture
def hearing(sound_model: Path) -> Iterator[Served]:
    """The same of sounds."""
    server = Served(sound_model, "sounds")
    yield server
    server.shop.close()


def start(client: TestClient, picture: Path | None = None, *, example: str = "lighthouse", **asked: object) -> Any:
    form = {"asked": json.dumps({"wrong": "small", "steps": 1, "prior": "tiny", **asked})}
    if picture is None:
        return client.post("/mend/jobs", data={**form, "example": example})
    return client.post("/mend/jobs", data=form, files={"input": (picture.name, picture.read_bytes())})


def finish(client: TestClient, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    end = time.monotonic() + 60
    told: dict[str, Any] = answer.json()
    while told["state"] in ("waiting", "running"):
        assert time.monotonic() < end
        time.sleep(0.02)
        told = client.get(f"/mend/jobs/{told['id']}").json()
    return told


def test_a_picture_is_mended_and_fetched(served: Served, pictures: Path) -> None:
    client = served.client()
    told = finish(client, start(client, pictures / "p0.png"))
    assert told["state"] == "done", told
    name = told["result"]["samples"][0]
    saved = client.get(f"/mend/jobs/{told['id']}/{name}?save=1")
    assert saved.content.startswith(b"\x89PNG")
    assert saved.headers["content-disposition"] == 'attachment; filename="p0-restored.png"'
    for file in [*told["result"]["files"], *told["result"]["shown"].values(), "step1.webp"]:
        assert client.get(f"/mend/jobs/{told['id']}/{file}").status_code == 200, file
    assert client.post(f"/mend/jobs/{told['id']}/leave").status_code == 204
    assert client.get(f"/mend/jobs/{told['id']}").status_code == 404
    assert list(served.shop.root.iterdir()) == []


def tone(path: Path, seconds: float = 0.25, channels: int = 1) -> Path:
    t = torch.arange(round(8000 * seconds)) / 8000
    write_sound(path, (0.5 * torch.sin(2764 * t)).expand(channels, -1), 8000)
    return path


def test_a_sound_is_mended_and_fetched(hearing: Served, tmp_path: Path) -> None:
    client, other = hearing.client(), hearing.client()
    told = finish(client, start(client, tone(tmp_path / "../a song.wav"), wrong="hiss", noise=0.05))
    assert told["state"] == "done", told
    result, address = told["result"], f"/mend/jobs/{told['id']}"
    saved = client.get(f"{address}/restored.wav?save=1")
    assert saved.content.startswith(b"RIFF")
    assert saved.headers["content-disposition"] == "attachment; filename*=utf-8''a%20song-restored.wav"
    for file in [*result["files"], *result["shown"].values(), *result["looks"], *result["heard"].values()]:
        assert client.get(f"{address}/{file}").status_code == 200, file
        assert other.get(f"{address}/{file}").status_code == 404, file
    played = client.get(f"{address}/{result['heard']['before']}", headers={"range": "bytes=0-3"})
    assert (played.status_code, played.content, played.headers["content-type"]) == (206, b"RIFF", "audio/wav")
    for hidden in ("input.wav", "played2.wav", "spectrum2.png", "step1.webp"):
        assert client.get(f"{address}/{hidden}").status_code == 404
    assert str(hearing.shop.root) not in json.dumps(told)
    assert client.post(f"{address}/leave").status_code == 204
    assert list(hearing.shop.root.iterdir()) == []


def test_hostile_and_oversized_sounds(hearing: Served, tmp_path: Path) -> None:
    client = hearing.client()

    def message(path: Path, **asked: object) -> str:
        told = finish(client, start(client, path, **{"wrong": "hiss", "noise": 0.05, **asked}))
        assert told["state"] == "failed", told
        assert str(hearing.shop.root) not in json.dumps(told)
        return str(told["message"])

    assert "2 seconds; this page takes up to 1" in message(tone(tmp_path / "long.flac", 2))
    assert "3 channels" in message(tone(tmp_path / "wide.wav", channels=3))
    (tmp_path / "letter.wav").write_bytes(b"Dear Sir,")
    assert message(tmp_path / "letter.wav").startswith("Letter.wav: not a readable sound")
    whole = tone(tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[:60])
    assert message(tmp_path / "cut.flac").startswith("Cut.flac: ")
    claims = bytearray(whole)  # 2**36 - 1 samples, its header says
    claims[21] |= 0x0F
    claims[22:26] = b"\xff" * 4
    (tmp_path / "claims.flac").write_bytes(claims)
    assert "8.59e+06 seconds; this page takes up to 1" in message(tmp_path / "claims.flac")
    (tmp_path / "samples.raw.wav").write_bytes(bytes(1000))
    assert message(tmp_path / "samples.raw.wav").startswith("Samples.raw.wav: not a readable sound")
    write_sound(tmp_path / "nan.wav", torch.zeros(1, 99), 8000, "FLOAT")
    silent = bytearray((tmp_path / "nan.wav").read_bytes())
    silent[-4:] = b"\xff" * 4
    (tmp_path / "nan.wav").write_bytes(silent)
    assert "NaN" in message(tmp_path / "nan.wav")
    for name, asked in (("song.png", {}), ("song", {}), ("song.wav", {"gaps": "/etc/passwd", "wrong": "gaps"}),
                        ("song.wav", {"wrong": "small"}), ("song.wav", {"prior": "sound"})):  # fmt: skip
        whole = tone(tmp_path / "song.wav").read_bytes()
        (tmp_path / name).write_bytes(whole)
        answer = start(client, tmp_path / name, **{"wrong": "hiss", **asked})
        assert answer.status_code == (202 if name == "song" else 400), (name, asked)
        if name == "song":  # a name without an ending is replaced
            assert finish(client, answer)["name"] == "sound.wav"
    assert start(client, wrong="hiss").status_code == 400  # the lighthouse is none
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(LIMITS.upload))
    assert start(client, large, wrong="hiss").status_code == 413


def test_pictures_named_like_sounds_are_refused(served: Served, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "p0.wav").write_bytes((pictures / "p0.png").read_bytes())
    answer = start(served.client(), tmp_path / "p0.wav")
    assert (answer.status_code, answer.json()["error"]) == (400, "The file: expected a picture, got p0.wav")
    assert list(served.shop.root.iterdir()) == []


def test_another_client_finds_nothing(served: Served) -> None:
    owner, other = served.client(), served.client()
    told = finish(owner, start(owner))
    for address in (f"/mend/jobs/{told['id']}", f"/mend/jobs/{told['id']}/restored.png"):
        assert owner.get(address).status_code == 200
        assert other.get(address).status_code == 404
    for verb in ("stop", "leave"):
        assert other.post(f"/mend/jobs/{told['id']}/{verb}").status_code == 404
    assert owner.get(f"/mend/jobs/{told['id']}/restored.png").status_code == 200


@pytest.mark.parametrize(
    "name",
    ["input.png", "mask.png", "..%2f..%2fetc%2fpasswd", "%2e%2e", "step0.webp", "step2.webp", "step99.webp", "x"],
)
def test_only_results_are_fetched(served: Served, name: str) -> None:
    client = served.client()
    told = finish(client, start(client))
    assert client.get(f"/mend/jobs/{told['id']}/{name}").status_code == 404


@pytest.mark.parametrize("name", ["page.py", "..%2fpage.py", "..", "look.css%00", "head.html"])
def test_only_what_the_page_is_made_of_is_static(served: Served, name: str) -> None:
    assert served.client().get(f"/mend/static/{name}").status_code == 404


@pytest.mark.parametrize("name", ["photo", "photo.safetensors", "..%2f__init__.py", "portrait.png", "guitar.flac"])
def test_only_examples_are_examples(served: Served, name: str) -> None:
    """Of what the page has a model for."""
    assert served.client().get(f"/mend/examples/{name}").status_code == 404


def test_examples_are_fetched(served: Served, hearing: Served) -> None:
    for server, craft in ((served, "pictures"), (hearing, "sounds")):
        offered = [each for each in EXAMPLES.values() if each.craft == craft]
        assert len(offered) == 2
        for example in offered:
            answer = server.client().get(f"/mend/examples/{example.file}")
            assert answer.content == data_path(example.file).read_bytes()
            assert answer.headers["content-type"] == ("image/png" if craft == "pictures" else "audio/flac")
            assert server.client().get(f"/{example.look}").headers["content-type"].startswith("image/")
    mask = served.client().get("/mend/examples/parrots-mask.png")
    assert mask.content == data_path("parrots-mask").read_bytes()


def test_an_example_sound_is_mended(sound_model: Path) -> None:
    server = Served(sound_model, "sounds", replace(LIMITS, seconds=3.0))
    client = server.client()
    told = finish(client, start(client, example="guitar", wrong="gaps"))
    assert told["state"] == "done", told
    result = told["result"]
    command = "kintsugi restore example:guitar -o guitar-restored.wav --task gap --steps 1"
    assert result["command"].startswith(command)
    assert "read_sound(data_path('guitar'))" in result["python"]
    assert result["notes"][0] == "8 gaps of 20 ms"
    assert client.get(f"/mend/jobs/{told['id']}/{result['heard']['before']}").content.startswith(b"RIFF")
    saved = client.get(f"/mend/jobs/{told['id']}/restored.wav?save=1")
    assert saved.headers["content-disposition"] == 'attachment; filename="guitar-restored.wav"'
    assert str(data_path("guitar").parent) not in json.dumps(told)
    server.shop.close()


def test_an_example_that_is_too_long_for_the_page_is_refused(hearing: Served) -> None:
    client = hearing.client()
    told = finish(client, start(client, example="guitar", wrong="gaps"))
    assert told["message"].startswith("Example:guitar: 2.5 seconds; this page takes up to 1")
    assert start(client, example="piano", wrong="hiss").status_code == 400  # bundled, and not on the page


def test_errors_in_plain_words_without_paths(served: Served, tmp_path: Path) -> None:
    client = served.client()
    (tmp_path / "letter.png").write_bytes(b"Dear Sir,")
    told = finish(client, start(client, tmp_path / "letter.png"))
    assert told["message"] == "Letter.png: not a picture that can be read (PNG, JPEG, WebP, TIFF, BMP, GIF)"
    told = finish(client, start(client, wrong="holes"))
    assert told["message"] == "Paint over the holes first, or choose a mask file."
    told = finish(client, start(client, wrong="jpeg"))
    assert told["message"].startswith("Only a JPEG file states how it was compressed")
    told = finish(client, start(client, factor=8))
    assert "this page takes up to 0.1" in told["message"]
    told = finish(client, start(client, wrong="noise", noise=0.1, texture=1, steps=1))
    assert told["state"] == "done"
    answer = start(client, prior="/etc/passwd")
    assert (answer.status_code, answer.json()["error"]) == (400, "The model: expected one of tiny, got /etc/passwd")
    answer = client.post("/mend/jobs", data={"asked": "{"})
    assert answer.status_code == 400
    answer = client.post("/mend/jobs", data={"asked": "{}"})
    assert answer.status_code == 400  # the default model is not offered, nor a picture sent


def test_uploads_are_limited(served: Served, tmp_path: Path) -> None:
    client = served.client()
    (tmp_path / "large.png").write_bytes(bytes(LIMITS.upload))
    answer = start(client, tmp_path / "large.png")
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "That file is too large: this page takes up to 0.25 MiB.",
    )

    def endless() -> Iterator[bytes]:  # no length is announced
        head = 'Content-Disposition: form-data; name="input"; filename="a.png"'
        yield f"--x\r\n{head}\r\n\r\n".encode()
        for _ in range(100):
            yield bytes(2**16)

    answer = client.post("/mend/jobs", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert list(served.shop.root.iterdir()) == []
    many = {"input": ("a.png", b"x"), "mask": ("b.png", b"x"), "third": ("c.png", b"x")}
    assert client.post("/mend/jobs", data={"asked": "{}"}, files=many).status_code == 400


def test_a_client_that_asks_too_much_is_refused(served: Served) -> None:
    client = served.client()
    first = start(client, wrong="noise", noise=0.1, steps=50)
    second = start(client)
    assert (second.status_code, first.status_code) == (429, 202)
    assert "You already have files waiting" in second.json()["error"]
    others = [start(served.client(), wrong="noise", noise=0.1, steps=50).status_code for _ in range(4)]
    assert others == [202, 202, 503, 503]
    stopped = client.post(f"/mend/jobs/{first.json()['id']}/stop")
    assert stopped.status_code == 200
    assert finish(client, first)["state"] == "stopped"


def test_the_door(served: Served) -> None:
    client = served.client()
    assert client.get("/mend/static/look.css").status_code == 200
    for address in ("/gradio_api/file", "/gradio_api/upload", "/docs", "/openapi.json", "/mend", "//mend/jobs"):
        assert client.get(address).status_code == 404, address
    assert client.get("/mend/static/look.css", headers={"host": "evil.example"}).status_code == 421
    post = {"data": {"asked": "{}", "example": "lighthouse"}}
    assert client.post("/mend/jobs", headers={"origin": "http://evil.example"}, **post).status_code == 403
    assert client.post("/mend/jobs", headers={"origin": "null"}, **post).status_code == 403
    answer = client.get("/mend/static/look.css", headers={"origin": "http://testserver"})
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    with pytest.raises(Exception, match=r".*"), client.websocket_connect("/gradio_api/queue"):
        pass


def test_a_client_keeps_its_cookie_and_cannot_choose_one(served: Served) -> None:
    first = served.client().get("/mend/static/look.css")
    cookie = first.cookies["kintsugi"]
    assert len(cookie) == 32
    header = first.headers["set-cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Strict" in header
    again = served.client().get("/mend/static/look.css", headers={"cookie": f"kintsugi={cookie}"})
    assert "set-cookie" not in again.headers
    odd = served.client().get("/mend/static/look.css", headers={"cookie": "kintsugi=me"})
    assert odd.cookies["kintsugi"] != "me"
