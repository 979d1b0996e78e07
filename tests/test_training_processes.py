"""Training by two processes at once, as ``torchrun --nproc-per-node 2`` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.training.augment import draw_labels
from kintsugi.training.config import TrainConfig
from kintsugi.training.data import Crops, find_images, split
from kintsugi.training.loss import DenoisingLoss, draw_levels
from kintsugi.training.optimizer import learning_rate, make_optimizer

CONFIG = TrainConfig(
    steps=4, batch=2, size=16, warmup=2, save_every=2, validate_every=2, validation_crops=1, cooldown=0, augment=0.5,
    validation_levels=(0.5,), net=UNetConfig(widths=(4, 6), blocks=(1, 1), embedding=8, size=16),
)  # fmt: skip

WORK = """
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from kintsugi.training import loop, material
from test_training_processes import CONFIG
material.spectrum_crops = partial(material.spectrum_crops, count=1)
pictures, output = sys.argv[1], Path(sys.argv[3])
loop.train(pictures, output / "straight", CONFIG)
loop.train(pictures, output / "resumed", replace(CONFIG, steps=2))
loop.train(pictures, output / "resumed", CONFIG)
"""


STOPPED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from kintsugi.training import loop
from test_training_processes import CONFIG
drawn, levels = 0, loop.draw_levels
def draw_levels(*arguments):  # step k is the (k + 1)-th draw
    global drawn
    drawn += 1
    if drawn == 3 and os.environ["RANK"] == "1":
        signal.raise_signal(signal.SIGINT)
    return levels(*arguments)
loop.draw_levels = draw_levels
try:
    loop.train(sys.argv[1], Path(sys.argv[3]), CONFIG)
except KeyboardInterrupt:
    sys.exit(7)
"""


def run_two(work: str, pictures: Path, output: Path) -> list[int]:
    """The exit statuses of two processes of one training; what they said is shown if a test fails."""
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
              "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    words = [sys.executable, "-c", work, str(pictures), str(Path(__file__).parent), str(output)]
    processes = [
        subprocess.Popen(words, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    for process in processes:
        print(process.communicate(timeout=240)[1].decode())
    return [process.returncode for process in processes]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def test_two_processes_take_the_steps_of_one_with_both_batches(pictures: Path, tmp_path: Path) -> None:
    """Against the mean of both processes' losses, step by step; one log, and a resumed run that is the same."""
    assert run_two(WORK, pictures, tmp_path) == [0, 0]

    torch.manual_seed(0)
    config = CONFIG
    net = UNet(UNetConfig(**config.net.to_dict() | {"labels": 7}))
    loss = DenoisingLoss(net, config)
    optimizer = make_optimizer(net, [loss.weight.knots], config)
    crops = Crops(split(find_images(pictures), config.validation_share)[0], config)
    for step in range(4):
        losses = []
        for rank in (0, 1):
            generator = torch.Generator().manual_seed(step * 4096 + rank)
            indices = range(4 * step + 2 * rank, 4 * step + 2 * rank + 2)
            eta = draw_levels(2, config, generator)
            x0 = torch.stack([crops[i] for i in indices])
            noise = torch.randn(x0.shape, generator=generator)
            losses.append(loss(x0, noise, eta, draw_labels(config, indices))[0])
        optimizer.zero_grad()
        (sum(losses) / 2).backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(loss.parameters(), config.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config) * group["scale"]
        optimizer.step()

    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["loss"] for name in ("straight", "resumed")
    ]
    for name, weight in loss.state_dict().items():
        torch.testing.assert_close(states[0][name], weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
    steps = [json.loads(line)["step"] for line in (tmp_path / "straight" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 2, 4, 4]


def test_an_interrupt_of_one_process_stops_both_after_the_same_step(pictures: Path, tmp_path: Path) -> None:
    assert run_two(STOPPED, pictures, tmp_path) == [7, 7]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3
