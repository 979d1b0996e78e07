"""Time and memory of every operator: A, its adjoint, the pseudo-inverse and the noisy solve.

    python benchmarks/operators.py                           # 256, 1024 and 4096 pixels a side
    python benchmarks/operators.py --only blur,mask --sizes 256 --threads 2

For each operator and size, four times: A x, A^T y, A^+ y and (A A^T + 0.01)^{-1} y, of one image in float32 (complex64
for MRI). Beside them the time of what bounds them: the Fourier transform (and back) or the copy of the largest tensor
that has to be touched; then, at up to 256 pixels, the same pseudo-inverse and solve by the generic Krylov methods that
know nothing but A and A^T (``Unstructured``), to a relative accuracy of 1e-3. In brackets is the time of an operation
over the bound; it is bold where a structured operator takes more than 3 times its bound. MiB: what the worst of the
four took above its input, at its peak.

Each time is the least of several runs in one process, in seconds of the processor with one thread, so that other work
on the machine does not count: a ratio, not a promise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from common import table
from torch import Tensor

from kintsugi.bench.memory import Peak
from kintsugi.errors import NotConverged
from kintsugi.operators import (
    MRI,
    Accuracy,
    Bayer,
    Bicubic,
    BlockAverage,
    Blur,
    ColourMatrix,
    Grey,
    LinearOperator,
    Mask,
    MultiCoilMRI,
    Resize,
    Stack,
    Subsampled,
    Unstructured,
    birdcage_maps,
    cartesian_mask,
    gaussian_kernel,
)

Bound = Callable[[Tensor, Tensor], object]


def fourier(x: Tensor, y: Tensor) -> None:
    """The larger of signal and measurement, there and back."""
    big = x if x.numel() >= y.numel() else y
    if big.is_complex():
        torch.fft.ifft2(torch.fft.fft2(big))
    else:
        torch.fft.irfft2(torch.fft.rfft2(big), s=big.shape[-2:])


def copy(x: Tensor, y: Tensor) -> None:
    """Reading one of the two and writing the other, whichever is dearer."""
    (x if x.numel() >= y.numel() else y).clone()


@dataclass(frozen=True)
class Case:
    """``make(n)`` for images of n x n; ``bound`` is None where the operator has no structure; ``largest`` size of n."""

    make: Callable[[int], LinearOperator]
    bound: Bound | None
    largest: int = 4096


def keep(n: int, share: float = 0.3) -> Tensor:
    return torch.rand(n, n, generator=torch.Generator().manual_seed(0)) < share


CASES: dict[str, Case] = {
    "mask": Case(lambda n: Mask(keep(n), (1, n, n)), copy),
    "mask with weights": Case(lambda n: Mask(keep(n) * 0.7, (1, n, n)), copy),
    "blur": Case(lambda n: Blur((1, n, n), gaussian_kernel(2.0)), fourier),
    "4x block average": Case(lambda n: BlockAverage((1, n, n), 4), fourier),
    "4x bicubic": Case(lambda n: Bicubic((1, n, n), 4), fourier),
    "colour to grey": Case(lambda n: Grey((3, n, n)), copy),
    "two blurs": Case(
        lambda n: Stack([Blur((1, n, n), gaussian_kernel(2.0)), Blur((1, n, n), gaussian_kernel(1.0))]), fourier
    ),
    "resize to 60 %": Case(lambda n: Resize((1, n, n), scale=0.6), fourier, 1024),
    "Bayer": Case(lambda n: Bayer((3, n, n)), copy),
    "DCT, 25 %": Case(lambda n: Subsampled((1, n, n), "dct", ratio=0.25), fourier),
    "Hadamard, 25 %": Case(lambda n: Subsampled((1, n, n), "hadamard", ratio=0.25), fourier),
    "Fourier, 25 %": Case(lambda n: Subsampled((1, n, n), "fourier", ratio=0.25), fourier),
    "MRI, 4x": Case(lambda n: MRI((1, n, n), cartesian_mask((n, n), 4, axes=1)), fourier),
    "colour matrix": Case(lambda n: ColourMatrix((3, n, n), [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), copy),
    "MultiCoilMRI, 8 coils, 4x": Case(
        lambda n: MultiCoilMRI((1, n, n), cartesian_mask((n, n), 4, axes=1), birdcage_maps(8, (n, n))), None, 256
    ),
    "blur, unknown border": Case(lambda n: Blur((1, n, n), gaussian_kernel(2.0), "unknown"), None, 1024),
}


class Hidden(Unstructured):
    """An operator of which nothing is known but A and A^T."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(cutoff=max(operator.cutoff, 1e-2), accuracy=Accuracy(1e-3, 300))
        self.operator = operator
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape
        self.in_complex, self.out_complex = operator.in_complex, operator.out_complex

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)


