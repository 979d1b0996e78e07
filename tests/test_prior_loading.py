"""``load_prior`` by one string: files, names, mistakes, and files that would run code."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import kintsugi
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.priors import KNOWN, ModelPrior, NetworkPrior, Windows, adm, available_priors, convert, hub
from kintsugi.priors.checkpoint import state_of
from literal_adm import LiteralADM, randomise
from test_cli import done, refused

pytest.importorskip("diffusers")
SIZE = 16


def network() -> nn.Module:
    return randomise(LiteralADM(updown=True, head_channels=16))


def checkpoint(folder: Path, name: str = "model.pt") -> Path:
    path = folder / name
    torch.save(network().state_dict(), path)
    return path


def at(prior: Any, seed: int = 0) -> Tensor:
    z = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return prior.denoise(z, torch.tensor([0.8]))


WORDS = {"size": SIZE, "head_channels": 16}


def test_a_checkpoint_is_known_by_its_weights(tmp_path: Path) -> None:
    expected = at(adm.load(network().state_dict(), **WORDS))
    state = network().state_dict()
    wrapped = {"module." + name: value for name, value in state.items()}
    older = {name: value * 0 for name, value in state.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "a.ckpt")
    torch.save({"model": older, "ema": state}, tmp_path / "b.pth")  # averaged weights come first
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "c.safetensors")
    for path in (checkpoint(tmp_path), tmp_path / "a.ckpt", tmp_path / "b.pth", tmp_path / "c.safetensors"):
        prior = kintsugi.load_prior(path, **WORDS)
        assert isinstance(prior, ModelPrior)
        torch.testing.assert_close(at(prior), expected)
        assert not any(p.requires_grad for p in prior.parameters())


def test_options_are_those_of_the_family(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    cosine = kintsugi.load_prior(path, **WORDS, schedule="cosine")
    assert cosine.path != kintsugi.load_prior(path, **WORDS).path
    with pytest.raises(InvalidArgument, match=r"shedule: expected an option of .* family 'adm': size, "):
        kintsugi.load_prior(path, **WORDS, shedule="cosine")
    with pytest.raises(InvalidArgument, match="size"):
        kintsugi.load_prior(path)
    with pytest.raises(InvalidArgument, match="size: expected no such option for the embedded model 'photo'"):
        kintsugi.load_prior("photo", size=16)
    wide = (
        kintsugi.load_prior(path, **WORDS, windows=True) if SIZE > 32 else kintsugi.load_prior(path, **WORDS, windows=4)
    )
    assert isinstance(wide, Windows)


# --- names ------------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert isinstance(kintsugi.load_prior("photo"), NetworkPrior)
    with pytest.raises(InvalidArgument, match=r"prior: expected one of face, face-flow, phantom-ct, .* on the hub"):
        kintsugi.load_prior("fotos")
    for missing in ("nowhere/model.pt", "model.pt", "./a/b/c", "model.onnx"):
        with pytest.raises(InvalidFile):
            kintsugi.load_prior(missing)


def test_the_table_is_whole() -> None:
    assert not set(KNOWN) & set(available_priors())
    for name, known in KNOWN.items():
        assert ":" not in name
        assert "/" not in name
        assert all((known.source, known.size, known.licence, known.path, known.what, known.data_range)), name
        assert known.source.startswith("https://") or hub.is_hub_name(known.source), name
        assert known.sha256 is None or len(known.sha256) == 64
        for option in known.options:
            assert option in {"size", "schedule", "heads", "new_attention_order", "kind", "centered"}, name
    flows = {f"{what}-256-flow" for what in ("celebahq", "afhq-cat", "lsun-bedroom", "lsun-church")}
    pixels = {"imagenet-64", "imagenet-128", "imagenet-256", "imagenet-512", "ffhq-256"}
    latents = {"dit-256", "sd-1.5", "sd-2.1", "sdxl", "sd3", "flux-dev"}
    assert flows | pixels | latents <= set(KNOWN)


def test_a_known_name_with_a_file_has_the_names_settings(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    named = kintsugi.load_prior(f"imagenet-64:{path}", head_channels=16, size=SIZE)
    said = adm.load(network().state_dict(), **WORDS, schedule="cosine", new_attention_order=True)
    torch.testing.assert_close(at(named), at(said))
    with pytest.raises(InvalidFile, match=r"ffhq-256: cannot be fetched by a program: download https://drive.*FILE"):
        kintsugi.load_prior("ffhq-256")


def test_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download is whole or not there, checked where its digest is known, and not repeated."""
    source, fetched = checkpoint(tmp_path), []

    def copy(address: str, target: str, progress: bool) -> None:
        fetched.append(address)
        if "broken" in address:
            Path(target).write_bytes(source.read_bytes()[:100])
            raise OSError("connection reset")
        Path(target).write_bytes(source.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", copy)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    for _ in range(2):
        torch.testing.assert_close(
            at(kintsugi.load_prior("https://x.org/m.pt", **WORDS)), at(kintsugi.load_prior(source, **WORDS))
        )
    assert fetched == ["https://x.org/m.pt"]
    with pytest.raises(InvalidFile, match=r"cannot be downloaded \(connection reset\); fetch it on another machine"):
        kintsugi.load_prior("https://x.org/broken.pt", **WORDS)
    assert sorted(p.name for p in (tmp_path / "cache/checkpoints").iterdir()) == ["m.pt"]
    with pytest.raises(InvalidFile, match="its SHA-256 is"):
        hub.download("https://x.org/other.pt", "0" * 64)
    assert not (tmp_path / "cache/checkpoints/other.pt").exists()
    with pytest.raises(InvalidArgument, match="https"):
        kintsugi.load_prior("http://x.org/m.pt")


# --- files that are not what they should be ---------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def test_files_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": network().state_dict(), "args": Bomb()}, "bomb.pt")
    Path("edm.pkl").write_bytes(pickle.dumps({"ema": Bomb()}))
    Path("plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pt", "edm.pkl", "plain.pt"):
        with pytest.raises(InvalidFile, match=r"would run code when read .* torch.save\(model.state_dict"):
            kintsugi.load_prior(name)
    assert not Path("pwned").exists()


def test_damaged_files(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    whole = path.read_bytes()
    for cut in (0, 10, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidFile):
            kintsugi.load_prior(path, **WORDS)
    safe = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3)}, safe)
    with pytest.raises(InvalidFile, match=r"weights of no family that is known here \(they begin with a\)"):
        kintsugi.load_prior(safe)
    safe.write_bytes(safe.read_bytes()[:-3])
    with pytest.raises(InvalidFile, match="not a readable safetensors file"):
        kintsugi.load_prior(safe)
    torch.save([1, 2], path)
    with pytest.raises(InvalidFile, match="it holds list"):
        kintsugi.load_prior(path)
    torch.save({"epoch": 3, "lr": 0.1}, path)
    with pytest.raises(InvalidFile, match="no weights in it; it has epoch, lr"):
        kintsugi.load_prior(path)
    state = network().state_dict()
    state["out.2.weight"][0, 0] = torch.nan
    torch.save(state, path)
    with pytest.raises(InvalidFile, match=r"not finite, first in 'out.2.weight'"):
        kintsugi.load_prior(path, **WORDS)
    with pytest.raises(InvalidFile, match="nothing"):
        state_of({}, "x")


