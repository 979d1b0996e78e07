"""Checkpoints of guided-diffusion: the converted network against a literal one of the same weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.paths import DiscreteVP
from kintsugi.priors import adm
from kintsugi.priors.unet2d import UNetPrior
from literal_adm import LiteralADM, randomise

CASES: dict[str, dict[str, Any]] = {
    "residual resampling": {},
    "classes": {"classes": 5},
    "convolutions": {"updown": False},
    "convolutions, no attention but the middle's": {"updown": False, "attention": ()},
    "no attention but the middle's": {"attention": ()},
    "shift only": {"film": False},
    "shift only, convolutions, classes": {"film": False, "updown": False, "classes": 3},
    "no variance": {"out": 3},
    "new order": {"new_order": True},
    "one head": {"head_channels": 64, "mult": (2, 2)},
    "two heads at every width": {"heads": 2, "attention": (0, 1)},
    "two heads, new order": {"heads": 2, "attention": (0, 1), "new_order": True},
    "two blocks": {"blocks": 2, "attention": (0,)},
    "three levels": {"mult": (1, 2, 1), "attention": (0, 2)},
    "half": {"base": 64, "mult": (0.5, 1, 1), "attention": (2,)},
    "half, convolutions": {"base": 64, "mult": (0.5, 1), "updown": False, "film": False},
    "one level": {"mult": (1,), "attention": (0,), "blocks": 2},
    "grey": {"channels": 1, "out": 2},
}


def words(case: dict[str, Any]) -> dict[str, Any]:
    """What the keys do not tell."""
    return {
        "heads": case.get("heads"),
        "head_channels": case.get("head_channels", 16),
        "new_attention_order": case.get("new_order", False),
    }


def literal(seed: int = 0, **case: Any) -> LiteralADM:
    net = randomise(LiteralADM(**case), seed)
    assert isinstance(net, LiteralADM)
    return net


def loaded(net: LiteralADM, case: dict[str, Any], **settings: Any) -> UNetPrior:
    return adm.load(net.state_dict(), **{"size": 8, **words(case), **settings})


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def trained_levels(betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``alpha`` and ``eta`` of every step."""
    kept = np.cumprod(1 - betas)
    return np.sqrt(kept), np.sqrt((1 - kept) / kept)


LINEAR = np.linspace(1e-4, 2e-2, 1000)


# The network


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_network_and_its_derivative_are_the_literal_ones(case: dict[str, Any]) -> None:
    net = literal(**case).double()
    prior = loaded(net, case).double()
    assert prior.classes == case.get("classes")
    label = None
    if prior.classes is not None:
        prior, label = prior.with_condition(label=2), torch.tensor([2, 2])
    channels = case.get("channels", 3)
    assert prior.shape == (channels, 8, 8)
    steps = torch.tensor([40, 600])
    alpha, eta = (torch.from_numpy(values)[steps] for values in trained_levels(LINEAR))
    z, v = noise(2, channels, 8, 8).double(), noise(2, channels, 8, 8, seed=2).double()
    with torch.enable_grad():
        leaf = z.clone().requires_grad_(True)
        eps = net(alpha.view(2, 1, 1, 1) * leaf, steps, label)[:, :channels]
        expected = leaf - eta.view(2, 1, 1, 1) * eps
        (grad,) = torch.autograd.grad(expected, leaf, v)
    out, vjp = prior.denoise_vjp(z, eta)
    for row in range(2):  # the second is some forty times larger
        # In float64 but for the sinusoids of the time. Float32 would lose digits in the derivatives of small norms.
        assert distance(out[row], expected.detach()[row]) < 1e-9
        assert distance(vjp(v)[row], grad[row]) < 1e-9
        assert distance(z[row], expected.detach()[row]) > 1e-2  # the network tells


