"""What a sampler costs beside the network: share of the time outside forward passes and VJPs, and the coefficients.

    python benchmarks/overhead.py                                   # cpigdm, 5 steps, the model in the package
    python benchmarks/overhead.py --prior model.safetensors --cpu-time --real-borders

The time inside the network is measured around the prior's ``denoise``, ``denoise_vjp`` and the VJP itself; everything
else of ``restore`` is outside. Each row is the run with the smallest outside time of ``--repeats``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from common import load, table
from torch import Tensor

import kintsugi
from kintsugi.operators import Bicubic, Blur, LinearOperator, Mask, gaussian_kernel
from kintsugi.priors import Prior
from kintsugi.priors.base import Vjp
from kintsugi.priors.wrappers import _Wrapped
from kintsugi.samplers import cpigdm

PICTURE = Path(kintsugi.__file__).parent / "data" / "parrots.png"


class Clock:
    """Seconds spent inside something, by ``timer``."""

    timer: Callable[[], float] = time.perf_counter

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        began = Clock.timer()
        try:
            yield
        finally:
            self.seconds += Clock.timer() - began


class Timed(_Wrapped):
    """Adds the time of the wrapped network to ``clock``."""

    def __init__(self, inner: Prior, clock: Clock) -> None:
        super().__init__(inner)
        self.clock = clock

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        with self.clock.running():
            return self.inner.denoise(z, eta)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        with self.clock.running():
            d, vjp = self.inner.denoise_vjp(z, eta)

        def timed(v: Tensor) -> Tensor:
            with self.clock.running():
                return vjp(v)

        return d, timed


@dataclass
class Measurement:
    """Seconds of one run."""

    total: float
    network: float
    coefficients: float

    @property
    def outside(self) -> float:
        return self.total - self.network


def measure(problem: kintsugi.Problem, prior: Prior, sampler: str, steps: int) -> Measurement:
    """One run of ``restore``."""
    total, network, coefficients = Clock(), Clock(), Clock()
    originals: dict[str, Callable[..., Any]] = {
        name: getattr(cpigdm, name) for name in ("conjugate_coefficients", "free_coefficients")
    }

    def timed(right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **settings: Any) -> Any:
            with coefficients.running():
                return right(*args, **settings)

        return call

    try:
        for name, right in originals.items():
            setattr(cpigdm, name, timed(right))
        with total.running():
            kintsugi.restore(problem, Timed(prior, network), sampler, steps=steps, tile=None)
    finally:
        for name, right in originals.items():
            setattr(cpigdm, name, right)
    return Measurement(total.seconds, network.seconds, coefficients.seconds)


def tasks(shape: tuple[int, ...], real_borders: bool) -> dict[str, LinearOperator]:
    """The measurements: those with closed forms, and on request those of a user's file."""
    keep = torch.rand(shape[1:], generator=torch.Generator().manual_seed(0)) > 0.7
    kernel = gaussian_kernel(2.0)
    out: dict[str, LinearOperator] = {
        "inpainting, 70 %": Mask(keep, shape),
        "4x super-resolution": Bicubic(shape, 4),
        "blur 2.0": Blur(shape, kernel),
    }
    if real_borders:
        out["4x super-resolution, real borders"] = Bicubic(shape, 4, "unknown")
        out["blur 2.0, real borders"] = Blur(shape, kernel, "unknown")
    return out


def main(
    picture: Annotated[Path, typer.Argument(help="The photograph that is degraded.")] = PICTURE,
    prior: Annotated[str, typer.Option(help="A model's name or file.")] = "photo",
    sampler: str = "cpigdm",
    steps: int = 5,
    noise: Annotated[float, typer.Option(help="Of the noisy rows, for data in [-1, 1].")] = 0.05,
    threads: int = 2,
    repeats: int = 2,
    cpu_time: Annotated[bool, typer.Option(help="Of this process, on a busy machine; with one thread.")] = False,
    real_borders: Annotated[bool, typer.Option(help="Also operators without a closed form; slow.")] = False,
) -> None:
    """Print the table."""
    if cpu_time:
        threads, Clock.timer = 1, time.process_time
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    truth = load(picture)[None]
    shape = tuple(truth.shape[1:])
    kintsugi.restore(kintsugi.Problem.simulate(truth, Mask(torch.ones(shape[1:]), shape)), model, sampler, steps=1)
    rows = []
    for name, operator in tasks(shape, real_borders).items():
        for sigma in (0.0, noise):
            x = torch.zeros(1, *operator.in_shape)
            x[..., : shape[1], : shape[2]] = truth
            problem = kintsugi.Problem.simulate(x, operator, sigma)
            best = min((measure(problem, model, sampler, steps) for _ in range(repeats)), key=lambda m: m.outside)
            rows.append(
                [
                    f"{name}, noise {sigma:g}",
                    f"{best.total:.2f}",
                    f"{best.network:.2f}",
                    f"{1e3 * best.outside / steps:.0f}",
                    f"{100 * best.outside / best.total:.1f} %",
                    f"{1e3 * best.coefficients / steps:.2f}",
                ]
            )
    unit = "CPU time" if cpu_time else "wall-clock"
    print(f"{picture.name}, {shape[2]} x {shape[1]}, {sampler}, {steps} steps, {threads} threads, {unit}\n")
    header = ["task", "seconds", "network (s)", "outside (ms a step)", "outside", "coefficients (ms a step)"]
    print(table(header, rows))


if __name__ == "__main__":
    typer.run(main)
