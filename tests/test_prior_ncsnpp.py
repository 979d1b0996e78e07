"""NCSN++ and DDPM++: the network against a literal one, and the denoiser against each code's own formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.paths import VE, VP, FlowMatching
from kintsugi.priors.ncsnpp import SubVP, averaged, convert, ema_state, load, recognises
from kintsugi.priors.unet2d import UNetPrior
from literal_ncsnpp import Config, LiteralNCSNpp

# The widths of the published models are multiples of these: (1, 2, 2, 2) of DDPM++, (1, 1, 2, ...) of CelebA-HQ.
DDPMPP = Config(ch_mult=(1, 2, 2), num_res_blocks=2)
CELEBA = Config(
    ch_mult=(1, 1, 2),
    fir=True,
    progressive="output_skip",
    progressive_input="input_skip",
    embedding_type="fourier",
    scale_by_sigma=True,
)
RESIDUAL = Config(
    ch_mult=(1, 2, 2),
    fir=True,
    progressive_input="residual",
    embedding_type="fourier",
    scale_by_sigma=True,
    centered=False,
)
ETAS = (1e-3, 0.05, 0.7, 4.0, 60.0)


def changed(config: Config, **settings: Any) -> Config:
    return Config(**(vars(config) | settings))


# name: the configuration, the arguments of load, and E[x_0 | z] as the code itself would have it.
def flow_denoiser(net: LiteralNCSNpp, z: Tensor, eta: float) -> Tensor:
    """x_s = s data + (1 - s) noise; the network says data - noise at 999 s."""
    if not net.config.centered:  # data in [0, 1]
        z, eta = (z + 1) / 2, eta / 2
    s = 1 / (1 + eta)
    x = s * z
    data = x + (1 - s) * net(x, torch.full((len(z),), s * 999, dtype=z.dtype))
    return data if net.config.centered else 2 * data - 1


def vp_denoiser(net: LiteralNCSNpp, z: Tensor, eta: float) -> Tensor:
    """score = -network(x, 999 t) / std; x_0 = (x + std^2 score) / mean."""
    t = float(VP().time(eta))
    mean = float(torch.exp(torch.tensor(-0.25 * t**2 * 19.9 - 0.5 * t * 0.1, dtype=torch.float64)))
    std = (1 - mean**2) ** 0.5
    x = mean * z
    score = -net(x, torch.full((len(z),), t * 999, dtype=z.dtype)) / std
    return (x + std**2 * score) / mean


def subvp_denoiser(net: LiteralNCSNpp, z: Tensor, eta: float) -> Tensor:
    """As VP, with std = 1 - mean^2; the time by bisection."""

    def marginal(t: float) -> tuple[float, float]:
        log_mean = -0.25 * t**2 * 19.9 - 0.5 * t * 0.1
        return math.exp(log_mean), -math.expm1(2 * log_mean)

    low, high = 0.0, 1.0
    for _ in range(60):
        t = (low + high) / 2
        mean, std = marginal(t)
        low, high = (t, high) if std / mean < eta else (low, t)
    x = mean * z
    score = -net(x, torch.full((len(z),), t * 999, dtype=z.dtype)) / std
    return (x + std**2 * score) / mean


def ve_denoiser(net: LiteralNCSNpp, z: Tensor, eta: float) -> Tensor:
    """score = network(x, sigma); data in [0, 1]."""
    centered = net.config.centered
    x, sigma = (z, eta) if centered else ((z + 1) / 2, eta / 2)
    data = x + sigma**2 * net(x, torch.full((len(z),), sigma, dtype=z.dtype))
    return data if centered else 2 * data - 1


CASES: dict[str, tuple[Config, dict[str, Any], Callable[[LiteralNCSNpp, Tensor, float], Tensor]]] = {
    "flow-cifar": (DDPMPP, {}, flow_denoiser),
    "flow-celeba": (CELEBA, {}, flow_denoiser),
    "flow-church": (changed(CELEBA, centered=False), {"centered": False}, flow_denoiser),
    "vp-ddpmpp": (DDPMPP, {"kind": "vp"}, vp_denoiser),
    "vp-ncsnpp": (
        Config(fir=True, progressive_input="residual", num_res_blocks=2),
        {"kind": "vp"},
        vp_denoiser,
    ),
    "subvp-ddpmpp": (DDPMPP, {"kind": "subvp"}, subvp_denoiser),
    "ve-cifar": (RESIDUAL, {"kind": "ve"}, ve_denoiser),
    "ve-ffhq": (changed(CELEBA, centered=False), {"kind": "ve"}, ve_denoiser),
    "ve-centered": (CELEBA, {"kind": "ve", "centered": True}, ve_denoiser),
    "no-attention": (changed(CELEBA, attn_resolutions=()), {}, flow_denoiser),
    "attention-everywhere": (changed(DDPMPP, attn_resolutions=(8, 4, 2)), {}, flow_denoiser),
    "one-level": (Config(ch_mult=(1,), num_channels=1, num_res_blocks=2), {}, flow_denoiser),
    "not-as-published": (
        changed(CELEBA, fir=False, skip_rescale=False, num_channels=1),
        {"fir": False, "skip_rescale": False},
        flow_denoiser,
    ),
}


def case(name: str) -> tuple[LiteralNCSNpp, UNetPrior, Callable[[Tensor, float], Tensor]]:
    config, settings, formula = CASES[name]
    net = LiteralNCSNpp(config).double()
    prior = load(net.state_dict(), **settings)
    prior.network.double()
    return net, prior, lambda z, eta: formula(net, z, eta)


def noise(config: Config, seed: int = 1, batch: int = 2) -> Tensor:
    shape = (batch, config.num_channels, config.image_size, config.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert float(((a - b).norm() / b.norm()).detach()) < tolerance


@pytest.mark.parametrize("name", CASES)
def test_denoiser_is_that_of_the_original(name: str) -> None:
    net, prior, formula = case(name)
    for eta in ETAS:
        z = noise(net.config) * (1 + eta)
        ours = prior.denoise(z, torch.full((2,), eta, dtype=torch.float64))
        theirs = formula(z, eta)
        # Where x_0 is nearly z, what the network adds is what is compared.
        close(ours - z, theirs - z, 1e-8)


@pytest.mark.parametrize("name", ["flow-cifar", "flow-celeba", "flow-church", "vp-ncsnpp", "ve-ffhq"])
def test_vjp_is_that_of_the_original(name: str) -> None:
    net, prior, formula = case(name)
    for eta in (0.05, 2.0):
        z, v = noise(net.config), noise(net.config, seed=2)
        d, vjp = prior.denoise_vjp(z, torch.full((2,), eta, dtype=torch.float64))
        leaf = z.clone().requires_grad_(True)
        theirs = formula(leaf, eta)
        (grad,) = torch.autograd.grad(theirs, leaf, v)
        close(d, theirs.detach(), 1e-8)
        close(vjp(v), grad, 1e-8)


@pytest.mark.parametrize("name", ["flow-cifar", "flow-celeba", "ve-cifar"])
def test_single_precision_and_rows_of_their_own(name: str) -> None:
    net, prior, formula = case(name)
    prior.network.float()
    z, etas = noise(net.config), torch.tensor([0.3, 5.0])
    ours = prior.denoise(z.float(), etas)
    for row, eta in enumerate(etas.tolist()):
        close(ours[row : row + 1], formula(z[row : row + 1], eta), 1e-4)


@pytest.mark.parametrize("name", ["flow-cifar", "flow-celeba", "ve-cifar"])
def test_half_precision_keeps_the_phases(name: str) -> None:
    net, prior, formula = case(name)
    prior.network.to(torch.bfloat16)
    z = noise(net.config)
    for eta in (0.3, 5.0):
        ours, theirs = prior.denoise(z.float(), torch.tensor([eta, eta])), formula(z, eta)
        # bfloat16 rounds at 2^-9. With the frequencies in it as well, the error of "ve-cifar" is 0.02.
        close(ours - z, theirs - z, 0.005)


def test_the_layout_is_read_from_the_keys() -> None:
    config = convert(LiteralNCSNpp(CELEBA).state_dict()).spec.config
    assert config == {
        "kind": "flow", "channels": 3, "width": 8, "multipliers": (1, 1, 2), "blocks": 1, "attention": (1,),
        "fourier": True, "fir": True, "progressive": "output_skip", "progressive_input": "input_skip",
        "skip_rescale": True, "centered": True,
    }  # fmt: skip
    config = convert(LiteralNCSNpp(DDPMPP).state_dict(), kind="vp").spec.config
    assert (config["fourier"], config["fir"], config["blocks"]) == (False, False, 2)
    config = convert(LiteralNCSNpp(RESIDUAL).state_dict(), kind="ve").spec.config
    assert (config["progressive_input"], config["fir"], config["centered"]) == ("residual", True, False)


@pytest.mark.parametrize(
    ("multipliers", "blocks", "size", "levels"),
    [((1, 1, 2, 2, 2, 2, 2), 2, 256, (4,)), ((1, 2, 4, 8, 8, 8, 8, 8), 1, 1024, (6,)), ((1, 2, 2, 2), 8, 32, (1,))],
    ids=["256", "1024", "deep"],
)
def test_layouts_of_the_published_shapes(
    multipliers: tuple[int, ...], blocks: int, size: int, levels: tuple[int, ...]
) -> None:
    settings = {"image_size": size, "ch_mult": multipliers, "num_res_blocks": blocks, "attn_resolutions": (16,)}
    net = LiteralNCSNpp(changed(CELEBA, nf=4, **settings))
    config = convert(net.state_dict()).spec.config
    assert (config["multipliers"], config["blocks"], config["attention"]) == (multipliers, blocks, levels)
    load(net.state_dict(), size=size)


def test_paths_ranges_and_shapes() -> None:
    state = LiteralNCSNpp(CELEBA).state_dict()
    flow = load(state, size=8, card={"name": "faces"})
    assert isinstance(flow.path, FlowMatching)
    assert (flow.shape, flow.card) == ((3, 8, 8), {"name": "faces"})
    assert load(state).shape == (3, None, None)
    # Data in [0, 1]: noise counts double in [-1, 1], and a variance is a fourth.
    faces = load(state, kind="ve", sigma_max=348.0, data_variance=0.2)
    assert faces.native == VE(348.0)
    assert faces.path.eta_max == 696.0
    assert faces.data_variance == pytest.approx(0.2)
    assert float(load(state, centered=False).path.alpha_of_eta(2.0)) == pytest.approx(0.5)
    assert load(LiteralNCSNpp(DDPMPP).state_dict(), kind="vp", beta_max=10.0).path == VP(0.1, 10.0)


def test_the_sub_vp_path_is_its_own_inverse() -> None:
    path, t = SubVP(), torch.linspace(0.01, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(path.time(path.eta(t)), t, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(path.sigma(t), 1 - path.alpha(t) ** 2, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(path.alpha(t), VP().alpha(t), rtol=1e-10, atol=1e-14)
    assert path.eta_max == pytest.approx(math.exp(10.05 / 2) - math.exp(-10.05 / 2))


def test_pure_noise_and_clean_data_have_finite_answers() -> None:
    for settings in ({"kind": "flow"}, {"kind": "flow", "centered": False}, {"kind": "ve"}):
        prior = load(LiteralNCSNpp(CELEBA).state_dict(), **settings)  # type: ignore[arg-type]
        z = noise(CELEBA).float()
        assert prior.denoise(1e5 * z, torch.tensor([1e5, 1e5])).isfinite().all()
        torch.testing.assert_close(prior.denoise(z, torch.zeros(2)), z, rtol=1e-5, atol=1e-5)


def training_checkpoint(net: LiteralNCSNpp, mean: LiteralNCSNpp) -> dict[str, Any]:
    """As the code writes it: the model inside ``DataParallel``, averages of what is trained."""
    return {
        "optimizer": {},
        "model": {f"module.{name}": value for name, value in net.state_dict().items()},
        "ema": {
            "decay": 0.999,
            "num_updates": 3,
            "shadow_params": [p.detach() for p in mean.parameters() if p.requires_grad],
        },
        "step": 3,
    }


@pytest.mark.parametrize("config", [DDPMPP, CELEBA, RESIDUAL], ids=["positional", "fourier", "residual"])
def test_averaged_weights_find_their_names(config: Config) -> None:
    net, other = LiteralNCSNpp(config, seed=0), LiteralNCSNpp(config, seed=1)
    if config.embedding_type == "fourier":
        other.all_modules[0].W.data = net.all_modules[0].W.data.clone()  # not trained, so the model's own
    read = ema_state(training_checkpoint(net, other))
    expected = {name: value for name, value in other.state_dict().items() if name != "sigmas"}
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], value) for name, value in expected.items())
    assert recognises(read)
    load(read)


def test_a_checkpoint_without_averages_is_its_state() -> None:
    net, other = LiteralNCSNpp(DDPMPP), LiteralNCSNpp(DDPMPP, seed=1)
    checkpoint = training_checkpoint(net, other)
    name = "all_modules.3.Conv_0.weight"
    assert torch.equal(averaged(checkpoint, checkpoint["model"])[name], other.state_dict()[name])
    assert averaged({"model": checkpoint["model"]}, net.state_dict()).keys() == net.state_dict().keys()


def test_a_prefix_does_not_matter() -> None:
    net = LiteralNCSNpp(DDPMPP)
    prefixed = training_checkpoint(net, net)["model"]
    assert recognises(prefixed)
    x, time = noise(DDPMPP).float(), torch.tensor([3.0, 500.0])
    assert torch.equal(load(prefixed).network(x, time), load(net.state_dict()).network(x, time))


def test_errors_name_what_is_wrong() -> None:
    net = LiteralNCSNpp(DDPMPP)
    state = net.state_dict()
    assert not recognises({"input_blocks.0.0.weight": torch.zeros(1)})
    with pytest.raises(InvalidArgument, match=r"state: expected weights called all_modules"):
        load({"input_blocks.0.0.weight": torch.zeros(1)})
    with pytest.raises(InvalidArgument, match=r"kind: .*sinusoids"):
        load(state, kind="ve")
    with pytest.raises(InvalidArgument, match=r"kind: .*Fourier"):
        load(LiteralNCSNpp(CELEBA).state_dict(), kind="vp")
    with pytest.raises(InvalidArgument, match=r"kind: expected one of flow, vp, subvp, ve"):
        load(state, kind="edm")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"fir: expected True"):
        load(LiteralNCSNpp(RESIDUAL).state_dict(), fir=False)
    with pytest.raises(InvalidArgument, match=r"size: expected a multiple of 4"):
        load(state, size=10)
    with pytest.raises(InvalidArgument, match=r"size: .*multiples of 4"):
        load(state).denoise(torch.zeros(1, 3, 6, 8), torch.ones(1))
    part = {name: value for name, value in state.items() if not name.startswith("all_modules.3.")}
    with pytest.raises(InvalidArgument, match=r"state: expected a U-Net"):
        load(part)
    with pytest.raises(InvalidArgument, match=r"checkpoint: expected weights that fit"):
        load({name: value for name, value in state.items() if name != "all_modules.3.Dense_0.bias"})
    with pytest.raises(InvalidArgument, match=r"state: expected layers of NCSN\+\+ or DDPM\+\+"):
        load(state | {"all_modules.3.NIN_0.W": torch.zeros(8, 8)})
    with pytest.raises(InvalidArgument, match=r"state: expected all_modules\.N"):
        load(state | {"all_modules.x.weight": torch.zeros(8)})


def test_errors_of_training_checkpoints() -> None:
    net = LiteralNCSNpp(CELEBA)
    good = training_checkpoint(net, net)
    with pytest.raises(InvalidArgument, match=r"checkpoint: expected 'model' with all_modules"):
        ema_state({"state_dict": {}})
    with pytest.raises(InvalidArgument, match=r"checkpoint: expected 'model' with all_modules"):
        ema_state(good | {"ema": {"decay": 0.9}})
    shadow = good["ema"]["shadow_params"]
    for wrong in (shadow[1:], shadow[::-1]):
        with pytest.raises(InvalidArgument, match=r"checkpoint: .*averages"):
            ema_state(good | {"ema": {"shadow_params": wrong}})
