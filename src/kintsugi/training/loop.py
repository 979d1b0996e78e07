"""The training loop: resumable at the exact step, on a CPU, one GPU or several.

Everything random in step ``k`` is a function of ``(seed, k)``, and a checkpoint holds weights, their moving average
and the optimiser, so a run that was killed and resumed takes the same steps as one that was not. ``steps`` may be
changed on resuming, and ``cooldown``: the learning rate follows the new cosine from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import InvalidArgument
from ..optional import no_telemetry
from ..priors.network import NetworkPrior, load_model, save_model
from ..priors.unet import Block, UNet, UNetConfig
from .augment import draw_labels
from .config import TrainConfig
from .interrupt import Interrupt
from .loss import DenoisingLoss, draw_levels
from .material import open_material
from .optimizer import idle_optimizer, learning_rate, make_optimizer
from .spectrum import measure_spectrum
from .state import Log, Report, State, one_line


def train(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    config: TrainConfig | None = None,
    *,
    start_from: str | os.PathLike[str] | None = None,
    report: Report | None = None,
    card: dict[str, Any] | None = None,
) -> NetworkPrior:
    """Train a network on the images or sounds below ``folder``; returns the moving average of the weights as a prior.

    Arrays ``(C, H, W)`` of floats in [-1, 1], as ``.npy`` files, serve as well as images. The network has as many
    channels as the data, whatever ``config.net.channels`` says, the size of ``config.size``, and labels if pictures
    are augmented. A network with a ``frame`` is trained on the sounds of the folder.

    ``output`` is a folder: ``checkpoint.pt`` (to resume), ``log.jsonl`` (a line every ``report`` and validation),
    ``model.safetensors`` (float16, renewed at each validation, and at the end with the measured spectrum of its
    errors), ``best.safetensors`` (the same, of the validation with the highest PSNR, in the mean over its levels: where
    images are few a network learns them by heart, and is then best before its end). If it holds a checkpoint, the run
    goes on from it; else it begins with the weights of the model file ``start_from``, or with random ones. Ctrl-C
    finishes the step, saves and stops. Needs the extra ``[train]``.

    report: called with every record of the log, and before the first step with ``expected``, the seconds that a step
    was measured to take here, ``left``, how many steps there are, ``pictures`` and ``held_out``, how many images are
    trained on and not, and ``passes``, how often the whole run sees each of them.
    """
    no_telemetry()
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    config = config or TrainConfig()
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    config, material = open_material(folder, config)
    try:
        # Several processes on a machine without a GPU work together only if accelerate is told that there is none.
        accelerator = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision=config.mixed_precision)
    except ValueError as error:
        expected = f"a precision that this machine has ({one_line(error)})"
        raise InvalidArgument("mixed_precision", config.mixed_precision, expected) from error
    set_seed(config.seed)

    net = UNet(config.net)
    if start_from is not None:
        begin_with(net, load_model(start_from).net, config.net)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = DenoisingLoss(net, config)
    # The level weights must settle long before the network does, or the noisiest levels drown the others.
    optimizer = make_optimizer(net, [loss.weight.knots], config)
    average = torch.optim.swa_utils.AveragedModel(
        net, device=accelerator.device, multi_avg_fn=partial(move_average, config.ema)
    )
    state = State(config, loss, average, optimizer, accelerator.scaler, output / "checkpoint.pt")
    accelerator.wait_for_everyone()  # the first process may still write the last files of an earlier run
    start = state.load()
    model, optimizer = accelerator.prepare(loss, optimizer)
    state.optimizer = optimizer
    log = Log(output / "log.jsonl", start, report, accelerator.is_main_process)

    ranks, rank = accelerator.num_processes, accelerator.process_index

    def losses(step: int, batch: Tensor) -> tuple[Tensor, Tensor]:
        x0 = batch.to(accelerator.device)
        generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) * 4096 + rank)
        eta = draw_levels(len(x0), config, generator).to(x0)
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        told = draw_labels(config, _indices(step, config, ranks, rank))
        if config.net.dropout:
            torch.manual_seed((config.seed * 1_000_003 + step) * 4096 + rank + 2048)
        with accelerator.autocast():
            return model(x0, noise, eta, None if told is None else told.to(x0))

    if report is not None and start < config.steps:
        batch = torch.stack([material.crops[i] for i in _indices(start, config, ranks, rank)])
        spare = idle_optimizer(net, config)
        seconds = seconds_of(lambda: (accelerator.backward(losses(start, batch)[0]), spare.step()))
        del spare
        if accelerator.is_main_process:
            seen_of_each = config.steps * config.batch * ranks / material.files
            report({"step": start, "expected": seconds, "left": config.steps - start, "pictures": material.files,
                    "held_out": material.held_out, "passes": seen_of_each})  # fmt: skip
    began, (running, seen) = time.perf_counter(), state.running
    with Interrupt() as interrupt:
        for step, batch in zip(
            range(start, config.steps), _batches(material.crops, config, start, ranks, rank), strict=False
        ):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config) * group["scale"]
            optimizer.zero_grad(set_to_none=True)
            value, per_sample = losses(step, batch)
            if not bool(torch.isfinite(value)):
                raise FloatingPointError(f"the loss is {value.item()} at step {step}; resume with a smaller --lr")
            accelerator.backward(value)
            accelerator.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            average.update_parameters(net)

            running, seen = running + float(per_sample.mean()), seen + 1
            done = step + 1
            last = done == config.steps
            milestone = done % config.save_every == 0 or last
            if accelerator.is_main_process and milestone:
                rate = (time.perf_counter() - began) / (done - start)
                log.write({"step": done, "loss": running / seen, "lr": learning_rate(step, config), "seconds": rate})
                running, seen = 0.0, 0
                if done % config.validate_every == 0 and not last:
                    prior = as_prior(average.module, config, card, done)
                    scores = validate(prior.to(accelerator.device), material.validation, config)
                    prior.card["validation"] = scores
                    log.write({"step": done, "validation": scores})
                    _save(prior, output, log.is_best(done))
            if interrupt.asked:
                accelerator.set_trigger()
            # All processes stop after the same step, whichever was told to: one alone would leave the others waiting.
            stop = accelerator.check_trigger()
            if accelerator.is_main_process and (milestone or stop):
                state.running = running, seen
                state.save(done)
            if stop:
                raise KeyboardInterrupt
    end = max(start, config.steps)  # a run that is asked for fewer steps than it has taken ends where it is
    prior = as_prior(average.module, config, card, end)
    if accelerator.is_main_process:
        prior.card["validation"] = validate(prior.to(accelerator.device), material.validation, config)
        if not log.holds(end, "validation"):
            log.write({"step": end, "validation": prior.card["validation"]})
        prior.spectrum = measure_spectrum(prior, material.to_measure)
        _save(prior.cpu(), output, log.is_best(end))
        best = load_model(output / "best.safetensors")
        if best.spectrum is None:
            best.spectrum = measure_spectrum(best.to(accelerator.device), material.to_measure)
            save_model(best.cpu(), output / "best.safetensors")
    return prior.cpu()


def _save(prior: NetworkPrior, output: Path, best: bool) -> None:
    save_model(prior, output / "model.safetensors")
    if best or not (output / "best.safetensors").exists():
        save_model(prior, output / "best.safetensors")


@torch.no_grad()
def move_average(decay: float, average: list[Tensor], weights: list[Tensor], count: int | Tensor) -> None:
    """``average <- d average + (1 - d) weights``: d is ``decay`` in the long run, and ``(1 + n) / (10 + n)`` before.

    ``count`` n is how often it was done. With the decay alone the average of a short run would be made of the weights
    that it began with.
    """
    n = int(count)
    torch._foreach_lerp_(average, weights, 1 - min(decay, (1 + n) / (10 + n)))


def seconds_of(work: Callable[[], object], repeats: int = 2) -> float:
    """How long ``work`` takes, on average, after a first time that is not counted."""
    work()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


def begin_with(net: UNet, known: UNet, config: UNetConfig) -> None:
    """Give ``net`` the weights of ``known``, of the same architecture or of one with fewer blocks at some levels.

    A block that ``known`` lacks adds nothing at first, so that the deeper network begins where the other ended.
    """
    same = replace(known.config, dropout=config.dropout, blocks=config.blocks) == config
    if not same or any(n > m for n, m in zip(known.config.blocks, config.blocks, strict=True)):
        raise InvalidArgument("start_from", known.config, f"a model of the same architecture, {config}, or less deep")
    weights = known.state_dict()
    for name, module in net.named_modules():
        if isinstance(module, Block) and f"{name}.second.weight" not in weights:
            module.be_identity()
    net.load_state_dict(weights, strict=False)


def as_prior(net: torch.nn.Module, config: TrainConfig, card: dict[str, Any] | None, step: int) -> NetworkPrior:
    """A copy of ``net`` as a frozen prior on the CPU, with a card that records the settings."""
    copy = UNet(config.net)
    copy.load_state_dict(net.state_dict())
    record = dict(card or {}) | {"step": step, "training": config.to_dict()}
    prior = NetworkPrior(copy, prediction=config.prediction, data_variance=config.data_variance, card=record)
    return prior.eval().requires_grad_(False)


@torch.inference_mode()
def validate(prior: NetworkPrior, crops: Tensor, config: TrainConfig) -> dict[str, float]:
    """Denoising PSNR in dB (range 2, data in [-1, 1], mean over images) at each validation level, fixed noise."""
    device = next(prior.parameters()).device
    scores = {}
    for level in config.validation_levels:
        generator = torch.Generator().manual_seed(config.seed)
        psnr = []
        for x0 in crops.split(8):
            z = (x0 + level * torch.randn(x0.shape, generator=generator)).to(device)
            out = prior.denoise(z, torch.full((len(x0),), level, device=device)).clamp(-1, 1)
            mse = (out.cpu() - x0).square().flatten(1).mean(1)
            psnr.append(10 * torch.log10(4 / mse))
        scores[f"{level:.4g}"] = round(float(torch.cat(psnr).mean()), 3)
    return scores


def _batches(crops: Dataset[Tensor], config: TrainConfig, start: int, ranks: int, rank: int) -> Iterator[Tensor]:
    """The batches of this process from step ``start`` on; crop ``index`` is seen once, by one process."""

    def indices() -> Iterator[list[int]]:
        for step in range(start, config.steps):
            yield list(_indices(step, config, ranks, rank))

    loader: DataLoader[Tensor] = DataLoader(crops, batch_sampler=_Sampler(indices))
    return iter(loader)


def _indices(step: int, config: TrainConfig, ranks: int, rank: int) -> range:
    """The crops that process ``rank`` sees in a step."""
    first = (step * ranks + rank) * config.batch
    return range(first, first + config.batch)


class _Sampler(torch.utils.data.Sampler[list[int]]):
    def __init__(self, indices: Callable[[], Iterator[list[int]]]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[list[int]]:
        return self.indices()