# --- convert ----------------------------------------------------------------------------------------------------------


def test_a_converted_file_loads_without_options(tmp_path: Path) -> None:
    path, target = checkpoint(tmp_path), tmp_path / "out.safetensors"
    convert(path, target, dtype=torch.float32, **WORDS, schedule="cosine")
    expected = kintsugi.load_prior(path, **WORDS, schedule="cosine")
    back = kintsugi.load_prior(target)
    assert torch.equal(at(back), at(expected))
    assert back.path == expected.path
    with safe_open(target, framework="pt") as file:
        header = json.loads(file.metadata()["kintsugi"])
    assert header == {
        "format": 1,
        "architecture": "adm",
        "options": {**WORDS, "schedule": "cosine"},
        "source": "model.pt",
    }
    convert(path, target, **WORDS)
    assert target.stat().st_size < 0.6 * path.stat().st_size
    with safe_open(target, framework="pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    # Matrices in half precision; vectors, where the frequencies of Fourier features would suffer, in full.
    assert {(t.ndim > 1, t.dtype) for t in tensors} == {(True, torch.float16), (False, torch.float32)}
    torch.testing.assert_close(
        at(kintsugi.load_prior(target)), at(kintsugi.load_prior(path, **WORDS)), rtol=0.02, atol=0.02
    )


def test_convert_refuses_before_it_writes(tmp_path: Path) -> None:
    path, target = checkpoint(tmp_path), tmp_path / "out.safetensors"
    for words in ({}, {**WORDS, "heads": 7}):
        with pytest.raises(InvalidArgument):
            convert(path, target, **words)
    with pytest.raises(InvalidArgument, match=r"ends in \.safetensors"):
        convert(path, tmp_path / "out.pt", **WORDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt"]
    convert(path, target, **WORDS)
    with pytest.raises(InvalidFile, match="already"):
        convert(target, tmp_path / "again.safetensors")
    with pytest.raises(InvalidArgument, match="another file"):
        convert(target, target)


# --- the command line -------------------------------------------------------------------------------------------------


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path)
    words = ("--prior-set", f"size={SIZE}", "--prior-set", "head_channels=16")
    assert "out.safetensors: " in done("convert", "model.pt", "-o", "out.safetensors", *words)
    assert "ADM" in done("priors")
    shown = done("info", "out.safetensors")
    assert "DiscreteVP" in shown
    assert "epsilon" in shown
    Image.new("RGB", (SIZE, SIZE), (90, 120, 40)).save("in.png")
    done(
        "restore",
        "in.png",
        "-o",
        "a.png",
        "--task",
        "denoise",
        "--noise",
        "0.1",
        "--prior",
        "out.safetensors",
        "--steps",
        "2",
    )
    again = ("restore", "in.png", "-o", "b.png", "--task", "denoise", "--noise", "0.1", "--steps", "2", "--prior")
    done(*again, "model.pt", *words)
    Image.new("RGB", (40, 24), (90, 120, 40)).save("in.png")
    assert "--windows" not in done(*again, "out.safetensors", "--windows")
    assert "windows" in refused(*again, "out.safetensors")
    assert "label: expected nothing" in refused(*again, "out.safetensors", "--label", "3")
    assert "prior-set: expected NAME=VALUE" in refused(*again, "out.safetensors", "--prior-set", "size")
    assert "like: expected one of imagenet-64" in refused("convert", "model.pt", "-o", "c.safetensors", "--like", "x")
    assert "size" in refused("convert", "model.pt", "-o", "c.safetensors")
    assert "no such model file" in refused("convert", "none.pt", "-o", "c.safetensors")
    assert not Path("c.safetensors").exists()