def test_every_weight_is_used() -> None:
    """A change of any one tensor changes the prior as it changes the literal network."""
    case: dict[str, Any] = {"base": 64, "mult": (1, 1), "classes": 2}  # a norm of single channels hides a bias
    net = literal(**case)
    prior = loaded(net, case).with_condition(label=1)
    assert isinstance(prior.network, torch.nn.Module)
    x, step, label = noise(1, 3, 4, 4), torch.tensor([300.0]), torch.tensor([1])
    alpha, eta = (float(value[300]) for value in trained_levels(LINEAR))
    before = net(x, step, label)[:, :3]
    for name, value in net.state_dict().items():
        kept = value.clone()
        value += 0.5 * noise(*value.shape, seed=3)
        after = net(x, step, label)[:, :3]
        assert distance(after, before) > 1e-4, name
        prior.network.load_state_dict(adm.convert(net.state_dict(), **words(case)).state)
        theirs = x / alpha - eta * after
        assert distance(prior.denoise(x / alpha, torch.tensor([eta])), theirs) < 1e-5, name
        value.copy_(kept)


@pytest.mark.parametrize("heads", [{"heads": 2}, {"head_channels": 16}])
def test_order_of_queries_keys_and_values_matters(heads: dict[str, int]) -> None:
    """The same weights in the other order are another network, so the tests above would see a mistake."""
    net = literal(**heads)
    z, eta = noise(1, 3, 8, 8), torch.tensor([1.0])
    legacy, new = (loaded(net, {**heads, "new_order": order}).denoise(z, eta) for order in (False, True))
    assert distance(legacy, new) > 1e-2


def test_number_of_heads_matters() -> None:
    net = literal(heads=2)
    z, eta = noise(1, 3, 8, 8), torch.tensor([1.0])
    assert distance(loaded(net, {"heads": 4}).denoise(z, eta), loaded(net, {"heads": 2}).denoise(z, eta)) > 1e-2


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "_orig_mod."])
def test_wrappers_names_are_taken_off(prefix: str) -> None:
    state = literal().state_dict()
    wrapped = {prefix + key: value for key, value in state.items()} | {"step": torch.tensor(3)}
    assert adm.recognises(wrapped)
    ours, theirs = (adm.convert(s, head_channels=16).state for s in (wrapped, state))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_half_precision_loads_in_single() -> None:
    net = literal().half()
    prior = loaded(net, {})
    assert next(prior.parameters()).dtype == torch.float32
    alpha, eta = (float(value[300]) for value in trained_levels(LINEAR))
    z = noise(1, 3, 8, 8)
    theirs = z - eta * net.float()(alpha * z, torch.tensor([300.0]))[:, :3]
    assert distance(prior.denoise(z, torch.tensor([eta])), theirs) < 1e-5


# The denoiser


def cosine(steps: int) -> np.ndarray:
    """Equation 17 of Nichol and Dhariwal (2021), step by step."""
    f = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    return np.array([min(0.999, 1 - f[t] / f[t - 1]) for t in range(1, steps + 1)])


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        ("linear", 1000, LINEAR),
        ("linear", 250, np.linspace(4e-4, 8e-2, 250)),
        ("cosine", 1000, cosine(1000)),
        ("cosine", 7, cosine(7)),
    ],
)
def test_betas_are_the_published(schedule: adm.Schedule, steps: int, expected: np.ndarray) -> None:
    np.testing.assert_allclose(adm.betas(schedule, steps), expected, rtol=1e-12)


@pytest.mark.parametrize(("schedule", "steps"), [("linear", 1000), ("linear", 100), ("cosine", 1000)])
def test_denoiser_is_the_picture_less_the_noise(schedule: adm.Schedule, steps: int) -> None:
    net = literal()
    prior = loaded(net, {}, schedule=schedule, steps=steps)
    betas = cosine(steps) if schedule == "cosine" else np.linspace(0.1 / steps, 20 / steps, steps)
    alphas, etas = trained_levels(betas)
    z = noise(1, 3, 8, 8)
    for k in np.linspace(0, steps - 1, 12).astype(int):
        alpha, eta = float(alphas[k]), float(etas[k])
        eps = net(alpha * (1 + eta) * z, torch.tensor([float(k)]))[:, :3]
        expected = (1 + eta) * z - eta * eps
        assert distance(prior.denoise((1 + eta) * z, torch.tensor([eta], dtype=torch.float64)), expected) < 1e-5


