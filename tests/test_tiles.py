"""Tiles have no seams, and wrappers count what went through the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kintsugi.errors import InvalidArgument
from kintsugi.operators import StationaryCovariance
from kintsugi.paths import FlowMatching
from kintsugi.priors import NetworkPrior, Prior, StationaryPrior, UNet, UNetConfig
from kintsugi.priors.base import Vjp
from kintsugi.priors.wrappers import Counted, Counter, Tiled

CONFIG = UNetConfig(channels=3, patch=2, widths=(6, 8), blocks=(1, 1), embedding=8)


def network(config: UNetConfig = CONFIG, seed: int = 0) -> NetworkPrior:
    """Random weights everywhere: as trained layers, and unlike fresh ones, none is zero."""
    torch.manual_seed(seed)
    net = UNet(config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return NetworkPrior(net).double().eval().requires_grad_(False)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ETA = torch.tensor([0.3, 2.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "tile"), [((101, 75), 20), ((101, 75), 64), ((33, 41), 8), ((20, 97), 8), ((57, 16), 20), ((64, 130), 33)]
)
def test_tiles_are_seamless_at_any_size(size: tuple[int, int], tile: int) -> None:
    prior = network()
    z, v = randn(2, 3, *size), randn(2, 3, *size, seed=1)
    whole, pull = prior.denoise_vjp(z, ETA)
    tiled = Tiled(prior, tile)
    assert float((tiled.denoise(z, ETA) - whole).abs().max()) < 1e-12
    d, vjp = tiled.denoise_vjp(z, ETA)
    assert float((d - whole).abs().max()) < 1e-12
    expected = pull(v)
    for _ in range(2):
        assert float((vjp(v) - expected).abs().max()) < 1e-12 * float(expected.abs().max()) * 100


def test_tiles_are_seamless_in_float32() -> None:
    prior = network().float()
    z = randn(1, 3, 101, 75).float()
    whole = prior.denoise(z, ETA[:1].float())
    assert float((Tiled(prior, 16).denoise(z, ETA[:1].float()) - whole).abs().max()) < 1e-5 * float(whole.abs().max())


def test_a_deeper_network_sets_its_own_grid_and_overlap() -> None:
    """Five levels: cells of 32 pixels, tiles rounded up to them."""
    prior = network(UNetConfig(channels=1, patch=2, widths=(4,) * 5, blocks=(1,) * 5, embedding=8))
    assert prior.net.config.multiple == 32
    tiled = Tiled(prior, 40)
    assert tiled.tile == 64
    assert tiled.overlap % 32 == 0
    z = randn(1, 1, 40, 347)
    assert float((tiled.denoise(z, ETA[:1]) - prior.denoise(z, ETA[:1])).abs().max()) < 1e-12


def test_too_little_overlap_would_show() -> None:
    """What the tests above would see if the overlap were too small."""
    prior = network()
    z = randn(1, 3, 101, 75)
    seams = (Tiled(prior, 16, overlap=4).denoise(z, ETA[:1]) - prior.denoise(z, ETA[:1])).abs().max()
    assert float(seams) > 1e-4


@pytest.mark.parametrize("config", [CONFIG, UNetConfig(channels=1, widths=(4, 4, 4), blocks=(1, 2, 1), embedding=8)])
def test_the_receptive_radius_is_a_bound_and_not_a_loose_one(config: UNetConfig) -> None:
    prior = network(config)
    radius = prior.receptive_radius()
    n = 4 * config.multiple * (radius // (2 * config.multiple) + 1)
    z, reach = randn(1, config.channels, n, n), 0
    for offset in range(config.multiple):  # every position in a cell
        centre = n // 2 + offset
        cotangent = torch.zeros_like(z)
        cotangent[..., centre, centre] = 1.0
        touched = prior.denoise_vjp(z, ETA[:1])[1](cotangent)[0].abs().amax(0)
        rows, columns = (touched > 1e-14).nonzero(as_tuple=True)
        reach = max(reach, *(int((w - centre).abs().max()) for w in (rows, columns)))
    assert reach <= radius
    assert radius <= reach + 3 * config.multiple


class Recorder(Prior):
    """Local to a pixel; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def receptive_radius(self) -> int:
        return 3

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        self.seen.append(tuple(z.shape))
        return z * eta.view(-1, 1, 1, 1)


def test_no_tile_is_larger_than_it_says() -> None:
    prior = Recorder()
    z = randn(2, 1, 37, 25)
    assert torch.equal(Tiled(prior, 10).denoise(z, ETA), z * ETA.view(-1, 1, 1, 1))
    assert len(prior.seen) == 4 * 3
    assert max(h for _, _, h, _ in prior.seen) == 16
    prior.seen.clear()
    vjp = Tiled(prior, 10).denoise_vjp(z, ETA)[1]
    assert torch.equal(vjp(z), z * ETA.view(-1, 1, 1, 1))
    assert len(prior.seen) == 2 * 4 * 3  # each tile once for D, once again for the VJP
    assert max(h for _, _, h, _ in prior.seen) == 16
    prior.seen.clear()
    Tiled(prior, 37).denoise(z, ETA)
    assert prior.seen == [(2, 1, 37, 25)]


