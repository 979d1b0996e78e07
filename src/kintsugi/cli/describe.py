"""``kintsugi samplers``, ``kintsugi priors``, ``kintsugi info``: what there is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidArgument
from . import options
from .app import app
from .as_json import JsonOption, emit
from .complete import sampler_names

if TYPE_CHECKING:
    from ..priors import NetworkPrior, Prior
    from ..samplers import Sampler


@app.command()
def samplers(
    name: Annotated[
        str | None, typer.Argument(help="One of them, with its settings.", autocompletion=sampler_names)
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the sampling methods: what they are, cost and take. With a name: its settings too, and its authors'."""
    from ..samplers import available_samplers

    known = available_samplers()
    if name is None and json:
        emit({"samplers": [_sampler_facts(key, method) for key, method in known.items()]})
        return
    if name is None:
        rows = [(key, "\n".join(_sampler_lines(method))) for key, method in known.items()]
        _table(("sampler", "what it is"), rows, leading=1)
        return
    if name not in known:
        raise InvalidArgument("sampler", name, f"one of {', '.join(known)}")
    if json:
        emit(_sampler_facts(name, known[name]))
        return
    _table(("sampler", name), _sampler_rows(known[name]))


def _sampler_facts(name: str, method: type[Sampler]) -> dict[str, Any]:
    """What a method says of itself, and its settings with their defaults as they are written."""
    from ..samplers import about

    facts: dict[str, Any] = {"name": name, "summary": _plain(_first_line(method))}
    with suppress(LookupError):
        facts |= {key: _plain(value) for key, value in asdict(about(method)).items()}
    return facts | {"settings": dict(_settings(method))}


def _sampler_lines(method: type[Sampler]) -> list[str]:
    """What the list says of a method: the words of its docstring, as far as they are there."""
    from ..samplers import about

    try:
        said = about(method)
    except LookupError:
        return [_first_line(method)]
    lines = [f"cost: {said.cost}", f"takes: {said.takes}", f"paper: {said.paper}"]
    return [_plain(line) for line in (said.summary, *lines)]


def _sampler_rows(method: type[Sampler]) -> list[tuple[str, str]]:
    """Everything about one method."""
    from ..samplers import about

    rows = [("what it is", _plain(_first_line(method)))]
    with suppress(LookupError):
        said = about(method)
        rows += [(word, _plain(getattr(said, word))) for word in ("cost", "takes", "paper", "authors")]
    return rows + [(f"--set {key}=", default) for key, default in _settings(method)]


def _settings(method: type[Sampler]) -> Iterator[tuple[str, str]]:
    """The name of each setting and its default."""
    for f in fields(method):  # type: ignore[arg-type]
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        yield f.name, "required" if default is MISSING else repr(default)


def _first_line(method: type[Sampler]) -> str:
    return ((method.__doc__ or "").strip().splitlines() or [""])[0]


def _plain(text: str) -> str:
    return text.replace("``", "")


@app.command()
def priors(json: JsonOption = False) -> None:
    """List the models that come with the package, and published ones that load by a short name."""
    from ..priors import KNOWN, available_priors
    from ..priors.checkpoint import read_safetensors

    rows, counts = [], {}
    for name, path in available_priors().items():
        tensors, metadata = read_safetensors(path)  # no network is built to count its weights
        count = sum(weights.numel() for key, weights in tensors.items() if key.startswith("net."))
        card = metadata["kintsugi"].get("card") or {}
        summary = str(card.get("summary", card.get("description", "")))
        rows.append((name, f"{count / 1e6:.1f} M", summary))
        counts[name] = count
    if json:
        own = [{"name": name, "parameters": counts[name], "summary": summary} for name, _, summary in rows]
        emit({"in_the_package": own, "published": [{"name": key, **asdict(known)} for key, known in KNOWN.items()]})
        return
    _table(("in the package", "parameters", "what it is"), rows)

    table = [
        (name, f"{known.what}\n{known.source}{' (by hand)' if known.by_hand else ''}", known.size, known.path,
         known.data_range, known.licence)
        for name, known in KNOWN.items()
    ]  # fmt: skip
    _table(("published", "what and where", "size", "path", "range", "licence"), table)


