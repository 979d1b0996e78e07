"""The gallery of operators: for each, truth, measurement, pseudo-inverse and restoration as one picture.

    python docs/make_operators.py                   # docs/pictures/operators/*.jpg and the list in docs/operators.md
    python docs/make_operators.py --only jpeg,mri   # just these

The signals are the bundled lighthouse and phantoms that no model was trained on; the models are those of the package.
Above each panel stands its PSNR. Everything is seeded; nothing was chosen by hand but the settings below.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import kintsugi
from kintsugi import operators as ops
from kintsugi.likelihood import Poisson
from kintsugi.operators import LinearOperator, Operator
from kintsugi.phantoms import complex_phantom, phantom

HERE = Path(__file__).parent
FOLDER = HERE / "pictures" / "operators"
PHOTO, SMALL, CT, MR = (3, 128, 192), (3, 64, 64), (1, 128, 128), (1, 128, 128)


def lighthouse() -> Tensor:
    """(1, 3, 128, 192) in [-1, 1]."""
    source = Path(kintsugi.__file__).parent / "data" / "lighthouse.png"
    return torch.from_numpy(np.asarray(Image.open(source).convert("RGB")).copy()).permute(2, 0, 1)[None] / 127.5 - 1


def slice_of(kind: str) -> Tensor:
    """A phantom of a seed that no model saw: (1, 1, 128, 128), real or complex."""
    if kind == "phantom-ct":
        return phantom(1, 1, 128, anatomy="chest")[None]
    return ops.to_complex(complex_phantom(1, 1, 128)[None])


@dataclass(frozen=True)
class Entry:
    """One operator, and how its measurement is restored."""

    title: str
    make: Callable[[], Operator]
    noise: float = 0.0
    prior: str = "photo"
    sampler: str = "kintsugi"
    steps: int = 5
    samples: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    poisson: Poisson | None = None
    start: Callable[[Any, Tensor], Tensor] | None = None  # instead of the pseudo-inverse, where there is none
    crop: bool = False  # the house on the hill, 64 x 64


def keep(share: float, size: tuple[int, int] = (128, 192)) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(0)) < share


def vignette() -> Tensor:
    """Weights that fall from 1 in the middle to a twentieth in the corners."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 192), indexing="ij")
    return 0.05 + 0.95 * (1 - (x**2 + y**2) / 2).clamp_min(0) ** 2


def varying() -> LinearOperator:
    """Sharp in the middle, blurred towards the left and right border."""
    kernels = torch.stack([ops.gaussian_kernel(s, 17) for s in (2.5, 0.5, 2.5)])
    return ops.VaryingBlur.from_grid(PHOTO, kernels[None])


def maps(coils: int = 8) -> Tensor:
    return ops.birdcage_maps(coils, MR[1:])


def lines(acceleration: float, kind: Any = "equispaced") -> Tensor:
    return ops.cartesian_mask(MR[1:], acceleration, kind, 0.08, axes=1)


# C-PiGDM's defaults are for photographs; these are from a small grid on another phantom.
MEDICAL = {"w": 200.0, "tau": 0.15}


