"""EDM's ADM networks: the converted one against a literal one of the same weights, written after the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintsugi.errors import InvalidArgument
from kintsugi.paths import VE
from kintsugi.priors import edm_adm
from literal_adm import LiteralADM, randomise


class Resample(nn.Module):
    """A convolution (or none, ``kernel`` 0) of a picture that a filter halved or doubled before."""

    def __init__(self, fed: int, made: int, kernel: int, zoom: str = "") -> None:
        super().__init__()
        self.zoom = zoom
        if kernel:
            weight = nn.Conv2d(fed, made, kernel)
            self.weight, self.bias = weight.weight, weight.bias
        if zoom:
            self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        if self.zoom:
            taps = self.resample_filter.repeat(x.shape[1], 1, 1, 1)
            if self.zoom == "down":
                x = F.conv2d(x, taps, stride=2, groups=x.shape[1])
            else:
                x = F.conv_transpose2d(x, 4 * taps, stride=2, groups=x.shape[1])
        return F.conv2d(x, self.weight, self.bias, padding="same") if hasattr(self, "weight") else x


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, width // 4), width)


class Block(nn.Module):
    def __init__(self, fed: int, made: int, time: int, per_head: int = 0, zoom: str = "") -> None:
        super().__init__()
        self.fed, self.per_head = fed, per_head
        self.norm0, self.conv0 = norm(fed), Resample(fed, made, 3, zoom)
        self.affine = nn.Linear(time, 2 * made)
        self.norm1, self.conv1 = norm(made), Resample(made, made, 3)
        self.skip = None
        if fed != made or zoom:
            self.skip = Resample(fed, made, 0 if fed == made else 1, zoom)
        if per_head:
            self.norm2, self.qkv, self.proj = norm(made), Resample(made, 3 * made, 1), Resample(made, made, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.affine(time)[:, :, None, None].chunk(2, 1)
        h = self.conv0(F.silu(self.norm0(x)))
        h = self.conv1(F.silu(shift + (1 + scale) * self.norm1(h)))
        x = h + (x if self.skip is None else self.skip(x))
        if not self.per_head:
            return x
        # Every head has its channels together, and of each channel q, k and v.
        heads = self.qkv(self.norm2(x)).flatten(2).split(3 * self.per_head, 1)
        made = []
        for head in heads:
            q, k, v = head[:, 0::3], head[:, 1::3], head[:, 2::3]
            weight = (q.transpose(1, 2) @ k / math.sqrt(self.per_head)).softmax(2)
            made.append(v @ weight.transpose(1, 2))
        return x + self.proj(torch.cat(made, 1).view_as(x))


class LiteralEDM(nn.Module):
    def __init__(
        self,
        size: int = 4,
        base: int = 128,
        mult: Sequence[int] = (1, 1),
        blocks: int = 1,
        attention: Sequence[int] = (2,),
        classes: int = 0,
        per_head: int = 64,
        augment: int = 0,
    ) -> None:
        super().__init__()
        self.base, t = base, 4 * base
        self.map_layer0, self.map_layer1 = nn.Linear(base, t), nn.Linear(t, t)
        self.map_augment = nn.Linear(augment, base, bias=False) if augment else None
        self.map_label = nn.Linear(classes, t, bias=False) if classes else None
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        ch = mult[0] * base
        self.enc[f"{size}x{size}_conv"] = Resample(3, ch, 3)
        kept = [ch]
        for level, m in enumerate(mult):
            side = size >> level
            if level:
                self.enc[f"{side}x{side}_down"] = Block(ch, ch, t, zoom="down")
                kept.append(ch)
            for i in range(blocks):
                self.enc[f"{side}x{side}_block{i}"] = Block(ch, m * base, t, per_head * (side in attention))
                ch = m * base
                kept.append(ch)
        for level in reversed(range(len(mult))):
            side = size >> level
            if level == len(mult) - 1:
                self.dec[f"{side}x{side}_in0"] = Block(ch, ch, t, per_head)
                self.dec[f"{side}x{side}_in1"] = Block(ch, ch, t)
            else:
                self.dec[f"{side}x{side}_up"] = Block(ch, ch, t, zoom="up")
            for i in range(blocks + 1):
                fed, ch = ch + kept.pop(), mult[level] * base
                self.dec[f"{side}x{side}_block{i}"] = Block(fed, ch, t, per_head * (side in attention))
        self.out_norm, self.out_conv = norm(ch), Resample(ch, 3, 3)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        rates = (1 / 10000) ** (torch.arange(self.base // 2) / (self.base // 2))
        angle = c_noise[:, None] * rates.to(c_noise)
        time = self.map_layer1(F.silu(self.map_layer0(torch.cat([angle.cos(), angle.sin()], 1).to(x))))
        if self.map_label is not None and label is not None:
            time = time + self.map_label(F.one_hot(label, self.map_label.in_features).to(x))
        time = F.silu(time)
        kept = []
        for block in self.enc.values():
            x = block(x, time) if isinstance(block, Block) else block(x)
            kept.append(x)
        for block in self.dec.values():
            x = block(x if block.fed == x.shape[1] else torch.cat([x, kept.pop()], 1), time)
        return self.out_conv(F.silu(self.out_norm(x)))


CASES: dict[str, dict[str, Any]] = {
    "attention below": {},
    "attention above": {"attention": (4,)},
    "no attention but the middle's": {"attention": ()},
    "classes": {"classes": 4},
    "augmentations": {"augment": 9},
    "two blocks, wider": {"mult": (1, 2), "blocks": 2, "attention": (4, 2)},
    "small heads": {"per_head": 32},
}


def literal(**case: Any) -> LiteralEDM:
    net = randomise(LiteralEDM(**case))
    assert isinstance(net, LiteralEDM)
    return net


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def denoised(net: LiteralEDM, z: Tensor, eta: Tensor, label: Tensor | None = None) -> Tensor:
    """Equation 7 of Karras et al. (2022), with sigma_data = 1/2."""
    s = eta.view(-1, 1, 1, 1)
    total = 0.25 + s**2
    return 0.25 / total * z + s * 0.5 / total.sqrt() * net(z / total.sqrt(), eta.log() / 4, label)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_network_and_its_derivative_are_the_literal_ones(case: dict[str, Any]) -> None:
    net = literal(**case).double()
    prior = edm_adm.load(net.state_dict(), head_channels=case.get("per_head", 64)).double()
    assert prior.shape == (3, 4, 4)
    assert prior.classes == case.get("classes")
    label = None
    if prior.classes is not None:
        prior, label = prior.with_condition(label=2), torch.tensor([2, 2])
    z, v, eta = noise(2, 3, 4, 4).double(), noise(2, 3, 4, 4, seed=2).double(), torch.tensor([0.05, 7.0]).double()
    with torch.enable_grad():
        leaf = z.clone().requires_grad_(True)
        expected = denoised(net, leaf, eta, label)
        (grad,) = torch.autograd.grad(expected, leaf, v)
    out, vjp = prior.denoise_vjp(z, eta)
    for row in range(2):
        # In float64 but for the sinusoids of the time.
        assert distance(out[row], expected.detach()[row]) < 1e-6
        assert distance(vjp(v)[row], grad[row]) < 1e-5
        assert distance(z[row], expected.detach()[row]) > 1e-2  # the network tells


def test_denoiser_at_many_levels() -> None:
    net = literal()
    prior = edm_adm.load(net.state_dict())
    assert prior.path == VE(80.0)
    assert prior.data_variance == 0.25
    for eta in (0.002, 0.03, 0.5, 1.0, 10.0, 80.0):
        level = torch.tensor([eta])
        z = (1 + eta) * noise(1, 3, 4, 4)
        assert distance(prior.denoise(z, level), denoised(net, z, level)) < 1e-5


def test_published_model_has_the_weights_of_the_network() -> None:
    """ImageNet 64 at full size, without the numbers: every name and shape that is wanted, and no other."""
    with torch.device("meta"):
        net = LiteralEDM(64, 192, (1, 2, 3, 4), 3, (32, 16, 8), 1000)
        state = {f"model.{k}": v for k, v in net.state_dict().items() if not k.endswith("resample_filter")}
        converted = edm_adm.convert(state)
        wanted = converted.spec.build().state_dict()
    assert {k: v.shape for k, v in converted.state.items()} == {k: v.shape for k, v in wanted.items()}
    assert converted.spec.config["num_class_embeds"] == 1000


def test_half_precision_and_wrappers_names() -> None:
    net = literal().half()
    state = {f"model.{key}": value for key, value in net.state_dict().items()}
    assert edm_adm.recognises(state)
    prior = edm_adm.load(state, card={"license": "CC BY-NC-SA 4.0"})
    assert prior.card == {"license": "CC BY-NC-SA 4.0"}
    z, eta = noise(1, 3, 4, 4), torch.tensor([0.7])
    assert distance(prior.denoise(z, eta), denoised(net.float(), z, eta)) < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "enc.4x4_conv.bias",
        "enc.2x2_down.affine.weight",
        "enc.2x2_block0.proj.weight",
        "dec.2x2_in0.norm2.bias",
        "dec.4x4_block1.skip.bias",
        "map_layer1.bias",
        "out_conv.bias",
    ],
)
def test_missing_weights_are_named(name: str) -> None:
    state = literal().state_dict()
    del state[name]
    with pytest.raises(InvalidArgument, match=f"checkpoint: .*{name}"):
        edm_adm.load(state)


def test_what_is_something_else_is_refused() -> None:
    state = literal().state_dict()
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*extra\.weight"):
        edm_adm.convert({**state, "extra.weight": torch.ones(1)})
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*filter"):
        edm_adm.convert({**state, "dec.4x4_up.conv0.resample_filter": torch.ones(1, 1, 4, 4) / 16})
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*128"):
        edm_adm.convert(literal(base=64, per_head=32).state_dict(), head_channels=32)
    with pytest.raises(InvalidArgument, match="head_channels"):
        edm_adm.convert(state, head_channels=48)
    with pytest.raises(InvalidArgument, match="head_channels"):
        edm_adm.convert(state, head_channels=0)
    no_middle = {key: value for key, value in state.items() if not key.startswith("dec.2x2_in0.")}
    with pytest.raises(InvalidArgument, match=r"checkpoint: .*dec\.2x2_in0"):
        edm_adm.convert(no_middle)
    other = LiteralADM().state_dict()
    assert not edm_adm.recognises(other)
    with pytest.raises(InvalidArgument, match="checkpoint"):
        edm_adm.convert(other)
