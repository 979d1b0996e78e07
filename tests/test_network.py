"""The default network as a prior: closed forms, locality, derivatives, and its file."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.paths import VP, FlowMatching
from kintsugi.priors.network import NetworkPrior, load_model, preconditioning, save_model
from kintsugi.priors.spectrum import ErrorSpectrum
from kintsugi.priors.unet import Modulation, UNet, UNetConfig

TINY = UNetConfig(widths=(4, 6, 8), blocks=(1, 1, 1), embedding=8)
ETAS = (1e-3, 0.02, 0.5, 3.0, 80.0)


def random_prior(config: UNetConfig = TINY, seed: int = 0, **settings: Any) -> NetworkPrior:
    """A prior with random weights everywhere, also where training would begin at zero."""
    net = UNet(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data = torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in)
    return NetworkPrior(net, **settings).eval().requires_grad_(False)


def noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def prior() -> NetworkPrior:
    return random_prior()


# Preconditioning


@pytest.mark.parametrize("data_variance", [0.25, 1.0, 0.01])
def test_preconditioning_is_edms(data_variance: float) -> None:
    c_skip, c_out, c_in, c_noise = preconditioning(torch.tensor(ETAS), data_variance, torch.empty(5, 3, 2, 2))
    s2 = data_variance
    for i, eta in enumerate(ETAS):
        assert float(c_skip[i]) == pytest.approx(s2 / (s2 + eta**2), rel=1e-6)
        assert float(c_out[i]) == pytest.approx(math.sqrt(s2) * eta / math.sqrt(s2 + eta**2), rel=1e-6)
        assert float(c_in[i]) == pytest.approx(1 / math.sqrt(s2 + eta**2), rel=1e-6)
        assert float(c_noise[i]) == pytest.approx(math.log(eta) / 4, rel=1e-6)
    assert c_skip.shape == c_out.shape == c_in.shape == (5, 1, 1, 1)
    assert c_noise.shape == (5,)
    assert c_skip.dtype == torch.float32


def test_untrained_network_is_the_wiener_filter_of_white_data() -> None:
    """The head starts at zero, so D is ``c_skip z``, the posterior mean for white data of variance s^2."""
    prior = NetworkPrior(UNet(TINY), data_variance=0.3)
    z, eta = noise(2, 3, 8, 8), torch.tensor([0.1, 2.0])
    expected = z * (0.3 / (0.3 + eta**2)).view(2, 1, 1, 1)
    torch.testing.assert_close(prior.denoise(z, eta), expected)


def test_output_of_the_network_enters_with_c_out() -> None:
    prior = NetworkPrior(UNet(TINY))
    assert prior.net.head.bias is not None
    prior.net.head.bias.data.fill_(0.7)  # F = 0.7 everywhere
    z, eta = noise(1, 3, 8, 8), torch.tensor([2.0])
    expected = z * 0.25 / 4.25 + 0.7 * 2 * math.sqrt(0.25 / 4.25)
    torch.testing.assert_close(prior.denoise(z, eta), expected)


def test_denoiser_tends_to_the_identity(prior: NetworkPrior) -> None:
    z = noise(1, 3, 16, 16)
    distances = [float((prior.denoise(z, torch.tensor([eta])) - z).norm()) for eta in (1e-2, 1e-3, 1e-4)]
    assert distances[0] > 9 * distances[1] > 81 * distances[2] > 0
    assert torch.equal(prior.denoise(z, torch.zeros(1)), z)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf])
def test_data_variance_must_be_positive(variance: float) -> None:
    with pytest.raises(InvalidArgument, match="data_variance"):
        NetworkPrior(UNet(TINY), data_variance=variance)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("widths", {"widths": (4, 8), "blocks": (1,)}),
        ("widths", {"widths": (), "blocks": ()}),
        ("widths", {"widths": (4, 0), "blocks": (1, 1)}),
        ("blocks", {"widths": (4, 8), "blocks": (1, -1)}),
        ("patch", {"patch": 0}),
        ("channels", {"channels": 0}),
        ("embedding", {"embedding": 0}),
        ("norm", {"norm": "no"}),
    ],
)
def test_bad_architectures_are_named(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        UNetConfig(**values)
    assert caught.value.name == name


def test_architecture_survives_json() -> None:
    config = UNetConfig(channels=1, patch=4, widths=(8, 16), blocks=(3, 1), embedding=32, norm=False)
    assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("norm", [True, False])
def test_modulation_sees_one_pixel(norm: bool) -> None:
    x = noise(2, 5, 4, 3, dtype=torch.float64)
    scale, shift = noise(2, 5, seed=2, dtype=torch.float64), noise(2, 5, seed=3, dtype=torch.float64)
    pixel = x[1, :, 2, 1]
    if norm:
        pixel = (pixel - pixel.mean()) / (pixel.var(correction=0) + 1e-5).sqrt()
    out = Modulation(norm)(x, scale, shift)
    torch.testing.assert_close(out[1, :, 2, 1], (1 + scale[1]) * pixel + shift[1])


def test_a_block_without_the_norm_from_its_weights() -> None:
    """Two convolutions with FiLM and a gate between them, in every block of the network."""
    net = random_prior(UNetConfig(widths=(4, 6), blocks=(1, 2), embedding=8, norm=False)).net
    assert not any(b.modulate.norm for stage in (*net.down, net.middle, *net.up) for b in stage)
    block, x, emb = net.middle[1], noise(2, 6, 5, 4), noise(2, 8, seed=2)
    scale, shift = (emb @ block.film.weight.T + block.film.bias)[:, :, None, None].split(6, dim=1)
    inner = nn.functional.conv2d(x, block.first.weight, block.first.bias, padding=1) * (1 + scale) + shift
    expected = x + nn.functional.conv2d(inner * inner.sigmoid(), block.second.weight, block.second.bias, padding=1)
    torch.testing.assert_close(block(x, emb), expected)


# Sizes, batches, locality


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (17, 23), (9, 40), (3, 5), (1, 1), (1, 30), (7, 8)])
def test_any_size_keeps_its_shape(prior: NetworkPrior, size: tuple[int, int]) -> None:
    z = noise(2, 3, *size)
    out = prior.denoise(z, torch.tensor([0.1, 2.0]))
    assert out.shape == z.shape
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize(("size", "mode"), [((17, 22), "reflect"), ((3, 5), "replicate")])
def test_odd_sizes_are_padded_with_what_is_there(prior: NetworkPrior, size: tuple[int, int], mode: str) -> None:
    z, eta = noise(1, 3, *size), torch.tensor([0.5])
    rows, columns = (np.pad(np.arange(n), (0, -n % 8), mode="reflect" if mode == "reflect" else "edge") for n in size)
    padded = z[:, :, torch.from_numpy(rows)][:, :, :, torch.from_numpy(columns)]
    expected = prior.denoise(padded, eta)[..., : size[0], : size[1]]
    torch.testing.assert_close(prior.denoise(z, eta), expected, rtol=0, atol=1e-6)


def test_rows_do_not_know_each_other(prior: NetworkPrior) -> None:
    z, eta = noise(3, 3, 18, 14), torch.tensor([0.05, 1.0, 20.0])
    together = prior.denoise(z, eta)
    alone = torch.cat([prior.denoise(z[i : i + 1], eta[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together[0], prior.denoise(z[:1], eta[1:2])[0], atol=1e-2)  # the level matters


RADII = {
    "one level": (UNetConfig(widths=(4,), blocks=(2,), embedding=8), 0.5),
    "tiny": (TINY, 0.5),
    "no norm": (UNetConfig(widths=(4, 6, 8), blocks=(1, 1, 1), embedding=8, norm=False), 0.5),
    "patch 4": (UNetConfig(patch=4, widths=(4, 4), blocks=(1, 2), embedding=8), 0.5),
    "default depth": (UNetConfig(widths=(4, 4, 4, 4), embedding=8), 0.5),
}


@pytest.mark.parametrize(("config", "tightness"), RADII.values(), ids=RADII)
def test_receptive_radius_is_a_bound_and_not_a_loose_one(config: UNetConfig, tightness: float) -> None:
    """Exact by derivatives: d D(p) / dz is zero beyond the radius, for pixels p anywhere in the coarsest cell."""
    prior = random_prior(config).double()
    radius = prior.receptive_radius()
    width = 2 * radius + 3 * config.multiple + 5  # not a multiple: the padding must not reach farther either
    z, eta = noise(1, 3, 8, width, dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    _, vjp = prior.denoise_vjp(z, eta)
    farthest = 0
    for column in range(radius + config.multiple, radius + 2 * config.multiple):
        cotangent = torch.zeros_like(z)
        cotangent[..., column] = 1
        seen = vjp(cotangent).abs().amax(dim=(0, 1, 2)).nonzero().flatten()
        reach = int((seen - column).abs().max())
        assert reach <= radius
        farthest = max(farthest, reach)
    assert farthest >= tightness * radius


def test_a_pixel_beyond_the_radius_changes_nothing(prior: NetworkPrior) -> None:
    radius = prior.receptive_radius()
    z, eta = noise(1, 3, 16, 2 * radius + 10), torch.tensor([0.7])
    far, near = z.clone(), z.clone()
    far[..., radius + 1 :] += 10
    near[..., radius // 4] += 10
    before = prior.denoise(z, eta)[..., 0]
    torch.testing.assert_close(prior.denoise(far, eta)[..., 0], before, rtol=0, atol=1e-6)
    assert float((prior.denoise(near, eta)[..., 0] - before).abs().max()) > 1e-4


# Derivatives


def test_vjp_is_the_derivative() -> None:
    """Central differences in float64 along random directions, on a size that is padded."""
    prior = random_prior().double()
    z, eta = noise(2, 3, 11, 14, dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
    d, vjp = prior.denoise_vjp(z, eta)
    torch.testing.assert_close(d, prior.denoise(z, eta), rtol=0, atol=0)
    for seed in (2, 3):  # the function may be called again
        v, w = noise(*z.shape, seed=seed, dtype=z.dtype), noise(*z.shape, seed=seed + 10, dtype=z.dtype)
        h = 1e-5
        slope = (prior.denoise(z + h * w, eta) - prior.denoise(z - h * w, eta)) / (2 * h)
        expected = (v * slope).sum(dim=(1, 2, 3))
        torch.testing.assert_close((vjp(v) * w).sum(dim=(1, 2, 3)), expected, rtol=1e-7, atol=1e-9)


def test_vjp_of_an_untrained_network_is_c_skip() -> None:
    prior = NetworkPrior(UNet(TINY)).requires_grad_(False)
    z, v = noise(1, 3, 8, 8), noise(1, 3, 8, 8, seed=5)
    _, vjp = prior.denoise_vjp(z, torch.tensor([1.5]))
    torch.testing.assert_close(vjp(v), v * 0.25 / (0.25 + 2.25))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_vjp_works_inside_any_gradient_mode(prior: NetworkPrior, mode: Callable[[], Any]) -> None:
    z, eta, v = noise(1, 3, 8, 8), torch.tensor([0.5]), noise(1, 3, 8, 8, seed=5)
    _, vjp = prior.denoise_vjp(z, eta)
    with mode():
        z_there, eta_there, v_there = z * 1, eta * 1, v * 1  # tensors of that mode
        d, vjp_there = prior.denoise_vjp(z_there, eta_there)
        grad = vjp_there(v_there)
    torch.testing.assert_close(grad, vjp(v), rtol=0, atol=0)
    assert not d.requires_grad
    assert not z.requires_grad


def test_another_path_shares_the_weights(prior: NetworkPrior) -> None:
    other = prior.with_path(FlowMatching())
    assert (prior.path, other.path) == (VP(), FlowMatching())
    assert all(a is b for a, b in zip(prior.parameters(), other.parameters(), strict=True))


# The model file


SPECTRUM = ErrorSpectrum(
    torch.tensor([0.1, 1.6], dtype=torch.float64),
    torch.tensor([0.05, 0.25, 0.65], dtype=torch.float64),
    torch.tensor([[[1e-4, 2e-4], [4e-4, 5e-4], [9e-4, 3e-4]], [[1e-2, 2e-2], [9e-2, 5e-2], [3e-2, 7e-2]]]).double(),
)


def test_file_holds_the_weights_rounded_to_float16(tmp_path: Path) -> None:
    card = {"name": "tiny", "licence": "MIT", "validation": {"0.1": 31.5}}
    prior = random_prior(data_variance=0.21, spectrum=SPECTRUM, card=card)
    save_model(prior, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")

    weights = prior.state_dict()
    assert loaded.state_dict().keys() == weights.keys()
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, weights[name].half().float())
        assert not torch.equal(value, weights[name])
    assert (loaded.data_variance, loaded.card, loaded.net.config) == (0.21, card, TINY)
    assert loaded.shape == (3, None, None)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not loaded.training
    assert loaded.spectrum is not None
    for name in ("etas", "freqs", "values"):
        assert torch.equal(getattr(loaded.spectrum, name), getattr(SPECTRUM, name))

    rounded = random_prior(data_variance=0.21)
    rounded.load_state_dict({k: v.half().float() for k, v in weights.items()})
    z, eta = noise(1, 3, 9, 9), torch.tensor([0.4])
    assert torch.equal(loaded.denoise(z, eta), rounded.denoise(z, eta))


def test_file_in_float32_is_exact_and_needs_no_spectrum(tmp_path: Path, prior: NetworkPrior) -> None:
    save_model(prior, tmp_path / "m.safetensors", dtype=torch.float32)
    loaded = load_model(str(tmp_path / "m.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(prior.parameters(), loaded.parameters(), strict=True))
    assert loaded.spectrum is None
    assert loaded.card == {}


def test_spectrum_that_is_a_view_can_be_saved(tmp_path: Path) -> None:
    turned = ErrorSpectrum(
        SPECTRUM.etas, SPECTRUM.freqs, SPECTRUM.values.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    )
    assert not turned.values.is_contiguous()
    save_model(random_prior(spectrum=turned), tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors").spectrum
    assert loaded is not None
    assert torch.equal(loaded.values, SPECTRUM.values)


def test_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path, prior: NetworkPrior) -> None:
    path = tmp_path / "m.safetensors"
    save_model(prior, path)
    before = path.read_bytes()
    prior.card["data"] = object()  # no JSON
    with pytest.raises(TypeError):
        save_model(prior, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "good.safetensors"
    save_model(random_prior(spectrum=SPECTRUM), path)
    return path


def refused(path: Path, reason: str) -> None:
    with pytest.raises(InvalidFile, match=reason) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


Header: TypeAlias = dict[str, Any]
Tensors: TypeAlias = dict[str, Tensor]


def rewrite(source: Path, target: Path, change: Callable[[Header, Tensors], Any]) -> None:
    """``source`` with its header and tensors changed in place."""
    with safe_open(source, framework="pt") as file:
        header = json.loads(file.metadata()["kintsugi"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, target, metadata={"kintsugi": json.dumps(header)})


def test_rewriting_without_a_change_is_accepted(tmp_path: Path, good: Path) -> None:
    rewrite(good, tmp_path / "same.safetensors", lambda header, tensors: None)
    assert load_model(tmp_path / "same.safetensors").spectrum is not None


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "absent.safetensors", "no such model file")
    refused(tmp_path, "no such model file")


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.5, 0.999])
def test_truncated_file(tmp_path: Path, good: Path, share: float) -> None:
    data = good.read_bytes()
    path = tmp_path / "short.safetensors"
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "not a readable safetensors file")


def test_files_of_other_formats(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(200), b"hello", bytes(4096), b"\xff" * 64):
        path.write_bytes(data)
        refused(path, "not a readable safetensors file")


class _Bomb:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("writer", [pickle.dumps, None], ids=["pickle", "torch"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, writer: Callable[[Any], bytes] | None) -> None:
    bomb, path = _Bomb(tmp_path / "trace"), tmp_path / "renamed.safetensors"
    if writer is None:
        torch.save({"weights": bomb}, path)
    else:
        path.write_bytes(writer({"weights": bomb}))
    refused(path, "not a readable safetensors file")
    assert not bomb.trace.exists()


def test_safetensors_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, "not a Kintsugi model")
    save_file({"weight": torch.zeros(3)}, path, metadata={"kintsugi": "{no json"})
    refused(path, "header entry cannot be read")
    save_file({"weight": torch.zeros(3)}, path, metadata={"kintsugi": "[1, 2]"})
    refused(path, "header entry cannot be read")
    save_file({"weight": torch.zeros(3)}, path, metadata={"kintsugi": '{"format": 1}'})
    refused(path, "header entry cannot be read")


NAME = "net.middle.0.first.weight"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite(tmp_path: Path, good: Path, value: float) -> None:
    def change(header: Header, tensors: Tensors) -> None:
        tensors[NAME][0, 1, 2, 0] = value

    rewrite(good, tmp_path / "bad.safetensors", change)
    refused(tmp_path / "bad.safetensors", r"not finite, first in 'middle\.0\.first\.weight'")


UNFIT: dict[str, Callable[[Header, Tensors], Any]] = {
    "wrong shape": lambda h, t: t.update({NAME: torch.zeros(8, 8, 3, 2)}),
    "a weight missing": lambda h, t: t.pop(NAME),
    "a weight too many": lambda h, t: t.update({"net.more": torch.zeros(2)}),
    "no weights": lambda h, t: t.clear(),
    "another architecture": lambda h, t: h["config"].update(widths=[4, 6, 9]),
    "fewer levels": lambda h, t: h["config"].update(widths=[4, 6]),
    "an unknown setting": lambda h, t: h["config"].update(depth=3),
    "a setting of another type": lambda h, t: h["config"].update(patch="two"),
    "a width of zero": lambda h, t: h["config"].update(widths=[4, 6, 0]),
    "no config": lambda h, t: h.pop("config"),
    "config no mapping": lambda h, t: h.update(config=[1, 2]),
    "config null": lambda h, t: h.update(config=None),
    "no data variance": lambda h, t: h.pop("data_variance"),
    "data variance of zero": lambda h, t: h.update(data_variance=0),
    "data variance no number": lambda h, t: h.update(data_variance="much"),
    "data variance NaN": lambda h, t: h.update(data_variance=math.nan),
    "card no mapping": lambda h, t: h.update(card="a fine model"),
    "spectrum not positive": lambda h, t: t["spectrum.values"].mul_(-1),
    "spectrum NaN": lambda h, t: t["spectrum.values"].fill_(math.nan),
    "spectrum of another shape": lambda h, t: t.update({"spectrum.freqs": torch.zeros(7)}),
    "spectrum without levels": lambda h, t: t.pop("spectrum.etas"),
    "spectrum levels falling": lambda h, t: t.update({"spectrum.etas": torch.tensor([2.0, 1.0])}),
    "spectrum level of zero": lambda h, t: t.update({"spectrum.etas": torch.tensor([0.0, 1.0])}),
    "spectrum levels a scalar": lambda h, t: t.update({"spectrum.etas": torch.tensor(1.0)}),
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_weights_and_header_that_do_not_fit(
    tmp_path: Path, good: Path, change: Callable[[Header, Tensors], Any]
) -> None:
    rewrite(good, tmp_path / "bad.safetensors", change)
    refused(tmp_path / "bad.safetensors", "its weights do not fit its header")


@pytest.mark.parametrize("change", [{"format": 3}, {"format": "1"}, {"architecture": "transformer"}])
def test_models_of_a_later_version(tmp_path: Path, good: Path, change: dict[str, Any]) -> None:
    rewrite(good, tmp_path / "new.safetensors", lambda header, tensors: header.update(change))
    refused(tmp_path / "new.safetensors", "is not known; this version reads 1 and 2 of 'unet'")


def test_a_damaged_header_raises_nothing_but_invalid_file(tmp_path: Path, good: Path) -> None:
    data, path = good.read_bytes(), tmp_path / "damaged.safetensors"
    length = int.from_bytes(data[:8], "little")
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[int(rng.integers(0, 8 + length))] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            load_model(path)
        except InvalidFile:
            refusals += 1
    assert refusals > 75


# The spectrum of the error


def test_spectrum_at_its_knots() -> None:
    radius = SPECTRUM.freqs.clone()
    for i, eta in enumerate(SPECTRUM.etas.tolist()):
        torch.testing.assert_close(SPECTRUM.at(eta, radius), SPECTRUM.values[i].T, rtol=1e-9, atol=0)


def test_spectrum_between_knots_is_linear_in_logarithms() -> None:
    middle = SPECTRUM.at(0.4, torch.tensor([0.05, 0.25], dtype=torch.float64))  # 0.4 is half way from 0.1 to 1.6
    assert middle[0].tolist() == pytest.approx([1e-3, 6e-3], rel=1e-6)  # sqrt(1e-4 1e-2), sqrt(4e-4 9e-2)
    assert middle[1].tolist() == pytest.approx([2e-3, 5e-3], rel=1e-6)
    quarter = SPECTRUM.at(1.6, torch.tensor([0.1, 0.35], dtype=torch.float64))  # a quarter of the way in frequency
    assert quarter[0].tolist() == pytest.approx([1e-2 * 9**0.25, 9e-2 * 3**-0.25], rel=1e-6)


def test_spectrum_beyond_its_knots() -> None:
    radius = torch.tensor([0.0, 0.7071], dtype=torch.float64)
    ends = SPECTRUM.at(50.0, radius)
    assert ends[0].tolist() == pytest.approx([1e-2, 3e-2], rel=1e-6)  # constant above the levels and frequencies
    below = SPECTRUM.at(0.01, radius)
    assert below[1].tolist() == pytest.approx([2e-6, 3e-6], rel=1e-6)  # falls with eta^2
    assert bool((SPECTRUM.at(0.0, radius) >= 0).all())


def test_spectrum_of_a_grid_of_frequencies() -> None:
    radius = torch.tensor([[0.25, 0.05, 0.65], [0.7, 0.0, 0.15]])
    out = SPECTRUM.at(0.1, radius)
    assert (out.shape, out.dtype) == ((2, 2, 3), torch.float32)
    assert out[0, 0].tolist() == pytest.approx([4e-4, 1e-4, 9e-4], rel=1e-5)
    assert out[1, 1].tolist() == pytest.approx([3e-4, 2e-4, math.sqrt(2e-4 * 5e-4)], rel=1e-5)


def test_spectrum_of_one_level() -> None:
    one = ErrorSpectrum(SPECTRUM.etas[:1], SPECTRUM.freqs, SPECTRUM.values[:1])
    radius = SPECTRUM.freqs.clone()
    torch.testing.assert_close(one.at(7.0, radius), SPECTRUM.values[0].T)
    torch.testing.assert_close(one.at(0.05, radius), SPECTRUM.values[0].T / 4)


def test_the_networks_module_is_a_plain_module(prior: NetworkPrior) -> None:
    """``prior(z, eta)`` is ``denoise``, so that wrappers of torch (compile, data parallel) apply."""
    assert isinstance(prior, nn.Module)
    z, eta = noise(1, 3, 8, 8), torch.tensor([0.5])
    assert torch.equal(prior(z, eta), prior.denoise(z, eta))


def test_a_float64_measurement_runs_through_a_float32_network() -> None:
    torch.manual_seed(0)
    prior = NetworkPrior(UNet(UNetConfig(widths=(4, 6), blocks=(1, 1), embedding=8)))
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    z = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    out = prior.denoise(z, torch.tensor([0.3], dtype=torch.float64))
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), prior.denoise(z.float(), torch.tensor([0.3])), rtol=0, atol=1e-5)
