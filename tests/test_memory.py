"""Memory that runs out: smaller parts, the same samples; and a limit that is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kintsugi
from kintsugi import memory
from kintsugi.errors import InvalidArgument
from kintsugi.memory import Meter, OutOfMemory, TooMuch, bytes_of, in_use, in_words, ran_out
from kintsugi.operators import BlockAverage, Mask
from kintsugi.priors import NetworkPrior, Prior, UNet, UNetConfig
from kintsugi.priors.base import Vjp
from kintsugi.priors.fitting import Fit, Fitting, in_halves, smaller_tile
from kintsugi.priors.wrappers import Counted, Counter, Wrapped
from kintsugi.problem import Problem
from test_cli import done, model, photo, refused, run

__all__ = ["model", "photo"]  # fixtures
FULL = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: RuntimeError(f"{FULL} 99 bytes. Error code 12 (Cannot allocate memory)"),
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    MemoryError,
)


def network() -> NetworkPrior:
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=3, patch=2, widths=(6, 8), blocks=(1, 1), embedding=8))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return NetworkPrior(net).double().eval().requires_grad_(False)


class Tight(Wrapped):
    """``inner`` on a machine without memory for more than ``most`` pixels of rows and windows together."""

    def __init__(self, inner: Prior, most: int, error: Callable[[], Exception] = ERRORS[0], late: bool = False) -> None:
        super().__init__(inner)
        self.most, self.error, self.late = most, error, late
        self.seen: list[tuple[int, ...]] = []

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        self._need(z)
        self.seen.append(tuple(z.shape))
        return self.inner.denoise(z, eta)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        if not self.late:
            self._need(z)
        d, pull = self.inner.denoise_vjp(z, eta)

        def vjp(v: Tensor) -> Tensor:
            self._need(z)
            return pull(v)

        return d, vjp

    def _need(self, z: Tensor) -> None:
        if z.numel() > self.most * z.shape[1]:
            raise self.error()


def stated(height: int = 150, width: int = 70, rows: int = 2) -> Problem:
    operator = BlockAverage((3, height, width), 2)
    x = torch.rand(rows, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    return Problem.simulate(x, operator, 0.05)


# --- errors and sizes -------------------------------------------------------------------------------------------------


def test_what_allocators_say() -> None:
    with pytest.raises(RuntimeError) as torch_says:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as numpy_says:
        np.ones(2**50)
    for error in (torch_says.value, numpy_says.value, *(make() for make in ERRORS)):
        assert ran_out(error)
    assert ran_out(RuntimeError("could not create a primitive"))
    words = ("could not create a primitive descriptor", "shapes cannot be multiplied")
    for other in (*map(RuntimeError, words), ValueError(FULL), KeyboardInterrupt(), OSError()):
        assert not ran_out(other)


def test_sizes() -> None:
    assert [bytes_of(s) for s in ("4GiB", "4 gb", "1.5MiB", "7B", 12)] == [2**32, 4 * 10**9, 3 * 2**19, 7, 12]
    for bad in ("4", "GiB", "-4GiB", "0B", "4XB", "nanGiB", "1e3GB", "ib", "4ib", 0, -1, True, 1.5, None):
        with pytest.raises(InvalidArgument, match=r"^max_memory: expected a size such as 4GiB"):
            bytes_of(bad)  # type: ignore[arg-type]
    assert in_words(2**30) == "1.0 GiB"
    assert in_words(2**30 + 1) == "1.1 GiB"
    assert in_words(5) == "1 MiB"


def test_the_meter_counts_what_a_block_makes_and_frees() -> None:
    before = torch.zeros(1000)
    with Meter() as meter:
        a = torch.zeros(100, dtype=torch.float64)
        assert (meter.live, meter.peak) == (800, 800)
        view, same = a[10:].view(9, 10), before[:5]
        same += 1
        assert (meter.live, meter.peak) == (800, 800)
        del a
        assert meter.live == 800  # the view holds it
        b = before + 1
        del b, view
        assert (meter.live, meter.peak) == (0, 4800)
    x = torch.ones(1000, requires_grad=True)
    with Meter() as meter:
        y = x.exp()  # kept for the gradient
        z = y.sin()
        del y
        assert meter.live == 8000
        z.sum().backward()
        del z
        assert meter.live == 4000  # the gradient
    with pytest.raises(TooMuch), Meter(4000):
        torch.zeros(1000)
        torch.zeros(1001)


def test_what_is_in_use() -> None:
    before = in_use(torch.device("cpu"))
    held = torch.ones(2**25)  # of 128 MiB
    grown = in_use(torch.device("cpu")) - before
    assert held.nbytes * 0.9 < grown < held.nbytes * 1.2


# --- in parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS)
def test_first_fewer_rows_then_smaller_tiles(error: Callable[[], Exception]) -> None:
    z = torch.randn(6, 3, 150, 70, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eta = torch.linspace(0.1, 3, 6, dtype=torch.float64)
    prior, whole = network(), network().denoise(z, eta)
    fit = Fit(6)
    tight = Tight(prior, 2 * 150 * 70, error)
    assert float((Fitting(tight, fit).denoise(z, eta) - whole).abs().max()) < 1e-12
    assert fit == Fit(6, 1, None, True)  # 6, 3, 1 rows
    assert tight.seen == [(1, 3, 150, 70)] * 6
    # What did not fit is not tried again.
    tight.seen.clear()
    Fitting(tight, fit).denoise(z, eta)
    assert tight.seen == [(1, 3, 150, 70)] * 6
    tight = Tight(prior, 130 * 70, error)
    fit = Fit(6)
    assert float((Fitting(tight, fit).denoise(z, eta) - whole).abs().max()) < 1e-12
    assert (fit.rows, fit.shrunk) == (1, True)
    assert fit.tile is not None
    assert fit.tile == 76  # half of 150, on the grid of the network
    assert fit.told() == "6 rows at a time, 1 row at a time in the network, tiles of 76 pixels"
    assert fit.told(Fit(6, None, 1024)) == "1 row at a time in the network, tiles of 76 pixels"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("most", [6 * 150 * 70, 2 * 150 * 70, 130 * 70])
def test_vjps_in_parts(most: int, late: bool) -> None:
    """``late``: memory runs out only when the VJP is taken."""
    z, v = (torch.randn(6, 3, 150, 70, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    eta = torch.linspace(0.1, 3, 6, dtype=torch.float64)
    expected, pull = network().denoise_vjp(z, eta)
    fit = Fit(6)
    d, vjp = Fitting(Tight(network(), most, late=late), fit).denoise_vjp(z, eta)
    for _ in range(2):
        assert float((vjp(v) - pull(v)).abs().max()) < 1e-11
    assert float((d - expected).abs().max()) < 1e-12
    assert fit.shrunk == (most < 6 * 150 * 70)


@pytest.mark.parametrize("sampler", ["kintsugi", "cpigdm", "reddiff", "daps", "mmps"])
def test_samples_are_the_same(sampler: str) -> None:
    problem, words = stated(), {"steps": 3, "samples": 3, "seed": 4}
    whole = kintsugi.restore(problem, network(), sampler, **words)
    assert whole.notes == ()
    found = kintsugi.restore(problem, Tight(network(), 130 * 70), sampler, **words)
    assert float((found.samples - whole.samples).abs().max()) < 1e-9
    (note,) = found.notes
    assert note.startswith("memory ran out; went on with 1 row at a time in the network, tiles of ")
    assert (found.cost.forwards, found.cost.vjps) == (whole.cost.forwards, whole.cost.vjps)
    # Bit for bit what such parts give from the start.
    parts = kintsugi.restore(problem, Fitting(network(), Fit(6, 1, int(note.split()[-2]))), sampler, **words, tile=None)
    assert torch.equal(found.samples, parts.samples)


@pytest.mark.parametrize("sampler", ["kintsugi", "cpigdm", "daps"])
def test_memory_that_runs_out_beside_the_network_halves_the_batch(sampler: str) -> None:
    """No random number is drawn twice: bit for bit the samples of that batch."""
    calls = []

    class Heavy(Mask):
        def _forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            if len(x) > 2 and len(calls) > 3:  # when random numbers have been drawn
                raise ERRORS[0]()
            return super()._forward(x)

    keep = torch.rand(20, 16, generator=torch.Generator().manual_seed(2)) > 0.5
    light = Problem.simulate(torch.zeros(2, 3, 20, 16, dtype=torch.float64), Mask(keep, (3, 20, 16)), 0.05)
    heavy = Problem(light.y, Heavy(keep, (3, 20, 16)), light.noise)
    words = {"steps": 3, "samples": 4, "seed": 4, "tile": None}
    done: list[tuple[int, int]] = []
    found = kintsugi.restore(heavy, network(), sampler, batch=8, progress=lambda *n: done.append(n), **words)
    assert torch.equal(found.samples, kintsugi.restore(light, network(), sampler, batch=2, **words).samples)
    assert found.notes == ("memory ran out; went on with 2 rows at a time",)
    assert done[-1] == (3, 3)
    assert max(calls) == 8


def test_nothing_else_is_tried_again() -> None:
    class Broken(Wrapped):
        calls = 0

        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            self.calls += 1
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    broken = Broken(network())
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        kintsugi.restore(stated(), broken, steps=2, samples=4)
    assert broken.calls == 1


def test_nothing_smaller_is_left() -> None:
    with pytest.raises(
        OutOfMemory, match=r"^memory ran out on cpu, with signals of 3 x 150 x 70 \(1 MiB each\), 1 row at"
    ):
        kintsugi.restore(stated(), Tight(network(), 10), steps=2, samples=2)

    def fail(rows: range) -> Tensor:
        raise MemoryError

    with pytest.raises(OutOfMemory, match="beside the network, with 1 row at a time"):
        in_halves(5, Fit(4), fail, torch.device("cpu"))


def test_smaller_tiles_make_smaller_windows() -> None:
    prior = network()
    z = torch.empty(1, 3, 600, 400)
    tiles = [tile := 1024]
    while (tile := smaller_tile(prior, tile, z)) is not None:  # type: ignore[assignment]
        tiles.append(tile)
    assert tiles == [1024, 300, 152, 76, 64]  # halves, on the grid of the network
    assert smaller_tile(prior, None, torch.empty(1, 3, 60, 60)) is None
    assert smaller_tile(prior, None, torch.empty(1, 3, 600)) is None  # no image
    assert smaller_tile(Everywhere(), None, z) is None


class Everywhere(Prior):
    """Sees all of an image at once, and takes three times its memory."""

    shape = (3, None, None)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        mean = z.mean((-2, -1), keepdim=True)
        return torch.stack((z, z - mean, mean.expand_as(z))).mean(0) / (1 + eta.view(-1, 1, 1, 1) ** 2)


# --- a limit ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process itself takes nothing, so that limits are of tensors."""
    monkeypatch.setattr(memory, "in_use", lambda device: 0)


