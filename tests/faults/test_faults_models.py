"""Hostile models: safetensors, pickles, archives, ONNX graphs, folders; and ``convert``."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from corrupt import any_of
from hypothesis import strategies as st
from judge import Broken, Door, passes
from safetensors.torch import save

from kintsugi.priors import convert, load_prior
from kintsugi.priors.network import NetworkPrior, save_model
from kintsugi.priors.unet import UNet, UNetConfig


@cache
def tiny() -> bytes:
    """A model of ``kintsugi train`` with random weights, as a file."""
    import tempfile

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tiny.safetensors")
        save_model(NetworkPrior(UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=16))), path)
        return path.read_bytes()


def split(model: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", model)
    return json.loads(model[8 : 8 + length]), model[8 + length :]


def join(header: Any, content: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**9, 10**30, float("nan"), float("inf"), "", "unet", "x" * 1000, [],
                        [0], [10**6] * 3, [1] * 10_000, [6000, 6000], [30_000, 8], {}, {"a": 1})  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """The tiny model with another header: our entry, its configuration, or the table of tensors."""
    header, content = split(tiny())
    said = json.loads(header["__metadata__"]["kintsugi"])
    for _ in range(draw(st.integers(1, 2))):
        where = draw(st.sampled_from(("ours", "config", "table", "drop", "metadata")))
        if where in ("ours", "config"):
            place = said if where == "ours" else said.setdefault("config", {})
            if isinstance(place, dict):
                place[draw(st.sampled_from((*place, "size", "new")))] = draw(st.sampled_from(ODD))
        elif where == "table":
            name = draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))
            if isinstance(header[name], dict):
                header[name][draw(st.sampled_from(("dtype", "shape", "data_offsets")))] = draw(
                    st.sampled_from((*ODD, "F64", "I8", "BOOL", "F8_E4M3", "BF16", "C64", [0, 8], [1, 2, 3], [8, 0]))
                )
        elif where == "drop":
            header.pop(draw(st.sampled_from(sorted(header))), None)
            return join(header, content)
        else:
            said = draw(st.sampled_from(ODD))
            if not isinstance(said, dict):
                header["__metadata__"] = {
                    "kintsugi": draw(st.sampled_from((json.dumps(said), "[" * 100_000, "{", "9" * 5000)))
                }
                return join(header, content)
    header["__metadata__"] = {"kintsugi": json.dumps(said)}
    return join(header, content)


def tensors(*pairs: tuple[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    return save(dict(pairs), metadata)


def with_weight(change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    """The tiny model with one weight changed."""
    from safetensors.torch import load

    header, _ = split(tiny())
    weights = load(tiny())
    name = next(iter(weights))
    return save(weights | {name: change(weights[name]).contiguous()}, header["__metadata__"])


def safetensors_by_hand() -> list[bytes]:
    family = {"format": 1, "architecture": "adm"}
    return [
        tiny(),
        with_weight(lambda w: w * float("nan")),
        with_weight(lambda w: w * float("inf")),
        with_weight(lambda w: w[..., None]),
        with_weight(lambda w: w.to(torch.float8_e4m3fn)),
        with_weight(lambda w: w.to(torch.complex64)),
        with_weight(lambda w: w.to(torch.int32)),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000_000) + b"{}",
        join(b"[" * 100_000, b""),
        join({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(64)),
        join({"a": {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]}}, b""),
        join({"../../evil": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        tensors(("a", torch.ones(2).to(torch.float8_e5m2))),
        *(tensors(("a", torch.ones(2)), metadata={"kintsugi": json.dumps(family | {"options": o})}) for o in ODD),
        *(tensors(("a", torch.ones(2)), metadata={"kintsugi": json.dumps(family | {"architecture": o})}) for o in ODD),
        *(tensors(("a", torch.ones(2)), metadata={"config": json.dumps({"model": o})}) for o in ODD),
    ]


def family_states() -> list[dict[str, Any]]:
    """Names of weights by which families are known, with weights that are none of theirs."""
    marks = ("input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight", "model.map_noise.freqs",
             "map_noise.freqs",
             "map_layer0.weight", "enc.64x64_conv.weight", "model.enc.64x64_conv.weight", "all_modules.0.weight",
             "all_modules.0.W", "module.all_modules.0.weight", "sigmas", "out_conv.weight")  # fmt: skip
    shapes = ((), (0,), (1,), (8,), (8, 3, 3, 3), (0, 3, 3, 3), (8, 8), (2, 2, 2, 2, 2))
    return [{name: torch.ones(shape) for name in marks} for shape in shapes] + [
        {n: torch.ones(8, 3, 3, 3)} for n in marks
    ]


class Runs:
    """What a pickle may call when it is read."""

    def __init__(self, call: Callable[..., Any], *words: Any) -> None:
        self.call, self.words = call, words

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.words


def torch_file(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def repacked(data: bytes, how: int, more: dict[str, bytes] | None = None) -> bytes:
    """A zip archive again, compressed by ``how``, with further members."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", how) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
        for name, content in (more or {}).items():
            target.writestr(name, content)
    return out.getvalue()


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, which those who wrote such a file did not know
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def pickles() -> list[bytes]:
    import os
    import subprocess

    state = {"a.weight": torch.ones(2, 2), "a.bias": torch.zeros(2)}
    tangled: Any = {}
    tangled["state_dict"] = tangled
    deep: Any = torch.ones(1)
    for _ in range(300):
        deep = {"state_dict": deep}
    bits = torch.zeros(2**26, dtype=torch.int32)
    return [
        torch_file(state),
        torch_file(state, _use_new_zipfile_serialization=False),
        *(torch_file(s) for s in family_states()),
        torch_file(OrderedDict(state_dict=state, epoch=3)),
        *(
            torch_file(x)
            for x in ([], {}, 1, None, torch.ones(2), {"model": {}}, {"a": 1}, {1: torch.ones(2)}, tangled, deep)
        ),
        torch_file({"a": torch.full((2,), float("nan"))}),
        torch_file({"a": torch.ones(1).expand(2**20, 2**20)}),
        torch_file({"a": torch.ones(2, 2).to_sparse()}),
        torch_file({"a": torch.ones(2, device="meta")}),
        torch_file({"a": quantised()}),
        torch_file({"a": torch.ones(2).to(torch.float8_e4m3fn)}),
        torch_file({"a": torch.ones(2, dtype=torch.complex64)}),
        torch_file({"ema": [torch.ones(2)], "b": torch.ones(1)}),
        torch_file({"a": Runs(os.system, "touch ran")}),
        torch_file(torch.nn.Linear(1, 1)),
        pickle.dumps(Runs(os.system, "touch ran")),
        pickle.dumps(Runs(eval, "open('ran', 'w')")),
        pickle.dumps(Runs(subprocess.check_call, ["touch", "ran"]), protocol=0),
        pickle.dumps(Runs(torch.load, "other.pt")),
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b'c__builtin__\neval\n(S\'open("ran","w")\'\ntR.',
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02]" + b"]a" * 100_000 + b".",
        b"\x80\x02\x8a\xff" + bytes(255) + b".",
        repacked(torch_file(state), zipfile.ZIP_STORED, {"../ran": b"x", "/ran": b"x", "archive/../../ran": b"x"}),
        repacked(torch_file({"a": bits}), zipfile.ZIP_DEFLATED),
        repacked(torch_file(state), zipfile.ZIP_STORED, {"archive/code/ran.py": b"open('ran', 'w')"}),
    ]


