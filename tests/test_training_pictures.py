"""Training on whole pictures of one size: augmentation that is told to the network, flips, attention, flows, and runs
that resume exactly with all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor, nn

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.paths import FlowMatching
from kintsugi.priors.network import load_model
from kintsugi.priors.unet import UNetConfig
from kintsugi.training import loop, material
from kintsugi.training.augment import Augmentation, draw_labels
from kintsugi.training.config import TrainConfig
from kintsugi.training.data import Crops, find_images, spectrum_crops, to_signal, validation_crops
from kintsugi.training.loop import train
from kintsugi.training.loss import DenoisingLoss, draw_levels
from kintsugi.training.optimizer import learning_rate
from kintsugi.training.pictures import as_square, turned, whole_picture
from kintsugi.training.state import Log
from scripted import Scripted

NET = UNetConfig(widths=(4, 6), blocks=(1, 1), embedding=8, size=16, attention=(1,), dropout=0.2)
TINY = TrainConfig(
    steps=6, batch=2, size=16, warmup=2, save_every=3, validate_every=3, validation_crops=2,
    validation_levels=(0.1, 1.0), orientations="mirrored", augment=0.5, grey_share=0.0, net=NET,
)  # fmt: skip
WIDE = replace(TINY, shift=0.25, zoom=math.log(2), angle=90.0, colour=0.5)


@pytest.fixture(autouse=True)
def _stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(material, "spectrum_crops", partial(spectrum_crops, count=2))
    AcceleratorState._reset_state(reset_partial_state=True)


def random_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(pixels: np.ndarray, *label: float) -> np.ndarray:
    """``pixels`` warped with the first entries of a label, the others 0, in the units of WIDE."""
    augmentation = Augmentation((*label, *(0.0,) * (7 - len(label))), WIDE)
    return np.asarray(augmentation.warp(Image.fromarray(pixels)))


# Augmentation


def test_a_shift_moves_the_picture_and_mirrors_its_border() -> None:
    pixels = random_pixels(32, 32)
    right = changed(pixels, 0.5, 0)  # half of the largest shift, a quarter of 32: 4 pixels
    assert np.array_equal(right[:, 4:], pixels[:, :-4])
    assert np.array_equal(right[:, :4], pixels[:, 3::-1])
    up = changed(pixels, 0, -1)
    assert np.array_equal(up[:-8], pixels[8:])
    assert np.array_equal(up[-8:], pixels[:-9:-1])


@pytest.mark.parametrize(("sign", "quarters"), [(1, 1), (-1, 3)])
def test_a_turn_of_90_degrees(sign: int, quarters: int) -> None:
    pixels = random_pixels(24, 24)
    difference = changed(pixels, 0, 0, 0, sign).astype(int) - np.rot90(pixels, quarters)
    assert np.abs(difference).max() <= 1  # bytes are cut off, and 90 degrees are not quite representable


def test_a_zoom_by_two_shows_the_middle_half() -> None:
    """A picture of 2 x 2 blocks of one colour: reduced again by two, the middle of the enlarged one is itself."""
    blocks = random_pixels(8, 8).repeat(8, 0).repeat(8, 1)  # flat over 8 x 8 pixels
    enlarged = changed(blocks, 0, 0, 1)
    centres = enlarged[8::16, 8::16]  # blocks are 16 x 16 now; the first middle lies in the third block of before
    assert np.array_equal(centres, blocks[16:48:8, 16:48:8])
    halved = changed(blocks, 0, 0, -1)
    assert np.array_equal(halved[18:48:4, 18:48:4], blocks[4::8, 4::8])


def test_shift_zoom_and_turn_compose_about_the_middle_and_then_shift() -> None:
    """A bright spot at q lands at c + shift + zoom R (q - c)."""
    yy, xx = np.mgrid[:64, :64]
    qx, qy = 38.0, 27.0
    spot = 255 * np.exp(-((xx - qx) ** 2 + (yy - qy) ** 2) / 8)
    out = changed(np.repeat(spot[..., None], 3, axis=2).astype(np.uint8), 0.5, -0.25, 0.4, 1 / 3)[..., 0].astype(float)
    found = np.array([(out * xx).sum(), (out * yy).sum()]) / out.sum()
    factor, angle, centre = 2**0.4, math.radians(30), 31.5
    dx, dy = qx - centre, qy - centre
    expected = (
        centre + 0.5 * 0.25 * 64 + factor * (math.cos(angle) * dx + math.sin(angle) * dy),
        centre - 0.25 * 0.25 * 64 + factor * (-math.sin(angle) * dx + math.cos(angle) * dy),
    )
    assert found == pytest.approx(expected, abs=0.1)


def test_colours_change_in_closed_form() -> None:
    x = torch.tensor([0.8, -0.4, 0.2]).view(3, 1, 1)

    def recoloured(*label: float) -> list[float]:
        return Augmentation((0.0,) * 4 + label, WIDE).recolour(x).flatten().tolist()

    assert recoloured(1, 0, 0) == pytest.approx([1.3, 0.1, 0.7])
    assert recoloured(0, -1, 0) == pytest.approx([v * math.exp(-0.5) for v in (0.8, -0.4, 0.2)])
    assert recoloured(0, 0, 1) == pytest.approx([0.2 + math.exp(0.5) * v for v in (0.6, -0.6, 0.0)])
    contrast, grey = math.exp(0.25), 0.2
    assert recoloured(-0.4, 0.5, 1) == pytest.approx(
        [contrast * (grey + math.exp(0.5) * v) - 0.2 for v in (0.6, -0.6, 0.0)]
    )
    assert torch.equal(Augmentation((0.0,) * 7, WIDE).recolour(x), x)


def test_augmentations_are_a_function_of_seed_and_index() -> None:
    first = [Augmentation.draw(TINY, i).label for i in range(50)]
    assert first == [Augmentation.draw(TINY, i).label for i in range(50)]
    assert len(set(first)) > 45
    assert first != [Augmentation.draw(replace(TINY, seed=1), i).label for i in range(50)]
    labels = draw_labels(TINY, range(3, 5))
    assert labels is not None
    torch.testing.assert_close(labels, torch.tensor(first[3:5]), rtol=0, atol=1e-7)
    assert draw_labels(replace(TINY, augment=0.0), range(3)) is None


def test_each_change_is_made_to_its_share_and_uniformly() -> None:
    drawn = np.array([Augmentation.draw(replace(TINY, augment=0.3), i).label for i in range(3000)])
    assert np.array_equal(drawn[:, 0] == 0, drawn[:, 1] == 0)  # a shift has two components and one coin
    for column in drawn.T:
        count = int((column != 0).sum())
        assert abs(count - 900) < 4 * math.sqrt(3000 * 0.3 * 0.7)
        values = column[column != 0]
        assert np.abs(values).max() <= 1
        assert values.mean() == pytest.approx(0, abs=4 / math.sqrt(3 * count))
        assert values.var() == pytest.approx(1 / 3, rel=0.15)
    both = ((drawn[:, 2] != 0) & (drawn[:, 4] != 0)).sum()
    assert abs(both - 270) < 4 * math.sqrt(3000 * 0.09 * 0.91)  # independent of each other


# Pictures


def test_a_picture_is_its_middle_square_reduced(tmp_path: Path) -> None:
    pixels = random_pixels(20, 32)
    image = Image.fromarray(pixels)
    plain = replace(TINY, augment=0.0, orientations="one")
    square = as_square(image, 16, tmp_path)
    out = whole_picture(square, Augmentation.draw(plain, 0), Scripted(0.9, 0.9, 0.9, 0.9))  # type: ignore[arg-type]
    expected = Image.fromarray(pixels[:, 6:26]).resize((16, 16), Image.Resampling.LANCZOS)
    assert torch.equal(out, to_signal(np.asarray(expected)))
    large = as_square(Image.fromarray(random_pixels(100, 90)), 16, tmp_path)
    assert isinstance(large, Image.Image)
    assert large.size == (32, 32)  # no more is kept than an augmentation needs


def test_orientations_that_are_allowed() -> None:
    pixels = random_pixels(6, 6)
    left_right, across, both = pixels[:, ::-1], pixels.transpose(1, 0, 2), pixels[::-1, ::-1]
    for kind, answers, expected in [
        ("one", (0.1, 0.1, 0.1), pixels),
        ("mirrored", (0.1, 0.1, 0.1), left_right),
        ("mirrored", (0.9, 0.1, 0.1), pixels),
        ("all", (0.9, 0.1, 0.9), across),
        ("all", (0.1, 0.9, 0.1), both),
    ]:
        assert np.array_equal(turned(pixels, Scripted(*answers), kind), expected)  # type: ignore[arg-type]


def test_defaults_of_crops_and_of_whole_pictures(pictures: Path) -> None:
    """A face upside down is no face, and a model that makes grey ones would have been told to."""
    crops = TrainConfig(net=replace(NET, size=None, attention=()))
    assert (crops.turns, crops.grey) == ("all", 0.05)
    whole = TrainConfig(size=16, net=NET)
    assert (whole.turns, whole.grey) == ("mirrored", 0.0)
    given = TrainConfig(size=16, net=NET, orientations="all", grey_share=1.0)
    assert (given.turns, given.grey) == ("all", 1.0)
    grey = Crops(find_images(pictures), given)[0]
    assert torch.equal(grey[0], grey[2])


def test_the_picture_that_comes_has_the_label_that_is_told(pictures: Path) -> None:
    """With coins that fall half the time some pictures are as they were, and exactly those have labels of zeros."""
    files = find_images(pictures)[:1]
    config = replace(TINY, orientations="one", augment=0.15)
    crops, plain = Crops(files, config), Crops(files, replace(config, augment=0.0))
    labels = draw_labels(config, range(24))
    assert labels is not None
    same = [torch.equal(crops[i], plain[i]) for i in range(24)]
    assert same == [not bool(label.any()) for label in labels]
    assert 3 < sum(same) < 21
    mirrored = Crops(files, replace(config, augment=0.0, orientations="mirrored"))
    seen = {torch.equal(mirrored[i], plain[0]): mirrored[i] for i in range(12)}
    assert torch.equal(seen[False], plain[0].flip(-1))


def test_every_picture_is_drawn_alike_and_the_small_ones_never(tmp_path: Path) -> None:
    for i, size in enumerate([(16, 16), (64, 64), (15, 400)]):
        Image.new("RGB", size, (100 * i, 0, 0)).save(tmp_path / f"{i}.png")
    crops = Crops(find_images(tmp_path), replace(TINY, augment=0.0, oversample=1.0))
    red = [round((float(crops[i][0, 0, 0]) + 1) * 127.5) for i in range(400)]
    assert set(red) == {0, 100}
    assert abs(red.count(100) - 200) < 40
    with pytest.raises(InvalidFile, match="no image is at least 128 pixels"):
        Crops(find_images(tmp_path), replace(TINY, size=128))


def test_held_out_pictures_are_whole_and_unchanged(pictures: Path) -> None:
    files = find_images(pictures)
    crops = validation_crops(files, replace(TINY, validation_crops=4, grey_share=1.0))
    assert crops.shape == (4, 3, 16, 16)
    for crop, path in zip(crops, files[::2], strict=True):
        with Image.open(path) as image:
            square = as_square(image.convert("RGB"), 16, path)
        assert isinstance(square, Image.Image)
        assert torch.equal(crop, to_signal(np.asarray(square.resize((16, 16), Image.Resampling.LANCZOS))))
    assert spectrum_crops(files, TINY, count=3).shape == (3, 3, 16, 16)
    with pytest.raises(InvalidFile, match="held out, and smaller than 128 pixels"):
        validation_crops(files, replace(TINY, size=128))


def test_arrays_must_have_the_size_and_are_not_augmented(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    crops = Crops(find_images(tmp_path), replace(TINY, augment=0.0))
    seen = [crops[i] for i in range(12)]
    assert {torch.equal(x, torch.from_numpy(values)) for x in seen} == {True, False}
    assert all(
        torch.equal(x, torch.from_numpy(values)) or torch.equal(x.flip(-1), torch.from_numpy(values)) for x in seen
    )
    assert torch.equal(validation_crops(find_images(tmp_path), TINY)[0], torch.from_numpy(values))
    with pytest.raises(InvalidArgument, match=r"augment: .*0 for arrays such as a\.npy"):
        train(tmp_path, tmp_path / "run", TINY)
    np.save(tmp_path / "b.npy", np.zeros((2, 20, 16), np.float32))
    with pytest.raises(InvalidFile, match=r"b\.npy: an array of 20 x 16; expected 16 x 16"):
        validation_crops(find_images(tmp_path)[1:], TINY)


# The loss of a flow, and the schedule


class Velocity(nn.Module):
    """The exact velocity of white Gaussian data of variance v: ``E[eps - x_0 | x_t] = (t - (1 - t) v) / V x_t`` with
    ``V = (1 - t)^2 v + t^2``, by the regression of Gaussians."""

    def __init__(self, variance: float, error: float = 0.0) -> None:
        super().__init__()
        self.variance, self.error = variance, error

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        eta = (4 * c_noise).exp().view(-1, 1, 1, 1)
        t = eta / (1 + eta)
        total = (1 - t) ** 2 * self.variance + t**2
        return (t - (1 - t) * self.variance) / total * x + self.error


def test_flow_loss_of_a_gaussian() -> None:
    """``E |v - (eps - x_0)|^2 = v / V`` at the best, and the square of a constant error above it."""
    config, variance, n = replace(TINY, objective="flow", data_variance=0.3), 0.3, 60_000
    generator = torch.Generator().manual_seed(0)
    times = torch.tensor([0.05, 0.3, 0.5, 0.9])
    x0 = variance**0.5 * torch.randn(4, 1, n, 1, generator=generator)
    noise = torch.randn(4, 1, n, 1, generator=generator)
    losses = [
        DenoisingLoss(Velocity(variance, error), config)(x0, noise, times / (1 - times))[1]  # type: ignore[arg-type]
        for error in (0.0, 0.4)
    ]
    expected = variance / ((1 - times) ** 2 * variance + times**2)
    torch.testing.assert_close(losses[0], expected, rtol=4 * math.sqrt(2 / n), atol=0)
    torch.testing.assert_close(losses[1] - losses[0], torch.full((4,), 0.16), rtol=0, atol=0.03)


def test_the_flow_network_sees_its_own_path() -> None:
    asked = {}

    class Ask(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor) -> Tensor:
            asked.update(x=x, c_noise=c_noise, labels=labels)
            return torch.zeros_like(x)

    x0, noise, t = torch.full((1, 1, 1, 1), 0.6), torch.full((1, 1, 1, 1), -2.0), torch.tensor([0.25])
    loss = DenoisingLoss(Ask(), replace(TINY, objective="flow"))  # type: ignore[arg-type]
    _, per_sample = loss(x0, noise, t / (1 - t), torch.ones(1, 7))
    assert asked["x"].item() == pytest.approx(0.75 * 0.6 - 0.25 * 2.0)
    assert asked["c_noise"].item() == pytest.approx(math.log(1 / 3) / 4)
    assert asked["labels"].tolist() == [[1.0] * 7]
    assert per_sample.item() == pytest.approx((-2.0 - 0.6) ** 2, rel=1e-5)


def test_cooldown_closed_form() -> None:
    config = replace(TINY, steps=1000, warmup=10, lr=2e-3, cooldown=200)
    assert learning_rate(4, config) == pytest.approx(1e-3)
    assert [learning_rate(step, config) for step in (10, 500, 800)] == pytest.approx([2e-3] * 3)
    assert learning_rate(900, config) == pytest.approx(2e-3 * (0.01 + 0.99 / 2))
    assert learning_rate(1000, config) == pytest.approx(2e-5)
    assert learning_rate(999, replace(config, cooldown=0)) == pytest.approx(2e-3)
    assert learning_rate(500, replace(config, cooldown=5000)) == learning_rate(500, replace(config, cooldown=None))


# Runs


def states(output: Path) -> dict[str, Any]:
    parts = torch.load(output / "checkpoint.pt", weights_only=True)
    assert parts.pop("method") == "muon"  # which torch does not compare
    return parts


class Killed(BaseException):
    """As a signal would."""


@pytest.mark.parametrize("objective", ["denoising", "flow"])
def test_a_killed_run_with_everything_goes_on_exactly(
    objective: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Augmentation, dropout, attention: all that is random is drawn again for each step."""
    config = replace(TINY, objective=objective)
    straight = train(pictures, tmp_path / "a", config)

    def draw(batch: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
        if generator.initial_seed() == 4 * 4096:
            raise Killed
        return draw_levels(batch, config, generator)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "draw_levels", draw)
        train(pictures, tmp_path / "b", config)
    torch.rand(17)  # whatever the process drew in between
    resumed = train(pictures, tmp_path / "b", config)
    for (name, expected), value in zip(straight.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    torch.testing.assert_close(states(tmp_path / "b"), states(tmp_path / "a"), rtol=0, atol=0)
    for name in ("model.safetensors", "best.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = load_model(tmp_path / "a" / "model.safetensors")
    assert loaded.prediction == ("velocity" if objective == "flow" else "edm")
    assert isinstance(loaded.path, FlowMatching) == (objective == "flow")
    assert loaded.shape == (3, 16, 16)
    assert loaded.net.config == replace(NET, labels=7)


def test_dropout_and_augmentation_change_the_run(pictures: Path, tmp_path: Path) -> None:
    weights = [
        train(pictures, tmp_path / str(i), config).net.stem.weight
        for i, config in enumerate([TINY, replace(TINY, net=replace(NET, dropout=0.0)), replace(TINY, shift=0.2)])
    ]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_without_dropout_can_be_begun_from(pictures: Path, tmp_path: Path) -> None:
    train(pictures, tmp_path / "a", replace(TINY, steps=1))
    model = tmp_path / "a" / "model.safetensors"
    still = replace(TINY, steps=1, lr=1e-12, net=replace(NET, dropout=0.0), objective="flow")
    begun = train(pictures, tmp_path / "b", still, start_from=model)
    torch.testing.assert_close(begun.net.stem.weight, load_model(model).net.stem.weight, rtol=0, atol=1e-9)
    assert begun.prediction == "velocity"


def test_the_best_model_is_kept(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the mean over levels, and the earlier scores are known after a resumption."""
    scores = iter([{"0.1": 20.0, "1": 10.0}, {"0.1": 19.0, "1": 12.0}, {"0.1": 22.0, "1": 8.0}])
    monkeypatch.setattr(loop, "validate", lambda *args: next(scores))
    short = replace(TINY, validate_every=2, save_every=2)
    train(pictures, tmp_path, short)
    best = load_model(tmp_path / "best.safetensors")
    assert best.card["step"] == 4
    assert best.spectrum is not None
    assert load_model(tmp_path / "model.safetensors").card["step"] == 6
    log = Log(tmp_path / "log.jsonl", 6, None, True)
    assert [log.is_best(step) for step in (2, 4, 6)] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("size", {"size": 18}), ("size", {"size": 0}), ("attention", {"size": None, "augment": 0.0}),
        ("augment", {"augment": 1.5}), ("augment", {"size": None, "net": replace(NET, attention=())}),
        ("orientations", {"orientations": "some"}), ("objective", {"objective": "score"}),
        ("cooldown", {"cooldown": -1}), ("shift", {"shift": 0.6}), ("zoom", {"zoom": -0.1}), ("angle", {"angle": -1.0}),
        ("colour", {"colour": -1.0}),
        ("validation_levels", {"validation_levels": ()}), ("validation_levels", {"validation_levels": (0.1, 0.0)}),
    ],
)  # fmt: skip
def test_bad_settings_are_named(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        replace(TINY, **values)
    assert caught.value.name == name