ENTRIES: dict[str, Entry] = {
    "mask": Entry("Mask: 70 % of the pixels missing", lambda: ops.Mask(keep(0.3), PHOTO)),
    "vignette": Entry("Mask with weights: vignetting, noise 0.05", lambda: ops.Mask(vignette(), PHOTO), 0.05),
    "bicubic": Entry("Bicubic: 4x decimation, unknown borders", lambda: ops.Bicubic(PHOTO, 4, "unknown")),
    "resize": Entry("Resize: to 37 %, as Pillow does", lambda: ops.Resize(PHOTO, scale=0.37)),
    "blur": Entry(
        "Blur: Gaussian 1.6, noise 0.01", lambda: ops.Blur(PHOTO, ops.gaussian_kernel(1.6), "unknown"), 0.01
    ),
    "motion": Entry("Blur: motion 15, noise 0.01", lambda: ops.Blur(PHOTO, ops.motion_kernel(15, 30), "unknown"), 0.01),
    "varying-blur": Entry("VaryingBlur: sharp only in the middle, noise 0.01", varying, 0.01),
    "grey": Entry("Grey: colourisation", lambda: ops.Grey(PHOTO)),
    "bayer": Entry("Bayer: demosaicing, noise 0.02", lambda: ops.Bayer(PHOTO), 0.02),
    "x-trans": Entry("Mosaic: X-Trans, noise 0.02", lambda: ops.Mosaic(PHOTO, ops.X_TRANS), 0.02),
    "dct": Entry("Subsampled: 25 % of the DCT of randomly signed pixels",
                 lambda: ops.Subsampled(PHOTO, "dct", ratio=0.25, signs=True)),
    "fourier": Entry("Subsampled: 25 % of the Fourier transform", lambda: ops.Subsampled(PHOTO, "fourier", ratio=0.25)),
    "stack": Entry("Stack: 8x average, and 10 % of the pixels",
                   lambda: ops.Stack([ops.BlockAverage(PHOTO, 8), ops.Mask(keep(0.1), PHOTO)])),
    "poisson": Entry("Poisson noise, white is 20 photons", lambda: ops.Identity(PHOTO), poisson=Poisson(0.1)),
    "mri": Entry("MRI: one coil, 4x fewer lines, denser in the middle",
                 lambda: ops.MRI(MR, lines(4, "gaussian")), 0.002, "phantom-mri", steps=20),
    "mri-cpigdm": Entry("MRI: one coil, 4x fewer lines, by C-PiGDM", lambda: ops.MRI(MR, lines(4, "gaussian")), 0.002,
                        "phantom-mri", "cpigdm", 20, settings=MEDICAL),
    "multicoil": Entry("MultiCoilMRI: 8 coils, every fourth line",
                       lambda: ops.MultiCoilMRI(MR, lines(4), maps()), 0.002, "phantom-mri", steps=10),
    "radial": Entry("NUFFT: 8 coils, 24 radial spokes",
                    lambda: ops.NUFFT(MR, ops.radial_trajectory(24, 128), maps()), 0.002, "phantom-mri", steps=10),
    "ct": Entry("ParallelBeamCT: 60 angles, noise 0.003", lambda: ops.ParallelBeamCT(CT, 60), 0.003, "phantom-ct",
                steps=20),
    "ct-cpigdm": Entry("ParallelBeamCT: 60 angles, noise 0.003, by C-PiGDM", lambda: ops.ParallelBeamCT(CT, 60), 0.003,
                       "phantom-ct", "cpigdm", 20, settings=MEDICAL),
    "fan": Entry("FanBeamCT: 90 angles, noise 0.003", lambda: ops.FanBeamCT(CT, 90), 0.003, "phantom-ct", steps=20),
    "jpeg": Entry("JPEG: quality 10", lambda: ops.JPEG(PHOTO, 10)),
    "quantise": Entry("Quantise: 3 bits", lambda: ops.Quantise(PHOTO, 3)),
    "hdr": Entry("HDR: twice as bright, clipped at white", lambda: ops.HDR(PHOTO, 2.0)),
    "hdr-reddiff": Entry("HDR, by RED-diff", lambda: ops.HDR(PHOTO, 2.0), 0.02, sampler="reddiff", steps=100,
                         settings={"lam": 1.0}),
    "hdr-dps": Entry("HDR, by DPS", lambda: ops.HDR(PHOTO, 2.0), 0.02, sampler="dps", steps=200,
                     settings={"zeta": 2.0}),
    "saturating": Entry("Clip @ Blur: a saturating motion blur, noise 0.02, by RED-diff",
                        lambda: ops.Clip(PHOTO, 1.8) @ ops.Blur(PHOTO, ops.motion_kernel(9, 30)), 0.02,
                        sampler="reddiff", steps=100),
    "coded": Entry("CodedDiffraction: 4 patterns, noise 0.02, by RED-diff",
                   lambda: ops.CodedDiffraction(SMALL, 4), 0.02, sampler="reddiff", steps=100,
                   start=ops.spectral_start, crop=True),
    "coded-dps": Entry("CodedDiffraction: 4 patterns, noise 0.02, by DPS",
                       lambda: ops.CodedDiffraction(SMALL, 4), 0.02, sampler="dps", steps=200,
                       settings={"zeta": 1.0}, crop=True),
    "magnitude": Entry("Magnitude: twice oversampled Fourier modulus, noise 0.02, by RED-diff",
                       lambda: ops.Magnitude(SMALL, offset=1.0), 0.02, sampler="reddiff", steps=100,
                       start=ops.hybrid_input_output, crop=True),
}  # fmt: skip


