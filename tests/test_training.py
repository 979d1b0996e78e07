"""Training: exact resumption, crops that are functions of (seed, index), the loss and its schedule."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections import Counter
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
from kintsugi.priors.base import Prior
from kintsugi.priors.network import NetworkPrior, load_model
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.training import loop, material
from kintsugi.training.config import TrainConfig
from kintsugi.training.data import (
    Crops,
    find_images,
    image_size,
    random_crop,
    spectrum_crops,
    split,
    to_signal,
    validation_crops,
)
from kintsugi.training.interrupt import Interrupt
from kintsugi.training.loop import move_average, train, validate
from kintsugi.training.loss import DenoisingLoss, LevelWeight, draw_levels
from kintsugi.training.optimizer import learning_rate
from kintsugi.training.spectrum import measure_spectrum
from scripted import Scripted

TINY = TrainConfig(
    steps=6,
    batch=2,
    crop=16,
    warmup=2,
    save_every=3,
    validate_every=3,
    validation_crops=2,
    validation_levels=(0.1, 1.0),
    net=UNetConfig(widths=(4, 6), blocks=(1, 1), embedding=8),
)


def set_stage(patch: pytest.MonkeyPatch) -> None:
    """On the CPU, also where there is a GPU: sums there are in no fixed order, and runs are compared bit by bit. And
    with a small measurement of the spectrum at the end of each run, which would take most of the time."""
    patch.setenv("ACCELERATE_USE_CPU", "true")
    patch.setattr(material, "spectrum_crops", partial(spectrum_crops, count=2, size=16))


@pytest.fixture(autouse=True)
def _stage(monkeypatch: pytest.MonkeyPatch) -> None:
    set_stage(monkeypatch)
    # accelerate keeps one state a process: what an earlier test chose must not decide what this one may choose.
    AcceleratorState._reset_state(reset_partial_state=True)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


# Resuming


class Killed(BaseException):
    """As a signal would: nothing in the library may catch it."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> tuple[NetworkPrior, Path]:
    """A run that nothing interrupted, and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        set_stage(patch)
        output = tmp_path_factory.mktemp("straight")
        return train(pictures, output, TINY, card={"name": "tiny"}), output


def killed_in_step(step: int, pictures: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies in the middle of that step (counted from 0)."""

    def draw(batch: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
        if generator.initial_seed() == (config.seed * 1_000_003 + step) * 4096:
            raise Killed
        return draw_levels(batch, config, generator)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "draw_levels", draw)
        train(pictures, output, TINY, card={"name": "tiny"})