def onnx_files() -> list[bytes]:
    return [b"", b"\x08\x0a", b"\x08\x0a\x12\x04test", bytes(1000), b"\xff" * 100]


SAFE = [*safetensors_by_hand(), *(save(state) for state in family_states())]
FILES = st.one_of(
    st.tuples(st.one_of(headers(), any_of([tiny()]), st.sampled_from(SAFE)), st.just("m.safetensors")),
    st.tuples(
        st.one_of(st.sampled_from(pickles()), any_of([p for p in pickles() if len(p) < 10_000])),
        st.sampled_from(("m.pt", "m.pth", "-m.ckpt", "m.bin")),
    ),
    st.tuples(any_of(onnx_files()), st.just("m.onnx")),
    st.tuples(st.sampled_from(SAFE), st.sampled_from(("m.pkl", "m", "m.txt", "m.SAFETENSORS"))),
)
OPTIONS = st.dictionaries(
    st.sampled_from(("size", "schedule", "between", "classes", "data_variance", "path", "device_", "state", "self")),
    st.sampled_from(("cosine", 0, -1, 64, None, 1.5, "nearest", [], float("nan"))),
    max_size=1,
)
CASES = st.tuples(FILES, st.sampled_from(("load", "load", "convert")), OPTIONS)


def act(case: tuple[tuple[bytes, str], str, dict[str, Any]], folder: Path) -> None:
    """No code has run, nothing else was written, and what was loaded denoises."""
    (content, name), what, options = case
    path = folder / name
    path.write_bytes(content)
    try:
        if what == "convert":
            convert(path, folder / "out.safetensors", **options)
            prior = load_prior(folder / "out.safetensors")
        else:
            prior = load_prior(path, **options)
        check_prior(prior)
    finally:
        made = {p.name for p in folder.iterdir()} - {name, "out.safetensors"}
        if made or Path("ran").exists() or (folder.parent / "ran").exists():
            raise Broken(f"files that should not be: {made or 'ran'}")


def check_prior(prior: Any) -> None:
    for name, value in prior.named_parameters():
        if not bool(torch.isfinite(value).all()) or value.requires_grad:
            raise Broken(f"a loaded weight that is not finite, or not frozen: {name}")
    shape = tuple(n or 16 for n in prior.shape or (3, 16, 16))
    if len(shape) == 3 and shape[1] * shape[2] <= 1024:
        out = prior.denoise(torch.zeros(1, *shape), torch.ones(1))
        if out.shape != (1, *shape):
            raise Broken(f"a denoised signal of {tuple(out.shape)}")


def good_files() -> list[bytes]:
    return [tiny(), *safetensors_by_hand()[-8:], *(data for data in pickles()[:12] if len(data) < 10_000)]


def named(data: bytes) -> tuple[tuple[bytes, str], str, dict[str, Any]]:
    return (data, "m.pt" if data[:2] in (b"PK", b"\x80\x02") else "m.safetensors"), "load", {}


GOOD = ((tiny(), "m.safetensors"), "load", {})
MODELS = Door("models", CASES, act, GOOD, files=good_files, from_bytes=named)
DOORS = (MODELS,)

test_models = passes(MODELS, examples=60)