@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("sampler", ["kintsugi", "cpigdm", "reddiff"])
@pytest.mark.parametrize("mebibytes", [300, 120, 80])
def test_a_limit_is_kept(sampler: str, mebibytes: int) -> None:
    problem, words = stated(400, 300, 1), {"steps": 2, "samples": 6, "seed": 1}
    whole = kintsugi.restore(problem, network(), sampler, **words)
    with Meter() as meter:
        kept = kintsugi.restore(problem, network(), sampler, max_memory=f"{mebibytes}MiB", **words)
    assert meter.peak < mebibytes * 2**20
    assert float((kept.samples - whole.samples).abs().max()) < 1e-8
    if mebibytes == 80:
        (note,) = kept.notes
        assert note.startswith("to stay within 80 MiB: 1 row at a time")


@pytest.mark.usefixtures("nothing_else")
def test_the_largest_parts_that_fit() -> None:
    """Each limit gives parts at least as large as a lower one, and what they are said to take is about what they do."""
    problem, words = stated(300, 300, 1), {"steps": 2, "samples": 8, "batch": 8}
    sizes = []
    for mebibytes in (2000, 240, 140, 66):
        counter = Counter()
        seen = Tight(Counted(network(), counter), 10**9)
        with Meter() as meter:
            kintsugi.restore(problem, seen, max_memory=f"{mebibytes}MiB", **words)
        sizes.append(max(n[0] * n[2] * n[3] for n in seen.seen if n[2:] not in ((64, 64), (128, 128))))
        assert meter.peak < mebibytes * 2**20
    assert sizes[0] == 8 * 300 * 300
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