def assert_same_run(a: tuple[NetworkPrior, Path], b: tuple[NetworkPrior, Path]) -> None:
    for (name, expected), value in zip(a[0].state_dict().items(), b[0].state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    assert without_times(read_log(a[1])) == without_times(read_log(b[1]))
    states = [torch.load(output / "checkpoint.pt", weights_only=True) for _, output in (a, b)]
    assert states[0]["step"] == states[1]["step"]
    assert states[0].pop("method") == states[1].pop("method")
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
    assert (a[1] / "model.safetensors").read_bytes() == (b[1] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("step", "kept"), [(3, 3), (5, 3), (2, 0)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    step: int,
    kept: int,
    straight: tuple[NetworkPrior, Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed_in_step(step, pictures, tmp_path, monkeypatch)
    assert (tmp_path / "checkpoint.pt").exists() == (kept > 0)
    if kept:
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == kept
    resumed = train(pictures, tmp_path, TINY, card={"name": "tiny"})
    assert_same_run(straight, (resumed, tmp_path))


@pytest.mark.parametrize(("dies_at", "kept"), [("loss", 3), ("validation", 6)])
def test_a_run_killed_at_its_end_logs_nothing_twice_and_nothing_never(
    dies_at: str, kept: int, straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    """Killed after a log line of step 6: that of the loss comes before its checkpoint, that of the validation after."""

    def die(record: dict[str, Any]) -> None:
        if "expected" in record:  # before the first step
            assert (record["step"], record["left"]) == (0, 6)
            assert record["expected"] > 0
        if record["step"] == 6 and dies_at in record:
            raise Killed

    with pytest.raises(Killed):
        train(pictures, tmp_path, TINY, report=die, card={"name": "tiny"})
    assert read_log(tmp_path)[-1]["step"] == 6
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == kept
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # the power failed while a line was written
    resumed = train(pictures, tmp_path, TINY, card={"name": "tiny"})
    assert_same_run(straight, (resumed, tmp_path))


def test_a_run_killed_before_its_last_validation_still_logs_it(
    straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    for path in straight[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    resumed = train(pictures, tmp_path, TINY, card={"name": "tiny"})
    assert_same_run(straight, (resumed, tmp_path))


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_ctrl_c_finishes_the_step_and_loses_nothing(
    step: int,
    straight: tuple[NetworkPrior, Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also not the losses since the last line of the log, whose mean is in the next."""
    handler = signal.getsignal(signal.SIGINT)

    def draw(batch: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
        if generator.initial_seed() == step * 4096:
            signal.raise_signal(signal.SIGINT)
        return draw_levels(batch, config, generator)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "draw_levels", draw)
        train(pictures, tmp_path, TINY, card={"name": "tiny"})
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == step + 1
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = train(pictures, tmp_path, TINY, card={"name": "tiny"})
    assert_same_run(straight, (resumed, tmp_path))


def test_a_second_ctrl_c_breaks_in() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_in_a_thread_leaves_ctrl_c_alone() -> None:
    seen = []

    def work() -> None:
        with Interrupt() as interrupt:
            seen.append(interrupt.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_finished_run_is_not_trained_further(
    straight: tuple[NetworkPrior, Path], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in straight[1].iterdir()}
    again = train(pictures, straight[1], TINY, card={"name": "tiny"})
    assert_same_run(straight, (again, straight[1]))
    assert {path.name: path.read_bytes() for path in straight[1].iterdir()} == before


def test_a_run_can_be_made_longer(straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path) -> None:
    for name in ("checkpoint.pt", "log.jsonl"):
        (tmp_path / name).write_bytes((straight[1] / name).read_bytes())
    longer = replace(TINY, steps=9)
    train(pictures, tmp_path, longer)
    last = [r for r in read_log(tmp_path) if "loss" in r][-1]
    assert [r["step"] for r in read_log(tmp_path)] == [3, 3, 6, 6, 9, 9]
    assert last["lr"] == learning_rate(8, longer)  # of the ninth step


def test_a_run_can_be_ended_where_it_is(straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path) -> None:
    """With fewer steps than it has taken: nothing is trained, and the model is finished, spectrum and all."""
    for name in ("checkpoint.pt", "log.jsonl"):
        (tmp_path / name).write_bytes((straight[1] / name).read_bytes())
    ended = train(pictures, tmp_path, replace(TINY, steps=4))
    assert torch.equal(ended.net.stem.weight, straight[0].net.stem.weight)
    assert ended.card["step"] == 6
    assert load_model(tmp_path / "model.safetensors").spectrum is not None


def test_what_a_run_leaves(straight: tuple[NetworkPrior, Path]) -> None:
    prior, output = straight
    assert {p.name for p in output.iterdir()} == {"best.safetensors", "checkpoint.pt", "log.jsonl", "model.safetensors"}
    records = read_log(output)
    assert [(r["step"], "loss" in r) for r in records] == [(3, True), (3, False), (6, True), (6, False)]
    assert records[2]["lr"] == learning_rate(5, TINY)  # of the sixth step
    loaded = load_model(output / "model.safetensors")
    for name, value in prior.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    assert loaded.spectrum is not None
    assert prior.spectrum is not None
    assert torch.equal(loaded.spectrum.values, prior.spectrum.values)
    assert loaded.card["name"] == "tiny"
    assert loaded.card["step"] == 6
    assert loaded.card["validation"] == records[-1]["validation"]
    assert loaded.card["training"]["crop"] == 16
    assert TINY.net == UNetConfig.from_dict(loaded.card["training"]["net"])


def test_the_seed_matters(straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path) -> None:
    other = train(pictures, tmp_path, replace(TINY, seed=1))
    assert not torch.equal(other.net.stem.weight, straight[0].net.stem.weight)


def test_training_lowers_the_loss(pictures: Path, tmp_path: Path) -> None:
    """A few seconds on smooth pictures; what the network is given for free is the Wiener filter of white data."""
    config = replace(
        TINY,
        steps=240,
        batch=8,
        lr=1e-2,
        ema=0.9,
        warmup=5,
        save_every=40,
        validate_every=240,
        validation_crops=4,
        net=UNetConfig(widths=(8, 16), blocks=(1, 1), embedding=16),
    )
    prior = train(pictures, tmp_path, config)
    losses = [r["loss"] for r in read_log(tmp_path) if "loss" in r]
    assert losses[-1] < 0.85 * losses[0]
    _, held_out = split(find_images(pictures), config.validation_share)
    untrained = validate(NetworkPrior(UNet(config.net)), validation_crops(held_out, config), config)
    trained = validate(prior, validation_crops(held_out, config), config)
    assert trained["1"] > untrained["1"] + 3  # dB; measured: 5.3
    assert trained["0.1"] > untrained["0.1"] + 0.2  # measured: 0.55
    assert read_log(tmp_path)[-1]["validation"] == trained


BROKEN = {
    "empty": b"",
    "noise": bytes(range(256)) * 20,
    "a list": None,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_corrupt_checkpoint_is_named(content: bytes | None, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    if content is None:
        torch.save([1, 2], path)
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidFile, match=r"checkpoint\.pt: cannot be resumed with these settings"):
        train(pictures, tmp_path, TINY)


def test_a_truncated_checkpoint_or_one_without_a_step(
    straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    source, path = straight[1] / "checkpoint.pt", tmp_path / "checkpoint.pt"
    path.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(InvalidFile):
        train(pictures, tmp_path, TINY)
    torch.save({k: v for k, v in torch.load(source, weights_only=True).items() if k != "step"}, path)
    with pytest.raises(InvalidFile):
        train(pictures, tmp_path, TINY)


@pytest.mark.parametrize("said", [True, False])
def test_a_checkpoint_of_a_network_with_other_norms_is_refused(
    said: bool, straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    """Its weights would fit. The first checkpoints did not say, and their networks had the norm."""
    parts = torch.load(straight[1] / "checkpoint.pt", weights_only=True)
    assert parts["net"]["norm"]
    if not said:
        del parts["net"]
    torch.save(parts, tmp_path / "checkpoint.pt")
    with pytest.raises(InvalidFile, match="the run's network has norm True, and not False"):
        train(pictures, tmp_path, replace(TINY, net=replace(TINY.net, norm=False)))
    assert train(pictures, tmp_path, TINY).card["step"] == TINY.steps


def test_a_checkpoint_of_another_network_is_refused_in_one_line(
    straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((straight[1] / "checkpoint.pt").read_bytes())
    other = replace(TINY, net=UNetConfig(widths=(4, 8), blocks=(1, 1), embedding=8))
    with pytest.raises(InvalidFile) as caught:
        train(pictures, tmp_path, other)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_stops_the_run(pictures: Path, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(FloatingPointError, match="at step"):
        train(pictures, tmp_path, replace(TINY, lr=1e30, warmup=0, clip=1e30))
    assert signal.getsignal(signal.SIGINT) is handler


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0), ("batch", 0), ("crop", 0), ("save_every", 0), ("validate_every", 0), ("validation_crops", 0),
        ("crop", 18), ("lr", 0.0), ("lr", math.nan), ("clip", -1.0), ("data_variance", 0.0), ("ema", 1.5),
        ("grey_share", -0.1), ("focus_share", 2.0), ("min_scale", 0.0), ("min_scale", 1.2), ("validation_share", 0.0),
        ("validation_share", 1.0), ("eta_range", (0.0, 1.0)), ("eta_range", (2.0, 1.0)), ("focus", (1.0, 1.0)),
        ("seed", -1), ("warmup", -1), ("oversample", -0.5),
    ],
)  # fmt: skip
def test_bad_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        replace(TINY, **{name: value})
    assert caught.value.name == name


def test_a_precision_that_the_machine_lacks(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: Any) -> None:
        raise ValueError("fp16 mixed precision requires a GPU (not 'cpu').")

    monkeypatch.setattr("accelerate.Accelerator", refuse)
    with pytest.raises(InvalidArgument, match="mixed_precision"):
        train(pictures, tmp_path, replace(TINY, mixed_precision="fp16"))


def test_learning_rate_closed_form() -> None:
    config = replace(TINY, steps=1000, warmup=10, lr=2e-3)
    assert learning_rate(0, config) == pytest.approx(2e-4, rel=1e-9)  # a tenth, the first step of ten
    assert learning_rate(4, config) == pytest.approx(1e-3, rel=1e-3)
    assert learning_rate(500, config) == pytest.approx(2e-3 * (0.01 + 0.99 / 2), rel=1e-9)
    assert learning_rate(250, config) == pytest.approx(2e-3 * (0.01 + 0.99 * (2 + math.sqrt(2)) / 4), rel=1e-9)
    assert learning_rate(1000, config) == pytest.approx(2e-5, rel=1e-9)  # a hundredth at the end
    assert learning_rate(2000, config) == pytest.approx(2e-5, rel=1e-9)
    assert learning_rate(0, replace(config, warmup=0)) == 2e-3


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_looks_back_no_further_than_a_share_of_the_run(decay: float) -> None:
    """Against the sum of all weights with their shares; of a constant and of a ramp."""
    net = nn.Linear(1, 1, bias=False)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=partial(move_average, decay))
    shares: list[float] = []
    for step in range(60):
        net.weight.data.fill_(float(step))
        average.update_parameters(net)
        d = min(decay, (1 + step) / (10 + step)) if step else 0.0
        shares = [share * d for share in shares] + [1 - d]
    assert sum(shares) == pytest.approx(1)
    expected = sum(step * share for step, share in enumerate(shares))
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.module.weight.item() > 50


def test_the_first_run_of_a_work_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    costs = iter([100.0, 3.0, 4.0])
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += next(costs)

    assert loop.seconds_of(work) == 3.5


# Images


def test_crops_are_a_function_of_seed_and_index(pictures: Path) -> None:
    files = find_images(pictures)
    forwards, backwards = Crops(files, TINY), Crops(files, TINY, cache_bytes=0)
    first = [forwards[i] for i in range(12)]
    last = [backwards[i] for i in reversed(range(12))][::-1]  # another order, and nothing cached
    assert all(torch.equal(a, b) for a, b in zip(first, last, strict=True))
    assert len({tuple(c.flatten().tolist()) for c in first}) == 12
    assert not torch.equal(Crops(files, replace(TINY, seed=1))[0], first[0])
    assert all(c.shape == (3, 16, 16) and c.dtype == torch.float32 for c in first)
    assert len(forwards) == 12


def test_each_process_sees_crops_of_its_own(pictures: Path) -> None:
    """Two processes from step 2 on: together crops 8 to 15, once each, as one process with twice the batch."""
    config = replace(TINY, steps=4)

    class Indices(Crops):
        def __getitem__(self, index: int) -> Tensor:
            return torch.tensor(index)

    crops = Indices(find_images(pictures), config)
    seen = [[batch.tolist() for batch in loop._batches(crops, crops.config, 2, 2, rank)] for rank in (0, 1)]
    assert seen == [[[8, 9], [12, 13]], [[10, 11], [14, 15]]]


def test_crops_are_drawn_in_proportion_to_a_power_of_the_size(tmp_path: Path) -> None:
    sizes = [(16, 16), (32, 16), (64, 64), (15, 400)]  # the last is too narrow for a crop
    for i, size in enumerate(sizes):
        Image.new("RGB", size, (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    pixels = np.array([w * h for w, h in sizes[:3]], dtype=float)
    for oversample in (0.0, 0.5, 1.0):
        crops = Crops(find_images(tmp_path), replace(TINY, oversample=oversample, grey_share=0.0))
        draws = 1500
        red = Counter(round((float(crops[i][0, 0, 0]) + 1) * 127.5) // 40 for i in range(draws))
        expected = pixels**oversample / (pixels**oversample).sum()
        assert set(red) <= {0, 1, 2}
        for i, share in enumerate(expected):
            deviation = math.sqrt(draws * share * (1 - share))
            assert abs(red[i] - draws * share) < 4 * deviation, (oversample, i)


def test_the_ends_of_the_unit_interval_choose_images_that_can_be_cropped(tmp_path: Path) -> None:
    for i, size in enumerate([(8, 8), (20, 20), (8, 8)]):
        Image.new("RGB", size, (100 * i, 0, 0)).save(tmp_path / f"{i}.png")
    crops = Crops(find_images(tmp_path), TINY)
    for u in (0.0, 0.5, np.nextafter(1.0, 0.0)):
        assert int(np.searchsorted(crops.cumulative, u, side="right")) == 1


def test_a_crop_is_cut_as_it_is_or_flipped_or_transposed() -> None:
    pixels = np.arange(20 * 18 * 3, dtype=np.uint8).reshape(20, 18, 3)
    image, cut = Image.fromarray(pixels), pixels[4:20, 2:18]
    left_right, across, top_bottom = cut[:, ::-1], cut.transpose(1, 0, 2), cut[::-1]
    for answers, expected in [
        ((0.9, 0.9, 0.9), cut),
        ((0.1, 0.9, 0.9), left_right),
        ((0.9, 0.1, 0.9), across),
        ((0.9, 0.9, 0.1), top_bottom),
    ]:
        out = random_crop(image, TINY, Scripted(0.1, 0.9, *answers))  # type: ignore[arg-type]
        assert torch.equal(out, to_signal(expected))


def test_a_reduced_crop_is_an_antialiased_resize() -> None:
    """At the smallest scale 0.5 of a 32 x 32 image, a crop of 16 is the whole image at half size."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    config = replace(TINY, min_scale=0.3)
    out = random_crop(image, config, Scripted(0.9, 0.9, 0.9, 0.9, 0.9))  # type: ignore[arg-type]
    expected = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS))
    assert torch.equal(out, to_signal(expected))


def test_a_grey_crop_has_equal_channels() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    out = random_crop(image, replace(TINY, grey_share=1.0), np.random.default_rng(0))
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])
    assert float(out.std()) > 0.1


def test_pixels_become_minus_one_to_one() -> None:
    pixels = np.array([[[0, 255, 51]]], dtype=np.uint8)
    torch.testing.assert_close(to_signal(pixels).flatten(), torch.tensor([-1.0, 1.0, -0.6]))
    assert to_signal(np.zeros((4, 7, 3), np.uint8)).shape == (3, 4, 7)


def test_split_is_disjoint_complete_and_spread_over_sizes(pictures: Path) -> None:
    files = find_images(pictures)
    assert len(files) == 8
    kept, held_out = split(files, 0.25)
    assert set(kept) | set(held_out) == set(files)
    assert not set(kept) & set(held_out)
    by_size = sorted(files, key=lambda p: math.prod(image_size(p)))
    assert held_out == [by_size[2], by_size[6]]
    assert split(list(reversed(files)), 0.25) == (kept, held_out)


@pytest.mark.parametrize("count", range(2, 9))
def test_few_images_still_leave_one_to_validate_on(pictures: Path, count: int) -> None:
    kept, held_out = split(find_images(pictures)[:count], 0.08)
    assert len(held_out) == 1
    assert len(kept) == count - 1
    assert held_out[0] not in kept


def test_a_single_image_serves_as_both(pictures: Path) -> None:
    one = find_images(pictures)[:1]
    assert split(one, 0.08) == (one, one)


def test_images_are_found_in_subfolders_and_hidden_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("b/c/x.JPG", "a.png", "._a.png", "notes.txt", "z.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [str(p.relative_to(tmp_path)) for p in find_images(tmp_path)] == ["a.png", "b/c/x.JPG", "z.webp"]


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="no images in it"):
        find_images(tmp_path)
    with pytest.raises(InvalidFile, match="no such folder"):
        find_images(tmp_path / "absent")


def test_images_that_are_all_too_small(tmp_path: Path) -> None:
    Image.new("RGB", (15, 40)).save(tmp_path / "a.png")
    with pytest.raises(InvalidFile, match="no image is at least 16 pixels"):
        Crops(find_images(tmp_path), TINY)


def test_broken_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InvalidFile, match=r"a\.png: (not a picture|corrupt)"):
        split(find_images(tmp_path), 0.1)
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    noisy.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])  # its header is whole
    files = find_images(tmp_path)
    with pytest.raises(InvalidFile, match=r"a\.png: (not a picture|corrupt)"):
        Crops(files, TINY)[0]
    with pytest.raises(InvalidFile, match=r"a\.png: (not a picture|corrupt)"):
        validation_crops(files, TINY)


@pytest.mark.parametrize(("kind", "name"), [(np.uint16, "deep.png"), (np.float32, "deep.tif"), (np.int32, "deep.tif")])
def test_deep_images_are_refused_instead_of_clipped_to_white(tmp_path: Path, kind: type, name: str) -> None:
    Image.fromarray(np.full((32, 32), 1000, dtype=kind)).save(tmp_path / name)
    with pytest.raises(InvalidFile, match=r"deep\..*more than 8 bits"):
        Crops(find_images(tmp_path), TINY)[0]


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 102), ("P", 3), ("RGBA", (102, 102, 102, 7)), ("CMYK", (0, 0, 0, 153))]
)
def test_images_of_other_modes_are_read_in_colour(tmp_path: Path, mode: str, colour: Any) -> None:
    image = Image.new(mode, (16, 16), colour)
    if mode == "P":
        image.putpalette([0, 0, 0] * 3 + [102, 102, 102])
    image.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    crop = Crops(find_images(tmp_path), TINY)[0]
    torch.testing.assert_close(crop, torch.full((3, 16, 16), 102 / 127.5 - 1), rtol=0, atol=1e-6)