def test_a_prior_that_looks_everywhere_is_not_tiled() -> None:
    """A stationary Gaussian prior has no receptive radius: tiles of it would be wrong, not merely seamed."""
    prior = StationaryPrior(StationaryCovariance(lambda r: torch.stack((1 / (0.001 + r**2), 0.1 / (0.01 + r)))))
    z = randn(1, 3, 40, 30)
    assert torch.equal(Tiled(prior, 8).denoise(z, ETA[:1]), prior.denoise(z, ETA[:1]))
    assert torch.equal(Tiled(prior, 8).denoise_vjp(z, ETA[:1])[1](z), prior.denoise(z, ETA[:1]))


def test_tiles_around_a_counter_keep_the_networks_overlap() -> None:
    prior, counter = network(), Counter()
    z = randn(1, 3, 101, 75)
    outside, inside = Counted(Tiled(prior, 16), Counter()), Tiled(Counted(prior, counter), 16)
    assert inside.overlap == Tiled(prior, 16).overlap
    assert torch.equal(outside.denoise(z, ETA[:1]), inside.denoise(z, ETA[:1]))
    assert counter.forwards == 7 * 5


def test_counters_count_rows() -> None:
    counter = Counter()
    prior = Counted(Tiled(Recorder(), 10), counter)
    z = randn(2, 1, 37, 25)
    prior.denoise(z, ETA)
    assert (counter.forwards, counter.vjps) == (2, 0)
    d, vjp = prior.denoise_vjp(z[:1], ETA[:1])
    assert (counter.forwards, counter.vjps) == (3, 0)
    assert torch.equal(vjp(z[:1]), d)
    vjp(z[:1])
    assert (counter.forwards, counter.vjps) == (3, 2)


class Marked(Prior):
    data_variance = 0.5
    shape = (1, None, None)
    spectrum = "measured"

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        return z, lambda v: 2 * v


def test_wrappers_pass_on_what_the_prior_says_of_itself() -> None:
    prior = Marked()
    for wrapped in (Counted(prior, Counter()), Tiled(prior), Counted(Tiled(prior), Counter())):
        assert wrapped.data_variance == 0.5
        assert wrapped.shape == (1, None, None)
        assert wrapped.spectrum == "measured"
        assert not hasattr(wrapped, "receptive_radius")
        assert wrapped.denoise_vjp(randn(1, 1, 4, 4), ETA[:1])[1](torch.ones(1)) == 2


def test_another_path_shares_weights_and_counter() -> None:
    counter = Counter()
    prior = Counted(network(), counter)
    flow = prior.with_path(FlowMatching())
    assert isinstance(flow.path, FlowMatching)
    assert not isinstance(prior.path, FlowMatching)
    z = randn(1, 3, 8, 8)
    assert torch.equal(flow.denoise(z, ETA[:1]), prior.denoise(z, ETA[:1]))
    assert counter.forwards == 2


def test_bad_arguments_are_named() -> None:
    for tile, overlap in ((0, None), (-5, None), (16, -1)):
        with pytest.raises(InvalidArgument, match=r"^tile: "):
            Tiled(network(), tile, overlap)


@pytest.mark.parametrize("length", [4000, 4097, 1300, 90])
def test_tiles_of_sounds_are_seamless(length: int) -> None:
    """The same network on the frames of a sound; its grid and how far it looks are in samples."""
    config = UNetConfig(channels=1, patch=2, widths=(6, 8), blocks=(1, 1), embedding=8, frame=16)
    prior, eta = network(config), ETA[:1]
    z, v = randn(1, 1, length), randn(1, 1, length, seed=1)
    tiled = Tiled(prior, 200)
    assert tiled.sees_whole(z) == (length < 200)
    whole, pull = prior.denoise_vjp(z, eta)
    assert float((tiled.denoise(z, eta) - whole).abs().max()) < 1e-6 * float(whole.abs().max())  # frames are float32
    expected = pull(v)
    assert float((tiled.denoise_vjp(z, eta)[1](v) - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_tiles_in_three_dimensions() -> None:
    z = randn(2, 1, 9, 14, 5)
    kernel = torch.ones(1, 1, 3, 3, 3, dtype=z.dtype) / 27

    class Volume(Prior):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            assert max(z.shape[2:]) <= 4 + 2 * 2
            return torch.nn.functional.conv3d(z, kernel, padding=1)

    expected = torch.nn.functional.conv3d(z, kernel, padding=1)
    assert torch.allclose(Tiled(Volume(), 4, overlap=2).denoise(z, ETA), expected, rtol=0, atol=1e-12)