@pytest.mark.usefixtures("nothing_else")
def test_a_limit_that_cannot_be_kept_is_refused() -> None:
    tight = Tight(network(), 10**9)
    with pytest.raises(InvalidArgument, match=r"^max_memory: expected at least .* for this problem with kintsugi"):
        kintsugi.restore(stated(400, 400, 1), tight, max_memory="45MiB")
    assert set(tight.seen) == {(1, 3, 64, 64), (1, 3, 128, 128)}  # the probes
    with pytest.raises(InvalidArgument, match=r"^max_memory: expected more memory for this problem with kintsugi"):
        kintsugi.restore(stated(400, 400, 1), tight, max_memory="24MiB")
    # A prior that looks everywhere cannot be tiled, but its rows can be fewer.
    words = {"samples": 4, "steps": 2, "batch": 4}
    kept = kintsugi.restore(stated(200, 200, 1), Everywhere(), max_memory="40MiB", **words)
    (note,) = kept.notes
    assert "row" in note
    assert "tiles" not in note
    assert torch.equal(kept.samples, kintsugi.restore(stated(200, 200, 1), Everywhere(), **words).samples)


@pytest.mark.usefixtures("nothing_else")
def test_other_signals_have_no_tiles() -> None:
    line = Mask(torch.rand(64, generator=torch.Generator().manual_seed(0)) > 0.5, (1, 64))

    class Lines(Prior):
        shape = (1, None)

        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            return z / (1 + eta.view(-1, 1, 1) ** 2)

    problem = Problem(line(torch.ones(1, 1, 64)), line, 0.1)
    result = kintsugi.restore(problem, Lines(), "ddnm", steps=2, samples=8, max_memory="9kB")
    assert "rows at a time" in result.notes[0] or "1 row at a time" in result.notes[0]
    assert torch.equal(result.samples, kintsugi.restore(problem, Lines(), "ddnm", steps=2, samples=8).samples)