def test_validation_crops_are_fixed_and_prefer_large_images(tmp_path: Path) -> None:
    for i, size in enumerate([(40, 40), (170, 180), (200, 190)]):
        Image.new("RGB", size, (50 * i, 0, 0)).save(tmp_path / f"{i}.png")
    files = find_images(tmp_path)
    crops = validation_crops(files, replace(TINY, validation_crops=3))
    assert crops.shape == (3, 3, 160, 160)
    red = ((crops[:, 0, 0, 0] + 1) * 127.5).round().tolist()
    assert red == [100, 100, 50]  # two of the largest, one of the next, none of the small one
    assert torch.equal(crops, validation_crops(list(reversed(files)), replace(TINY, validation_crops=3)))


@pytest.mark.parametrize(("sizes", "expected"), [([(41, 50), (60, 38)], 36), ([(3, 3)], 3)])
def test_validation_crops_of_small_images(tmp_path: Path, sizes: list[tuple[int, int]], expected: int) -> None:
    for i, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    crops = validation_crops(find_images(tmp_path), TINY)
    assert crops.shape == (2, 3, expected, expected)


def test_crops_for_the_spectrum(tmp_path: Path) -> None:
    for i, size in enumerate([(60, 41), (30, 200)]):
        Image.new("RGB", size, (100 * i, 0, 0)).save(tmp_path / f"{i}.png")
    files = find_images(tmp_path)
    crops = spectrum_crops(files, TINY, count=5)
    assert crops.shape == (5, 3, 40, 40)  # as large as the largest image allows, in whole multiples of 4
    assert bool((crops[:, 0] == -1).all())  # none of the narrow image
    assert spectrum_crops(files, TINY, count=2, size=16).shape == (2, 3, 16, 16)