@app.command()
def info(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A picture, a sound, a model file, or the name of a prior.")
    ],
    json: JsonOption = False,
) -> None:
    """Tell what a picture, a sound or a model file holds."""
    from .. import available_priors, load_prior
    from ..priors import NetworkPrior
    from ..sounds.reading import SUFFIXES

    models = (".safetensors", ".pt", ".pth", ".ckpt")
    if file.endswith(models) or (file in available_priors() and not Path(file).exists()):
        prior = load_prior(file)
        kind, rows = "model", _model_rows(prior) if isinstance(prior, NetworkPrior) else _foreign_rows(prior)
    else:
        path = options.input_path(file)
        file = str(path)
        sound = path.suffix.lower() in SUFFIXES
        kind, rows = ("sound", _sound_rows(path)) if sound else ("picture", _picture_rows(path))
    if json:
        notes = [text for key, text in rows if key == "note"]
        emit({"kind": kind, "file": file, **{key: text for key, text in rows if key != "note"}, "notes": notes})
    else:
        _table((kind, file), rows)


def _picture_rows(path: Path) -> list[tuple[str, str]]:
    from ..images import read_picture
    from ..images.noise import estimate_noise

    picture = read_picture(path)
    rows = [
        ("size", f"{picture.width} x {picture.height} pixels"),
        ("colour", "grey" if picture.grey else "RGB"),
        ("depth", "floating point" if picture.bits == 32 else f"{picture.bits} bits a channel"),
        ("alpha", "no" if picture.alpha is None else "yes"),
        ("profile", _profile_name(picture.icc)),
    ]
    with suppress(InvalidArgument):  # the library for it may not be installed: the rest is still worth telling
        rows.append(("noise, estimated", f"{estimate_noise(picture):.4f} of the range from black to white"))
    return rows + [("note", note) for note in picture.notes]


def _sound_rows(path: Path) -> list[tuple[str, str]]:
    from ..sounds.clipping import clip_levels
    from ..sounds.noise import estimate_noise
    from ..sounds.reading import read_sound

    sound = read_sound(path)
    x = sound.samples
    rows = [
        ("length", f"{x.shape[1] / sound.rate:.3f} s"),
        ("sampling rate", f"{sound.rate} Hz"),
        ("channels", str(len(x))),
        ("stored as", sound.subtype),
        ("peak", f"{float(x.abs().max()):.4f} of full scale"),
        ("noise, estimated", f"{estimate_noise(x):.2g} of full scale"),
    ]
    with suppress(InvalidArgument):
        low, high = clip_levels(x)
        rows.append(("clipped at", " and ".join(f"{level:.4f}" for level in (low, high) if abs(level) < math.inf)))
    return rows


def _profile_name(icc: bytes | None) -> str:
    import io

    from PIL import ImageCms

    if icc is None:
        return "none"
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
    except (ImageCms.PyCMSError, OSError):
        return f"unreadable ({len(icc)} bytes)"


def _model_rows(prior: NetworkPrior) -> list[tuple[str, str]]:
    rows = [
        ("parameters", f"{sum(p.numel() for p in prior.parameters()):,}"),
        ("signals", " x ".join("any" if n is None else str(n) for n in prior.shape or ())),
        ("network", ", ".join(f"{k} {v}" for k, v in prior.net.config.to_dict().items())),
        ("predicts", {"edm": "the denoised signal (EDM)", "velocity": "the velocity of a flow"}[prior.prediction]),
        ("data variance", f"{prior.data_variance:g}"),
        ("error spectrum", "none" if prior.spectrum is None else f"{len(prior.spectrum.etas)} noise levels"),
    ]
    for key, value in prior.card.items():
        if key == "validation" and isinstance(value, dict):
            rows += [(f"PSNR at eta {level}", f"{psnr} dB") for level, psnr in value.items()]
        elif isinstance(value, dict):
            rows += [(f"{key}: {k}", str(v)) for k, v in value.items() if not isinstance(v, dict)]
        else:
            rows.append((key, str(value)))
    return rows


def _foreign_rows(prior: Prior) -> list[tuple[str, str]]:
    """What is known of a model of others."""
    said: dict[str, object] = {
        "parameters": f"{sum(p.numel() for p in prior.parameters()):,}",
        "signals": " x ".join("any" if n is None else str(n) for n in prior.shape or ("any",)),
        "path": type(prior.path).__name__,
        "largest noise level": f"{prior.path.eta_max:.4g}",
        "prediction": getattr(prior, "prediction", ""),
        "data variance": f"{prior.data_variance:g}",
        "classes": getattr(prior, "classes", None) or "none",
    }
    return [(name, str(value)) for name, value in said.items()]


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]], *, leading: int = 0) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, leading=leading)
    for title in header:
        table.add_column(Text(title), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: brackets in a file's words are not markup
    Console().print(table)