# --- on the command line ----------------------------------------------------------------------------------------------


def test_the_command_keeps_a_limit(model: Path, photo: Path, tmp_path: Path) -> None:
    words = ("restore", photo, "-t", "denoise", "--noise", 0.1, "--prior", model, "--steps", 2, "--device", "cpu")
    done(*words, "-o", tmp_path / "a.png")
    done(*words, "-o", tmp_path / "b.png", "--max-memory", "64GiB")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "error: max_memory: expected " in refused(*words, "-o", tmp_path / "c.png", "--max-memory", "1MiB")
    assert "a size such as 4GiB" in refused(*words, "-o", tmp_path / "c.png", "--max-memory", "lots")
    assert not (tmp_path / "c.png").exists()


def test_the_command_says_so(model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NetworkPrior.denoise

    def tight(self: NetworkPrior, z: Tensor, eta: Tensor) -> Tensor:
        if len(z) > 1:
            raise ERRORS[1]()
        return whole(self, z, eta)

    words = ("restore", photo, "-t", "denoise", "--noise", 0.1, "--prior", model, "--samples", 4, "--steps", 2)
    done(*words, "-o", tmp_path / "a.png", "--device", "cpu")
    monkeypatch.setattr(NetworkPrior, "denoise", tight)
    result = run(*words, "-o", tmp_path / "b.png", "--device", "cpu")
    assert result.exit_code == 0
    assert result.stderr == "note: memory ran out; went on with 1 row at a time in the network\n"
    (tmp_path / "folder").mkdir()
    photo.rename(tmp_path / "folder/photo.png")
    more = ("restore", tmp_path / "folder", *words[2:], "-o", tmp_path / "out", "--device", "cpu")
    assert "note: photo.png: memory ran out; went on with 1 row at" in run(*more).stderr
    for found in (tmp_path / "b-sample3.png", tmp_path / "out/photo-sample3.png"):
        assert found.read_bytes() == (tmp_path / "a-sample3.png").read_bytes()

    def none(self: NetworkPrior, z: Tensor, eta: Tensor) -> Tensor:
        raise ERRORS[0]()

    monkeypatch.setattr(NetworkPrior, "denoise", none)
    more = ("restore", tmp_path / "folder/photo.png", *words[2:], "--device", "cpu", "-o", tmp_path / "c.png")
    assert refused(*more).startswith("error: memory ran out on cpu, with signals of 3 x 24 x 20")
    monkeypatch.setattr(kintsugi.cli.picture, "read_picture", lambda path: np.ones(2**50))
    assert refused(*more) == "error: memory ran out\n"
