"""What a network may have beside the default: attention, dropout, labels, a size, a velocity as its prediction."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kintsugi import data_path
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.paths import VP, FlowMatching
from kintsugi.priors import load_prior
from kintsugi.priors.network import NetworkPrior, load_model, preconditioning, save_model
from kintsugi.priors.unet import Attention, Block, NoiseEmbedding, UNet, UNetConfig
from kintsugi.priors.windows import Windows

FULL = UNetConfig(widths=(32, 64), blocks=(1, 1), embedding=8, size=16, attention=(0, 1), dropout=0.3, labels=3)


def noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fill(module: torch.nn.Module, seed: int = 0) -> None:
    """Random weights everywhere, also where training would begin at zero; frozen."""
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / math.sqrt(fan_in)


def random_net(config: UNetConfig) -> UNet:
    net = UNet(config)
    fill(net)
    return net.eval()


# Attention


@pytest.mark.parametrize(("width", "heads"), [(64, 2), (32, 1), (10, 1)])
def test_attention_against_a_dense_transcription(width: int, heads: int) -> None:
    """Pixel by pixel and head by head, from the weights alone."""
    attention = Attention(width).double()
    fill(attention)
    x = noise(2, width, 3, 4, dtype=torch.float64)
    rows = x[1].flatten(1).T  # (12, width), pixel by pixel
    normed = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    assert attention.qkv.bias is not None
    assert attention.out.bias is not None
    q, k, v = (normed @ attention.qkv.weight[:, :, 0, 0].T + attention.qkv.bias).split(width, dim=1)
    mixed = torch.zeros_like(rows)
    size = width // heads
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for i in range(12):
            scores = torch.stack([q[i, part] @ k[j, part] / math.sqrt(size) for j in range(12)])
            shares = scores.exp() / scores.exp().sum()
            mixed[i, part] = sum(shares[j] * v[j, part] for j in range(12))  # type: ignore[assignment]
    expected = rows + mixed @ attention.out.weight[:, :, 0, 0].T + attention.out.bias
    out = attention(x)
    assert out.shape == x.shape
    torch.testing.assert_close(out[1].flatten(1).T, expected)


def test_attention_follows_the_blocks_of_its_levels_only() -> None:
    config = UNetConfig(widths=(4, 6, 8), blocks=(1, 1, 2), embedding=8, size=16, attention=(1,))
    net = UNet(config)
    assert [[b.attend is not None for b in stage] for stage in (*net.down, net.middle, *net.up)] == [
        [False], [True], [False, False], [False], [True],
    ]  # fmt: skip
    z = noise(1, 3, 16, 16, dtype=torch.float64)
    prior = NetworkPrior(random_net(config)).double()
    _, vjp = prior.denoise_vjp(z, torch.tensor([0.5], dtype=torch.float64))
    cotangent = torch.zeros_like(z)
    cotangent[..., 0, 0] = 1
    assert bool((vjp(cotangent) != 0).all())  # the first pixel sees all


def test_rows_do_not_know_each_other() -> None:
    prior = NetworkPrior(random_net(FULL))
    z, eta = noise(3, 3, 16, 16), torch.tensor([0.05, 1.0, 20.0])
    alone = torch.cat([prior.denoise(z[i : i + 1], eta[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(prior.denoise(z, eta), alone, rtol=1e-5, atol=1e-5)


def test_vjp_is_the_derivative() -> None:
    prior = NetworkPrior(random_net(FULL), prediction="velocity").double()
    z, eta = noise(2, 3, 16, 16, dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
    _, vjp = prior.denoise_vjp(z, eta)
    v, w, h = noise(*z.shape, seed=2, dtype=z.dtype), noise(*z.shape, seed=3, dtype=z.dtype), 1e-5
    slope = (prior.denoise(z + h * w, eta) - prior.denoise(z - h * w, eta)) / (2 * h)
    torch.testing.assert_close((vjp(v) * w).sum((1, 2, 3)), (v * slope).sum((1, 2, 3)), rtol=1e-7, atol=1e-9)


# Dropout and labels


def test_dropout_drops_in_training_and_nowhere_else() -> None:
    plain, dropping = Block(16, 8), Block(16, 8, dropout=0.5)
    fill(plain)
    dropping.requires_grad_(False).load_state_dict(plain.state_dict())
    x, emb = noise(1, 16, 6, 6), noise(1, 8)
    assert torch.equal(dropping.eval()(x, emb), plain(x, emb))
    torch.manual_seed(0)
    samples = torch.stack([dropping.train()(x, emb) - x for _ in range(800)])
    mean = plain(x, emb) - x  # linear in what is dropped, whose expectation is kept
    spread = samples.std(0) / math.sqrt(800)
    assert float(((samples.mean(0) - mean) / spread).abs().max()) < 5
    assert float(spread.min()) > 0


def test_labels_of_zeros_change_nothing_and_others_do() -> None:
    net = random_net(FULL)
    x, c_noise = noise(2, 3, 16, 16), torch.tensor([-0.5, 0.3])
    without = net(x, c_noise)
    assert torch.equal(net(x, c_noise, torch.zeros(2, 3)), without)
    told = net(x, c_noise, torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    torch.testing.assert_close(told[0], without[0])
    assert float((told[1] - without[1]).abs().max()) > 1e-2


def test_labels_enter_the_hidden_layer_linearly() -> None:
    embed = NoiseEmbedding(8, labels=2).double()
    fill(embed)
    c_noise, labels = torch.tensor([0.4], dtype=torch.float64), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    assert embed.label is not None
    angles = 0.4 * 2.0 ** torch.linspace(-1, 4, 16).double()
    hidden = embed.first.weight @ torch.cat((angles.sin(), angles.cos())) + embed.first.bias
    hidden = hidden + embed.label.weight @ labels[0]
    inner = hidden * hidden.sigmoid()
    outer = embed.second.weight @ inner + embed.second.bias
    torch.testing.assert_close(embed(c_noise, labels)[0], outer * outer.sigmoid())


# A model of pictures of one size


def test_a_size_is_the_priors_shape_and_it_is_never_tiled() -> None:
    prior = NetworkPrior(random_net(FULL))
    assert prior.shape == (3, 16, 16)
    assert prior.receptive_radius() == sys.maxsize
    wide = Windows(prior, overlap=4)
    z, eta = noise(1, 3, 16, 28), torch.tensor([0.5])
    out = wide.denoise(z, eta)
    torch.testing.assert_close(out[..., :8], prior.denoise(z[..., :16], eta)[..., :8])  # seen by one window only
    torch.testing.assert_close(out[..., 20:], prior.denoise(z[..., 12:], eta)[..., 8:])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("size", {"size": 10}), ("size", {"size": -16}), ("attention", {"size": 16, "attention": (2,)}),
        ("attention", {"size": 16, "attention": (-1,)}), ("attention", {"attention": (1,)}),
        ("dropout", {"dropout": 1.0}), ("dropout", {"dropout": -0.1}), ("labels", {"labels": -1}),
    ],
)  # fmt: skip
def test_bad_architectures_are_named(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        UNetConfig(**{"widths": (4, 6), "blocks": (1, 1)} | values)
    assert caught.value.name == name


# A velocity


def test_velocity_is_the_form_of_the_straight_path() -> None:
    """``D = x_t - t v`` with ``x_t = (1 - t) z``, ``t = eta / (1 + eta)``, asked with a quarter of the logit of t."""
    prior = NetworkPrior(random_net(FULL), prediction="velocity")
    z, t = noise(2, 3, 16, 16), torch.tensor([0.2, 0.95])
    eta = t / (1 - t)
    x_t = (1 - t).view(-1, 1, 1, 1) * z
    expected = x_t - t.view(-1, 1, 1, 1) * prior.net(x_t, torch.logit(t) / 4)
    torch.testing.assert_close(prior.denoise(z, eta), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(prior.denoise(z, torch.zeros(2)), z)
    assert prior.path == FlowMatching()
    assert NetworkPrior(UNet(FULL)).path == VP()


def test_velocity_preconditioning_closed_form() -> None:
    eta = torch.tensor([0.01, 1.0, 50.0])
    c_skip, c_out, c_in, c_noise = preconditioning(eta, 0.25, torch.empty(3, 1, 1, 1), "velocity")
    alpha = (1 / (1 + eta)).view(-1, 1, 1, 1)
    torch.testing.assert_close(c_in, alpha)
    torch.testing.assert_close(c_skip, alpha)
    torch.testing.assert_close(c_out, -(1 - alpha))
    torch.testing.assert_close(c_noise, eta.log() / 4)


def test_an_unknown_prediction_is_named() -> None:
    with pytest.raises(InvalidArgument, match="prediction"):
        NetworkPrior(UNet(FULL), prediction="score")  # type: ignore[arg-type]


# Files


@pytest.mark.parametrize("prediction", ["edm", "velocity"])
def test_the_file_says_all_of_it(prediction: Any, tmp_path: Path) -> None:
    prior = NetworkPrior(random_net(FULL), prediction=prediction, data_variance=0.2)
    save_model(prior, tmp_path / "m.safetensors", dtype=torch.float32)
    loaded = load_prior(tmp_path / "m.safetensors")
    assert isinstance(loaded, NetworkPrior)
    assert (loaded.net.config, loaded.prediction, loaded.path) == (FULL, prediction, prior.path)
    z, eta = noise(1, 3, 16, 16), torch.tensor([0.7])
    assert torch.equal(loaded.denoise(z, eta), prior.denoise(z, eta))


def rewritten(source: Path, target: Path, **changes: Any) -> Path:
    """``source`` with entries of its header changed; None takes one out."""
    with safe_open(source, framework="pt") as file:
        header = json.loads(file.metadata()["kintsugi"]) | changes
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, target, metadata={"kintsugi": json.dumps({k: v for k, v in header.items() if v is not None})})
    return target


def test_files_of_the_first_format_are_denoisers(tmp_path: Path) -> None:
    config = UNetConfig(widths=(4, 6), blocks=(1, 1), embedding=8)
    prior = NetworkPrior(random_net(config))
    save_model(prior, tmp_path / "new.safetensors", dtype=torch.float32)
    plain = {"channels": 3, "patch": 2, "widths": [4, 6], "blocks": [1, 1], "embedding": 8}  # all that there was
    old = load_model(
        rewritten(tmp_path / "new.safetensors", tmp_path / "old.safetensors", format=1, config=plain, prediction=None)
    )
    assert old.net.config == config
    z, eta = noise(1, 3, 12, 20), torch.tensor([0.7])
    assert torch.equal(old.denoise(z, eta), prior.denoise(z, eta))


@pytest.mark.parametrize("prediction", [None, "score", 3, ["edm"]])
def test_a_file_must_say_what_it_predicts(prediction: Any, tmp_path: Path) -> None:
    save_model(NetworkPrior(random_net(FULL)), tmp_path / "m.safetensors")
    path = rewritten(tmp_path / "m.safetensors", tmp_path / "bad.safetensors", prediction=prediction)
    with pytest.raises(InvalidFile, match="do not fit its header"):
        load_model(path)


GIVEN = [-0.798151, -0.677768, -0.450679, -0.222601, 0.022839, 0.231182, 0.475799, 0.704117]


def test_the_shipped_model_gives_the_numbers_that_it_gave() -> None:
    """``photo`` on a fixed input, as computed by the code that trained it."""
    prior = load_model(data_path("photo.safetensors"))
    x = torch.linspace(-1, 1, 3 * 24 * 20).view(1, 3, 24, 20).sin()
    d = prior.denoise(x, torch.tensor([0.3]))
    torch.testing.assert_close(d.flatten()[::180], torch.tensor(GIVEN), rtol=0, atol=2e-5)
