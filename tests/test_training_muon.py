"""The optimizer Muon: against the polar factor by an SVD, torch's own Muon and Adam, and where Adam is slow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.training.config import TrainConfig
from kintsugi.training.loop import train
from kintsugi.training.muon import Muon, orthogonalise
from kintsugi.training.optimizer import learning_rate, make_optimizer, parameter_groups

NET = UNetConfig(widths=(8, 16), blocks=(1, 1), embedding=16, norm=False)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (40, 12), (1, 9)])
def test_orthogonalise_is_near_the_polar_factor(shape: tuple[int, int]) -> None:
    """The same singular vectors, and singular values from 0.68 to 1.21, also of a badly conditioned matrix."""
    u, _, vh = torch.linalg.svd(draw(*shape), full_matrices=False)
    spectrum = torch.logspace(0, -2, min(shape), dtype=torch.float64)
    inner = u.T @ orthogonalise(u * spectrum @ vh) @ vh.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), rtol=0, atol=1e-12)
    assert inner.diagonal().min() > 0.68
    assert inner.diagonal().max() < 1.21


def test_orthogonalise_knows_no_scale_and_keeps_zeros() -> None:
    matrix = draw(5, 7)
    torch.testing.assert_close(orthogonalise(1e-6 * matrix), orthogonalise(matrix))
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_a_step_by_hand() -> None:
    """Nesterov's momentum of two gradients, the root mean square of 0.2 lr, and a convolution as a matrix."""
    weight = torch.nn.Parameter(draw(6, 2, 3, 3))
    before, grads = weight.detach().clone(), [draw(6, 2, 3, 3, seed=k) for k in (1, 2)]
    groups = [{"params": [weight], "matrices": True}]
    optimizer = Muon(groups, lr=0.1, momentum=0.9, dtype=torch.float64, weight_decay=0.3)
    momentum, expected = torch.zeros(6, 18, dtype=torch.float64), before.flatten(1)
    for grad in grads:
        weight.grad = grad
        optimizer.step()
        momentum = 0.9 * momentum + 0.1 * grad.flatten(1)
        expected = 0.97 * expected - 0.1 * 0.2 * 18**0.5 * orthogonalise(0.1 * grad.flatten(1) + 0.9 * momentum)
    torch.testing.assert_close(weight.detach(), expected.view(6, 2, 3, 3))
    # All 6 singular values are about 1, so that the mean square of 6 x 18 elements is about 6 / (6 x 18).
    size = float((orthogonalise(draw(6, 18)) * 0.2 * 18**0.5).square().mean().sqrt())
    assert size == pytest.approx(0.2, rel=0.2)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9")
def test_matrices_are_stepped_as_torch_steps_them() -> None:
    ours, theirs = (torch.nn.Parameter(draw(12, 20, dtype=torch.float32)) for _ in range(2))
    a = Muon([{"params": [ours], "matrices": True}], lr=0.02, dtype=torch.bfloat16, weight_decay=2.0)
    b = torch.optim.Muon([theirs], lr=0.02, weight_decay=2.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for k in range(5):
        ours.grad, theirs.grad = (draw(12, 20, seed=k, dtype=torch.float32) for _ in range(2))
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)  # a few roundings to bfloat16 of 0.02 x 0.2 x 4.5


def test_other_parameters_are_stepped_as_by_adam() -> None:
    ours, theirs = (torch.nn.Parameter(draw(7, 3)) for _ in range(2))
    a = Muon([{"params": [ours]}], lr=0.02, weight_decay=2.0)  # which is for matrices
    b = torch.optim.AdamW([theirs], lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)
    for k in range(5):
        ours.grad, theirs.grad = draw(7, 3, seed=k), draw(7, 3, seed=k)
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_which_parameters_are_matrices() -> None:
    """Convolutions between the first and the last; every parameter is in one group."""
    net = UNet(NET)
    inside, others = parameter_groups(net)
    assert {id(p) for p in [*inside, *others]} == {id(p) for p in net.parameters()}
    assert len(inside) + len(others) == len(list(net.parameters()))
    names = {name for name, p in net.named_parameters() if any(p is q for q in inside)}
    assert names == {
        f"{stage}.{part}.weight" for stage in ("down.0.0", "middle.0", "up.0.0") for part in ("first", "second")
    } | {"shrink.0.weight", "grow.0.weight"}