def test_crops_for_the_spectrum_are_neither_enlarged_nor_drawn(pictures: Path) -> None:
    """As training draws them else; a network errs less at high frequencies of what was enlarged."""
    files = find_images(pictures)
    config = replace(TINY, max_scale=4.0, synthetic=0.5)
    assert torch.equal(spectrum_crops(files, config, count=20), spectrum_crops(files, TINY, count=20))


def test_images_too_small_for_the_spectrum_are_found_before_the_training(tmp_path: Path) -> None:
    for i, side in enumerate([3, 40, 3, 3]):
        Image.new("RGB", (side, side)).save(tmp_path / f"{i}.png")
    _, held_out = split(find_images(tmp_path), 0.25)
    assert image_size(held_out[0]) == (3, 3)
    with pytest.raises(InvalidFile, match="held out, and smaller than 4 pixels"):
        train(tmp_path, tmp_path / "out", replace(TINY, validation_share=0.25))
    assert list((tmp_path / "out").iterdir()) == []


# The loss


def test_level_weight_interpolates_in_log_eta() -> None:
    weight = LevelWeight((0.01, 100.0), knots=5)  # a knot at each power of ten
    weight.knots.data = torch.tensor([3.0, -1.0, 0.5, 2.0, 7.0])
    eta = torch.tensor([0.01, 0.1, 1.0, 100.0, 10**0.5, 10**-1.75, 1e-4, 1e4])
    expected = torch.tensor([3.0, -1.0, 0.5, 7.0, 1.25, 2.0, 3.0, 7.0])
    torch.testing.assert_close(weight(eta), expected, rtol=1e-5, atol=1e-5)


