"""The commands of docs/train.md are commands, and mean what the page says."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from kintsugi.cli import app
from kintsugi.priors.network import load_model
from kintsugi.training import loop
from kintsugi.training.config import TrainConfig

PAGE = Path(__file__).parents[1] / "docs" / "train.md"


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("kintsugi train ")]


def test_commands_are_understood(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    seen: list[tuple[TrainConfig, Any]] = []

    def record(folder: Any, output: Any, config: TrainConfig, *, start_from: Any, report: Any) -> Any:
        seen.append((config, start_from))
        return SimpleNamespace(card={"step": config.steps})

    monkeypatch.setattr(loop, "train", record)
    monkeypatch.chdir(tmp_path)
    for command in commands():
        words = [str(pictures) if word == "FOLDER" else word for word in shlex.split(command, comments=True)[1:]]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.stderr
    plain, crops, whole = seen[:3]
    assert plain == (TrainConfig(), None)
    assert Path(crops[1]).name == "photo.safetensors"
    assert (crops[0].steps, crops[0].lr, crops[0].size) == (5000, 2e-4, None)
    assert replace(crops[0].net, channels=3) == load_model(crops[1]).net.config
    config = whole[0]
    assert (config.size, config.net.attention, config.net.dropout) == (64, (2,), 0.1)
    assert (config.augment, config.turns, config.focus) == (0.3, "mirrored", (0.1, 3))


def test_settings_in_the_text_are_settings() -> None:
    for name in re.findall(r"--set (\w+)=", PAGE.read_text()):
        assert name in TrainConfig.__dataclass_fields__