def panel(x: Tensor, complex_signal: bool) -> Image.Image:
    """A signal (1, C, H, W) as a picture: colours as they are, the modulus of complex ones."""
    values = 2 * x.abs() - 1 if complex_signal else x
    pixels = ((values[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.expand(-1, -1, 3).numpy())


def reading(y: Tensor, size: tuple[int, int]) -> Image.Image:
    """A measurement (1, *out_shape) as a picture of ``size`` (width, height), stretched to what it holds."""
    values = y[0]
    if values.is_complex():
        values = values.abs().clamp_min(1e-4).log()
        values = values.amax(0, keepdim=True) if values.ndim == 3 else values
    if values.ndim != 3 or values.shape[0] not in (1, 3):
        side = max(1, round((values.numel() * size[0] / size[1]) ** 0.5))
        rows = -(-values.numel() // side)
        values = torch.nn.functional.pad(values.flatten(), (0, rows * side - values.numel())).view(1, rows, side)
    if float(values.max()) > 30 * float(values.abs().median()) > 0:  # a few large numbers, as at low frequencies
        values = values.abs().clamp_min(1e-3).log()
    inside = values.abs().max() <= 1.5
    low, high = (-1.0, 1.0) if inside else (float(values.min()), float(values.max()))
    scaled = ((values - low) / max(high - low, 1e-6)).clamp(0, 1).mul(255).round().byte()
    picture = Image.fromarray(scaled.permute(1, 2, 0).expand(-1, -1, 3).numpy())
    return picture.resize(size, Image.Resampling.NEAREST)


def psnr(x: Tensor, truth: Tensor) -> float:
    """In dB, both clipped to [-1, 1]; of complex signals, of both parts."""
    a, b = (ops.to_real(v).clamp(-1, 1) for v in (x, truth))
    return float(10 * torch.log10(4 / (a - b).square().mean()))


def sheet(name: str, entry: Entry) -> str:
    """``NAME.jpg``; returns what the page says below it."""
    truth = lighthouse() if entry.prior == "photo" else slice_of(entry.prior)
    truth = truth[..., 30:94, 70:134] if entry.crop else truth
    operator = entry.make()
    problem = kintsugi.Problem.simulate(truth, operator, entry.noise, seed=1, model=entry.poisson)
    if entry.start is not None:
        bare, start = operator, entry.start
        operator = ops.with_pinv(bare, lambda y: start(bare, y))
        problem = replace(problem, operator=operator)
    if isinstance(operator, LinearOperator) and entry.noise >= 0.01:
        inverse, label = regularised(problem), "Wiener estimate"
    else:
        inverse = operator.visible(operator.pinv(problem.batch)) if operator.has_pinv else None
        label = "pseudo-inverse" if entry.start is None else "start"
    result = kintsugi.restore(problem, entry.prior, entry.sampler, steps=entry.steps, samples=entry.samples,
                              tile=None, **entry.settings)  # fmt: skip
    restored = best(problem, result.samples[0])
    if entry.crop:  # flips and shifts that a modulus does not tell apart
        restored, inverse = (v if v is None else ops.align(v, truth) for v in (restored, inverse))
    width, height = truth.shape[-1], truth.shape[-2]
    if entry.crop:
        width, height = 2 * width, 2 * height
    panels = [("truth", panel(truth, truth.is_complex())), ("measurement", reading(problem.batch, (width, height)))]
    if inverse is not None:
        panels.append((f"{label}, {psnr(inverse, truth):.1f} dB", panel(inverse, truth.is_complex())))
    panels.append((f"restored, {psnr(restored, truth):.1f} dB", panel(restored, truth.is_complex())))
    picture = Image.new("RGB", (4 * (width + 4) - 4, height + 16), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    for i, (text, image) in enumerate(panels):
        picture.paste(image.resize((width, height), Image.Resampling.NEAREST), (i * (width + 4), 16))
        draw.text((i * (width + 4), 0), text, fill="black", font=font)
    picture.save(FOLDER / f"{name}.jpg", quality=85)
    cost = result.cost
    said = f"`{entry.sampler}`, {entry.steps} steps, {cost.forwards:.0f} + {cost.vjps:.0f} evaluations"
    print(f"{name}: {[text for text, _ in panels[2:]]}, {cost.seconds:.1f} s", flush=True)
    return said


def regularised(problem: kintsugi.Problem) -> Tensor:
    """``A^T (A A^T + sigma^2 / s^2)^{-1} y``: what linear algebra makes of a noisy measurement."""
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    return operator.visible(operator.adjoint(operator.solve(1.0, problem.noise**2 / 0.25, problem.batch)))


def best(problem: kintsugi.Problem, samples: Tensor) -> Tensor:
    """Of the samples (n, *shape) of one measurement the one whose own measurement is closest to it, (1, *shape)."""
    if len(samples) == 1:
        return samples
    misfits = [float((problem.operator(x[None]) - problem.batch).abs().square().sum()) for x in samples]
    return samples[int(np.argmin(misfits))][None]


def main(only: Annotated[str, typer.Option(help="Names, with commas; all if empty.")] = "") -> None:
    """Make the pictures and the list."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    page = HERE / "operators.md"
    text = page.read_text()
    begin, end = "<!-- gallery begin -->", "<!-- gallery end -->"
    inside = text.split(begin)[1].split(end)[0]
    pattern = r"\*\*.*?\*\* \((.*?)\)\n\n!\[[^\]]*\]\(pictures/operators/(.*?)\.jpg\)"
    captions = {name: said for said, name in re.findall(pattern, inside)}
    for name, entry in ENTRIES.items():
        if not only or name in only.split(","):
            try:
                captions[name] = sheet(name, entry)
            except kintsugi.NotConverged as error:
                print(f"{name}: {error}", flush=True)
    made = "".join(
        f"**{entry.title}** ({captions[name]})\n\n![{entry.title}](pictures/operators/{name}.jpg)\n\n"
        for name, entry in ENTRIES.items()
        if name in captions
    )
    page.write_text(text.split(begin)[0] + f"{begin}\n\n{made}{end}" + text.split(end)[1])


if __name__ == "__main__":
    typer.run(main)