def random(shape: tuple[int, ...], is_complex: bool) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((1, *shape), generator=generator, dtype=torch.complex64 if is_complex else torch.float32)


def seconds(run: Callable[[], object], patience: float = 1.0) -> float:
    """The least time of a run, over at least two of them (one, if it takes longer than ``patience``)."""
    best, spent = float("inf"), 0.0
    while spent < patience:
        began = time.process_time()
        run()
        took = time.process_time() - began
        best, spent = min(best, took), spent + took
    return best


def peak(run: Callable[[], object]) -> float:
    """MiB that ``run`` takes at its peak beyond what the process had; nan where the system does not tell."""
    with Peak("cpu") as idle:
        pass
    with Peak("cpu") as busy:
        run()
    return busy.mib - idle.mib


def measure(case: Case, n: int) -> dict[str, float]:
    """Seconds by operation, and ``memory`` in MiB."""
    operator = case.make(n)
    x = random(operator.in_shape, operator.in_complex)
    y = operator(x)
    runs: dict[str, Callable[[], object]] = {
        "A": lambda: operator(x),
        "A^T": lambda: operator.adjoint(y),
        "A^+": lambda: operator.pinv(y),
        "solve": lambda: operator.solve(1.0, 0.01, y),
    }
    out: dict[str, float] = {}
    for name, run in runs.items():
        try:
            run()  # what is made once, at the first use, is not the cost of a step
        except NotConverged:
            out[name] = float("nan")
            continue
        out[name] = seconds(run)
    out["memory"] = max(peak(run) for name, run in runs.items() if out[name] == out[name])
    if case.bound is not None:
        bound = case.bound
        out["bound"] = seconds(lambda: bound(x, y))
    if case.bound is not None and n <= 256:
        hidden = Hidden(operator)
        for name, run in (
            ("generic A^+", lambda: hidden.pinv(y)),
            ("generic solve", lambda: hidden.solve(1.0, 0.01, y)),
        ):
            try:
                out[name] = seconds(run, 0.1)
            except NotConverged:
                out[name] = float("nan")
    return out


def cell(value: float, bound: float | None) -> str:
    """Milliseconds, and how often the bound."""
    if value != value:
        return "not converged"
    text = f"{1e3 * value:.3g}"
    if bound is None:
        return text
    ratio = f"{value / bound:.1f}"
    return f"{text} ({ratio if value <= 3 * bound else f'**{ratio}**'})"


def main(
    only: Annotated[str, typer.Option(help="operators, with commas; all of them")] = "",
    sizes: Annotated[str, typer.Option(help="pixels a side, with commas")] = "256,1024,4096",
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(threads)
    names = [name for name in CASES if not only or name in only.split(",")]
    header = ["operator", "side", "bound", "A", "A^T", "A^+", "solve", "generic A^+", "generic solve", "MiB"]
    rows = []
    for name in names:
        case = CASES[name]
        for n in (int(s) for s in sizes.split(",")):
            if n > case.largest:
                continue
            m = measure(case, n)
            bound = m.get("bound")
            generic = [cell(m[k], None) if k in m else "" for k in ("generic A^+", "generic solve")]
            own = [cell(m[k], bound) for k in ("A", "A^T", "A^+", "solve")]
            rows.append(
                [name, str(n), "" if bound is None else f"{1e3 * bound:.3g}", *own, *generic, f"{m['memory']:.0f}"]
            )
            print(table(header, rows[-1:]).splitlines()[-1], flush=True)
    print("\nMilliseconds (in brackets: times the bound):\n\n" + table(header, rows))


if __name__ == "__main__":
    typer.run(main)