def test_denoiser_between_steps() -> None:
    """A step and its fraction, or a whole step, at the levels between steps 99 and 100."""
    net = literal()
    prior, nearest = loaded(net, {}), loaded(net, {}, between="nearest")
    told: list[float] = []
    assert isinstance(nearest.network, torch.nn.Module)
    nearest.network.register_forward_pre_hook(lambda module, args: told.append(float(args[1])))
    _, etas = trained_levels(LINEAR)
    z = noise(1, 3, 8, 8)
    for part in (0.2, 0.7):
        eta = etas[99] ** (1 - part) * etas[100] ** part
        level = torch.tensor([eta], dtype=torch.float64)
        eps = net(z / math.sqrt(1 + eta**2), torch.tensor([99 + part], dtype=torch.float32))[:, :3]
        assert distance(prior.denoise(z, level), z - eta * eps) < 1e-5
        nearest.denoise(z, level)
    assert told == [99, 100]


def test_path_and_card() -> None:
    prior = loaded(literal(), {}, steps=50, card={"license": "MIT"})
    assert isinstance(prior.path, DiscreteVP)
    assert len(prior.path.betas) == 50
    assert prior.card == {"license": "MIT"}
    assert prior.data_variance == 0.25
    assert not any(p.requires_grad for p in prior.parameters())


def test_classes_have_no_label_for_none() -> None:
    prior = loaded(literal(classes=4), {})
    with pytest.raises(InvalidArgument, match="label"):
        prior.check()
    with pytest.raises(InvalidArgument, match="from 0 to 3"):
        prior.with_condition(label=4)
    with pytest.raises(InvalidArgument, match="guidance_scale"):
        prior.with_condition(label=1, guidance_scale=2.0)
    z, eta = noise(1, 3, 8, 8), torch.tensor([2.0])
    one, other = (prior.with_condition(label=label).denoise(z, eta) for label in (0, 3))
    assert distance(one, other) > 1e-3


# Published models

PUBLISHED: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "imagenet 64": (
        64,
        {"base": 192, "mult": (1, 2, 3, 4), "blocks": 3, "attention": (1, 2, 3), "classes": 1000, "new_order": True},
        {"new_attention_order": True},
    ),
    "imagenet 128": (
        128,
        {"base": 256, "mult": (1, 1, 2, 3, 4), "blocks": 2, "attention": (2, 3, 4), "classes": 1000, "heads": 4},
        {"heads": 4},
    ),
    "imagenet 256": (
        256,
        {"base": 256, "mult": (1, 1, 2, 2, 4, 4), "blocks": 2, "attention": (3, 4, 5), "classes": None},
        {},
    ),
    "imagenet 512": (
        512,
        {"base": 256, "mult": (0.5, 1, 1, 2, 2, 4, 4), "blocks": 2, "attention": (4, 5, 6), "classes": 1000},
        {},
    ),
    "ffhq of dps": (256, {"base": 128, "mult": (1, 1, 2, 2, 4, 4), "blocks": 1, "attention": (4,)}, {}),
}