class Answer(nn.Module):
    """A network that answers with ``answer``, and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        self.asked = (x, c_noise)
        return self.answer


X0 = torch.linspace(-1, 1, 3 * 3 * 4 * 4).view(3, 3, 4, 4)
NOISE = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
ETA = torch.tensor([0.05, 0.5, 4.0])


def perfect_answer(variance: float = 0.25) -> Tensor:
    """The F for which ``c_skip z + c_out F`` is ``x_0``."""
    eta = ETA.view(-1, 1, 1, 1)
    z = X0 + eta * NOISE
    return (X0 - variance / (variance + eta**2) * z) / (eta * math.sqrt(variance) / (variance + eta**2).sqrt())


def test_loss_of_the_perfect_network_is_zero() -> None:
    net = Answer(perfect_answer())
    value, per_sample = DenoisingLoss(net, TINY)(X0, NOISE, ETA)  # type: ignore[arg-type]
    assert float(per_sample.max()) < 1e-10
    assert value.item() == pytest.approx(0, abs=1e-9)
    x, c_noise = net.asked
    expected = (X0 + ETA.view(-1, 1, 1, 1) * NOISE) / (0.25 + ETA.view(-1, 1, 1, 1) ** 2).sqrt()
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(c_noise, ETA.log() / 4)


def test_loss_of_a_known_error_and_known_weights() -> None:
    net = Answer(perfect_answer() + torch.tensor([0.1, 0.2, 0.4]).view(3, 1, 1, 1))
    loss = DenoisingLoss(net, replace(TINY, eta_range=(0.01, 100.0)))  # type: ignore[arg-type]
    loss.weight.knots.data.fill_(math.log(0.05))
    value, per_sample = loss(X0, NOISE, ETA)
    torch.testing.assert_close(per_sample, torch.tensor([0.01, 0.04, 0.16]), rtol=1e-4, atol=1e-7)
    assert value.item() == pytest.approx(0.07 / 0.05 + math.log(0.05), rel=1e-4)
    assert not per_sample.requires_grad


def test_level_weight_is_best_at_the_log_of_the_loss() -> None:
    """``L / exp(u) + u`` has its minimum at ``u = log L``: every level then weighs the same."""
    net = Answer(perfect_answer() + 0.3)
    loss = DenoisingLoss(net, TINY)  # type: ignore[arg-type]
    loss.weight.knots.data.fill_(math.log(0.09))
    loss(X0, NOISE, ETA)[0].backward()
    grad = loss.weight.knots.grad
    assert grad is not None
    assert float(grad.abs().max()) < 1e-5


def test_balance_weighs_crops_by_their_own_error_where_it_can_be_seen() -> None:
    """At balance 1 and little noise the gradient is that of log L, with much noise that of L; u learns L itself."""
    errors = torch.tensor([0.1, 0.4])
    eta = torch.tensor([0.01, 0.01])

    def gradients(balance: float, eta: Tensor) -> tuple[Tensor, Tensor]:
        x_eta = eta.view(-1, 1, 1, 1)
        z = X0[:2] + x_eta * NOISE[:2]
        perfect = (X0[:2] - 0.25 / (0.25 + x_eta**2) * z) / (x_eta * 0.5 / (0.25 + x_eta**2).sqrt())
        answer = (perfect + errors.view(2, 1, 1, 1)).requires_grad_()
        loss = DenoisingLoss(Answer(answer), replace(TINY, balance=balance))  # type: ignore[arg-type]
        loss.weight.knots.data.fill_(math.log(0.05))
        loss(X0[:2], NOISE[:2], eta)[0].backward()
        assert answer.grad is not None
        assert loss.weight.knots.grad is not None
        return answer.grad.flatten(1).sum(1), loss.weight.knots.grad

    plain, knots = gradients(0.0, eta)
    torch.testing.assert_close(plain, errors / 0.05, rtol=2e-3, atol=0)  # half the batch of d/dF F^2 / 0.05
    half, _ = gradients(0.5, eta)
    torch.testing.assert_close(half, (0.05 / errors**2).sqrt() * errors / 0.05, rtol=2e-3, atol=0)
    logarithm, knots_too = gradients(1.0, eta)
    torch.testing.assert_close(logarithm, 1 / errors, rtol=2e-3, atol=0)
    torch.testing.assert_close(knots_too, knots, rtol=1e-5, atol=0)
    blind, _ = gradients(1.0, torch.tensor([50.0, 50.0]))
    torch.testing.assert_close(blind, errors / 0.05, rtol=2e-3, atol=0)


def test_noise_levels_have_the_distribution_of_the_settings() -> None:
    config = replace(TINY, eta_range=(0.01, 100.0), focus=(0.1, 1.0), focus_share=0.6)
    levels = torch.cat([draw_levels(4, config, torch.Generator().manual_seed(k)) for k in range(2000)])
    assert float(levels.min()) >= 0.01 * (1 - 1e-5)
    assert float(levels.max()) <= 100 * (1 + 1e-5)
    for low, high, share in [(0.1, 1.0, 0.6 + 0.4 / 4), (0.01, 0.1, 0.1), (1.0, 100.0, 0.2), (0.1, 10**-0.5, 0.35)]:
        count = int(((levels >= low) & (levels < high)).sum())
        assert count / 8000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 8000))


def test_noise_levels_of_a_batch_are_stratified() -> None:
    config = replace(TINY, eta_range=(0.01, 100.0), focus=(0.1, 1.0), focus_share=0.0)
    for seed in range(20):
        levels = draw_levels(8, config, torch.Generator().manual_seed(seed)).log10()
        assert ((levels + 2) / 4 * 8).floor().tolist() == list(range(8))


# Measurements


class Shrink(Prior):
    """A denoiser that returns half of what it gets."""

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return z / 2


def test_validation_is_the_psnr_of_the_error() -> None:
    """Of clean grey 0 the error of Shrink is half the noise: PSNR = 10 log10(4 / (eta / 2)^2)."""
    prior = Shrink()
    prior.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    config = replace(TINY, validation_levels=(0.02, 0.3))
    scores = validate(prior, torch.zeros(10, 3, 40, 40), config)  # type: ignore[arg-type]
    assert set(scores) == {"0.02", "0.3"}
    for level in (0.02, 0.3):
        assert scores[f"{level:.4g}"] == pytest.approx(10 * math.log10(4 / (level / 2) ** 2), abs=0.1)


def test_spectrum_of_white_errors() -> None:
    """Clean zeros: the error is half the noise, white with variance eta^2 / 4 in luma and in chroma."""
    spectrum = measure_spectrum(Shrink(), torch.zeros(24, 3, 32, 32), levels=4, low=0.1, high=10.0)
    assert spectrum.etas.tolist() == pytest.approx([0.1, 10 ** (-1 / 3), 10 ** (1 / 3), 10.0])
    ratio = spectrum.values / (spectrum.etas**2 / 4).view(-1, 1, 1)
    wide = spectrum.freqs > 0.2  # many frequencies in a bin: a few per cent of statistical error
    torch.testing.assert_close(ratio[:, wide], torch.ones_like(ratio[:, wide]), rtol=0.3, atol=0)
    assert float(ratio[:, wide].mean()) == pytest.approx(1, abs=0.03)


def test_spectrum_separates_luma_from_chroma() -> None:
    """Clean signals with luma variance 4 and chroma variance 1, of which Shrink leaves a quarter as error."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(24, 3, 32, 32, generator=generator)
    crops = white + white.mean(dim=1, keepdim=True)  # the component along (1, 1, 1) doubled
    spectrum = measure_spectrum(Shrink(), crops, levels=1, low=1e-3, high=1e-3)
    wide = spectrum.freqs > 0.2
    luma, chroma = spectrum.values[0, wide].T
    assert float(luma.mean()) == pytest.approx(1.0, rel=0.08)
    assert float(chroma.mean()) == pytest.approx(0.25, rel=0.08)


# Starting from a model


def test_a_run_begins_with_the_weights_of_a_model(
    straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    """At a learning rate of nearly 0 the new model is the old one, rounded to float16."""
    still = replace(TINY, steps=1, lr=1e-12, seed=5)
    model = straight[1] / "model.safetensors"
    fine_tuned = train(pictures, tmp_path, still, start_from=model)
    for name, weight in load_model(model).net.state_dict().items():
        torch.testing.assert_close(fine_tuned.net.state_dict()[name], weight, rtol=0, atol=1e-9)
    assert not torch.equal(fine_tuned.net.head.weight, train(pictures, tmp_path / "b", still).net.head.weight)


def test_a_model_of_another_architecture_is_named(
    straight: tuple[NetworkPrior, Path], pictures: Path, tmp_path: Path
) -> None:
    other = replace(TINY, net=UNetConfig(widths=(4, 8), blocks=(1, 1), embedding=8))
    with pytest.raises(InvalidArgument, match="start_from"):
        train(pictures, tmp_path, other, start_from=straight[1] / "model.safetensors")