def test_faint_directions_are_learned_as_fast_as_strong_ones() -> None:
    """A linear map of inputs whose directions have strengths from 1 to 0.001: the worst direction after 200 steps,
    beside Adam, each with the best of its learning rates.
    """
    basis = torch.linalg.qr(draw(24, 24)).Q
    strength = torch.logspace(0, -3, 24, dtype=torch.float64)
    target = draw(16, 24, seed=1) / 24**0.5

    def worst(muon: bool, lr: float) -> float:
        weight = torch.nn.Parameter(torch.zeros(16, 24, dtype=torch.float64))
        optimizer: torch.optim.Optimizer = (
            Muon([{"params": [weight], "matrices": True}], lr) if muon else torch.optim.Adam([weight], lr)
        )
        for k in range(200):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - k / 200)
            optimizer.zero_grad()
            ((weight - target) @ basis * strength).square().sum().backward()
            optimizer.step()
        return float(((weight - target) @ basis).square().sum(0).max().detach())

    rates = (0.003, 0.01, 0.03, 0.1)
    assert min(worst(True, lr) for lr in rates) < 0.5 * min(worst(False, lr) for lr in rates)


def test_settings_and_their_errors(tmp_path: Path) -> None:
    assert (TrainConfig().learning_rate, TrainConfig(optimizer="adam").learning_rate) == (2e-3, 1e-3)
    assert TrainConfig(lr=5e-4).learning_rate == 5e-4
    assert learning_rate(0, TrainConfig(warmup=0, lr=1.0)) == 1.0
    with pytest.raises(InvalidArgument, match="optimizer"):
        TrainConfig(optimizer="sgd")  # type: ignore[arg-type]
    config = TrainConfig(net=NET)
    for name, kind in (("muon", Muon), ("adam", torch.optim.AdamW)):
        net = UNet(NET)
        made = make_optimizer(net, [], replace(config, optimizer=name))  # type: ignore[arg-type]
        assert type(made) is kind
        assert sum(len(group["params"]) for group in made.param_groups) == len(list(net.parameters()))


def test_each_group_has_its_share_of_the_learning_rate() -> None:
    """What Muon leaves to Adam has half of it, and the estimates of the losses 20 times as much as that."""
    net, knots = UNet(NET), torch.nn.Parameter(torch.zeros(3))
    matrices, others = ({id(p) for p in group} for group in parameter_groups(net))
    config = TrainConfig(net=NET)
    for optimizer, expected in (
        ("muon", [(others, 0.5), ({id(knots)}, 10.0), (matrices, 1.0)]),
        ("adam", [(others | matrices, 1.0), ({id(knots)}, 20.0)]),
    ):
        groups = make_optimizer(net, [knots], replace(config, optimizer=optimizer)).param_groups  # type: ignore[arg-type]
        assert [({id(p) for p in group["params"]}, group["scale"]) for group in groups] == expected
        assert [group.get("matrices", False) for group in groups] == [False, False, True][: len(groups)]


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_what_decays(optimizer: str) -> None:
    """Where no gradient comes, the matrices of Muon shrink, and all of the network by Adam; never the level weights."""
    net, knots = UNet(NET), torch.nn.Parameter(torch.ones(3))
    parameters = [*net.parameters(), knots]
    before = [p.detach().clone() for p in parameters]
    made = make_optimizer(net, [knots], TrainConfig(net=NET, optimizer=optimizer, lr=0.1, weight_decay=0.5))  # type: ignore[arg-type]
    for p in parameters:
        p.grad = torch.zeros_like(p)
    made.step()
    matrices = {id(p) for p in parameter_groups(net)[0]}
    for p, old in zip(parameters, before, strict=True):
        decays = p is not knots and (optimizer == "adam" or id(p) in matrices)
        torch.testing.assert_close(p.detach(), old * (0.95 if decays else 1))


def test_weight_decay_may_change_on_resuming(pictures: Path, tmp_path: Path) -> None:
    """It is the configuration's, not the checkpoint's: a matrix that decays by more ends smaller."""
    config = TrainConfig(steps=1, batch=2, crop=32, save_every=1, validate_every=10, validation_crops=2, net=NET)
    config = replace(config, warmup=0, ema=0.0)
    sizes = {}
    for decay in (0.0, 100.0):
        train(pictures, tmp_path / str(decay), config)
        prior = train(pictures, tmp_path / str(decay), replace(config, steps=2, weight_decay=decay, cooldown=0))
        sizes[decay] = sum(float(p.detach().norm()) for p in parameter_groups(prior.net)[0])  # type: ignore[arg-type]
    assert sizes[100.0] < 0.9 * sizes[0.0]


def test_a_run_keeps_its_optimizer(pictures: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        steps=1, batch=2, crop=32, save_every=1, validate_every=10, validation_crops=2, net=NET, optimizer="adam"
    )
    train(pictures, tmp_path, config)
    with pytest.raises(InvalidFile, match="optimizer is adam, and not muon"):
        train(pictures, tmp_path, replace(config, steps=2, optimizer="muon"))
    assert train(pictures, tmp_path, replace(config, steps=2)).card["step"] == 2