@pytest.mark.parametrize(("size", "case", "settings"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_models_have_the_weights_of_the_network(
    size: int, case: dict[str, Any], settings: dict[str, Any]
) -> None:
    """At full size, without the numbers: every name and shape that the built network wants, and no other."""
    with torch.device("meta"):
        state = LiteralADM(**{"head_channels": 64, **case}).state_dict()
        converted = adm.convert(state, **settings)
        wanted = converted.spec.build().state_dict()
    assert {k: v.shape for k, v in converted.state.items()} == {k: v.shape for k, v in wanted.items()}
    assert sum(v.numel() for v in state.values()) == sum(v.numel() for v in wanted.values())
    assert adm.check_picture(converted.spec, None) == (3, size, case.get("classes"))


def test_model_of_dps_in_small() -> None:
    """The layout of the FFHQ model, widths a quarter: six levels, attention at one of them and in the middle."""
    case = {"mult": (1, 1, 2, 2, 4, 4), "attention": (4,), "head_channels": 64}
    net = literal(**case)
    prior = adm.load(net.state_dict())
    assert prior.shape == (3, 256, 256)
    alpha, eta = (float(value[500]) for value in trained_levels(LINEAR))
    z = noise(1, 3, 64, 64)
    theirs = z - eta * net(alpha * z, torch.tensor([500.0]))[:, :3]
    assert distance(prior.denoise(z, torch.tensor([eta])), theirs) < 1e-5


# Mistakes


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    assert all(name in state for name in names)
    return {key: value for key, value in state.items() if key not in names}


@pytest.mark.parametrize(
    "name",
    [
        "input_blocks.1.0.in_layers.0.weight",
        "input_blocks.1.0.skip_connection.bias",
        "input_blocks.3.0.out_layers.3.weight",
        "input_blocks.3.1.norm.weight",
        "middle_block.1.qkv.bias",
        "output_blocks.3.0.emb_layers.1.bias",
        "out.2.bias",
        "time_embed.2.weight",
    ],
)
def test_missing_weights_are_named(name: str) -> None:
    state = literal(mult=(2, 1), attention=(1,)).state_dict()
    if name == "input_blocks.1.0.skip_connection.bias":
        state = literal(mult=(1, 2), attention=(1,)).state_dict()
        name = "input_blocks.3.0.skip_connection.bias"
    with pytest.raises(InvalidArgument, match=f"checkpoint: .*{name}"):
        adm.load(without(state, name), size=8, head_channels=16)


def test_weights_of_something_else_are_named() -> None:
    state = literal().state_dict()
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*extra\.weight"):
        adm.convert({**state, "extra.weight": torch.ones(1)}, head_channels=16)
    # Attention in one of two blocks of a level
    state = literal(blocks=2).state_dict()
    some = {key: value for key, value in state.items() if not key.startswith("input_blocks.5.1.")}
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*input_blocks\.5\.1"):
        adm.convert(some, head_channels=16)
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*output blocks"):
        adm.convert({k: v for k, v in state.items() if not k.startswith("output_blocks.5.")}, head_channels=16)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = literal().state_dict()
    for name, value in {
        "input_blocks.1.0.in_layers.2.weight": torch.ones(32, 32, 1, 1),
        "middle_block.1.qkv.weight": torch.ones(64, 64, 1),
        "middle_block.1.proj_out.weight": torch.ones(64, 64),
        "out.2.weight": torch.ones(5, 32, 3, 3),
    }.items():
        with pytest.raises(InvalidArgument, match="checkpoint"):
            adm.load({**state, name: value}, size=8, head_channels=16)


def test_only_adm_is_recognised() -> None:
    state = literal().state_dict()
    assert adm.recognises(state)
    classifier = {key: value for key, value in state.items() if not key.startswith("output_blocks.")}
    latent = {f"model.diffusion_model.{key}": value for key, value in state.items()}
    for other in ({}, classifier, latent, {"conv_in.weight": torch.ones(1)}):
        assert not adm.recognises(other)
        with pytest.raises(InvalidArgument, match="checkpoint"):
            adm.convert(other)


def test_upsamplers_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="upsamplers"):
        loaded(literal(channels=6, out=3), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", None),
        ("size", 7),
        ("size", 0),
        ("schedule", "quadratic"),
        ("steps", 20),
        ("steps", 3.0),
        ("between", "often"),
        ("heads", 3),
        ("heads", 0),
        ("head_channels", 48),
        ("head_channels", 0),
    ],
)
def test_mistakes_name_the_argument(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        loaded(literal(), {}, **{name: value})
    assert caught.value.name == name
