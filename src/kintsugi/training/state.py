"""What a run leaves on disk while it goes on: its checkpoint and its log."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidFile
from ..files import atomic_path, remove_half_written
from .config import TrainConfig

Report = Callable[[dict[str, Any]], None]


class State:
    """What a checkpoint holds; ``running`` is the sum of the losses since the last line of the log, and how many."""

    def __init__(
        self, config: TrainConfig, loss: torch.nn.Module, average: Any, optimizer: Any, scaler: Any, path: Path
    ) -> None:
        self.config = config
        self.loss, self.average, self.optimizer, self.scaler, self.path = loss, average, optimizer, scaler, path
        self.running = 0.0, 0

    def save(self, step: int) -> None:
        """Write everything that step ``step`` and later ones depend on."""
        parts = {
            "step": step,
            "net": self.config.net.to_dict(),
            "method": self.config.optimizer,
            "running": self.running,
            "loss": self.loss.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.scaler is not None:  # fp16: the scale of the loss adapts over the run
            parts["scaler"] = self.scaler.state_dict()
        with atomic_path(self.path) as temporary:
            torch.save(parts, temporary)

    def load(self) -> int:
        """Put everything back, and return the step to go on from: 0 without a checkpoint.

        What a process that was killed left half-written in the folder is removed: nobody writes before the first step.
        """
        for name in (self.path.name, "model.safetensors", "best.safetensors"):
            remove_half_written(self.path.with_name(name))
        for path in self.path.parent.glob(".tmp*"):
            if re.fullmatch(r"\.tmp[A-Za-z0-9]{6}", path.name):  # as safetensors names its own
                path.unlink(missing_ok=True)
        if not self.path.exists():
            return 0
        try:
            parts = torch.load(self.path, map_location="cpu", weights_only=True)
            self._check_run(parts)
            self.loss.load_state_dict(parts["loss"])
            self.average.load_state_dict(parts["average"])
            # The settings of its groups are those of this run, which may be others, and not the checkpoint's.
            settings = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
            self.optimizer.load_state_dict(parts["optimizer"])
            for group, asked in zip(self.optimizer.param_groups, settings, strict=True):
                group.update(asked)
            if self.scaler is not None and "scaler" in parts:
                self.scaler.load_state_dict(parts["scaler"])
            self.running = parts.get("running", (0.0, 0))
            return int(parts["step"])
        except Exception as error:
            raise InvalidFile(self.path, f"cannot be resumed with these settings ({one_line(error)})") from error

    def _check_run(self, parts: Mapping[str, Any]) -> None:
        """Weights fit some other networks as well as their own. The first checkpoints, of networks with a norm that
        were trained by Adam, say nothing of either.
        """
        if (method := parts.get("method", "adam")) != self.config.optimizer:
            raise ValueError(f"the run's optimizer is {method}, and not {self.config.optimizer}")
        asked = self.config.net.to_dict()
        for name, value in ({"norm": True} | dict(parts.get("net") or {})).items():
            if name != "dropout" and asked[name] != value:
                raise ValueError(f"the run's network has {name} {value}, and not {asked[name]}")


def one_line(error: Exception, limit: int = 200) -> str:
    """What an error says, short and without line breaks."""
    return " ".join(str(error).split())[:limit]


def _record(line: str) -> dict[str, Any]:
    """A line of the log; one that a crash cut short belongs to no step."""
    try:
        record = json.loads(line)
        return {**record, "step": int(record["step"])}
    except (ValueError, TypeError, KeyError):
        return {"step": math.inf}


def _score(record: dict[str, Any]) -> float:
    return sum(record["validation"].values()) / len(record["validation"])


class Log:
    """A JSON line a record; lines beyond the step a run resumes from are dropped, so no step is logged twice."""

    def __init__(self, path: Path, start: int, report: Report | None, active: bool) -> None:
        self.path, self.report, self.active = path, report, active
        lines = path.read_text().splitlines() if active and path.exists() else []
        kept = [line for line in lines if _record(line)["step"] <= start]
        records = [_record(line) for line in kept]
        self.held = {(record["step"], name) for record in records for name in record}
        self.scores = {record["step"]: _score(record) for record in records if "validation" in record}
        if active:
            remove_half_written(path)
        if lines:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept))

    def holds(self, step: int, name: str) -> bool:
        """Whether there is a line for ``step`` with an entry ``name``."""
        return (step, name) in self.held

    def is_best(self, step: int) -> bool:
        """Whether no earlier validation was better than that of ``step``, in the mean over its levels."""
        return self.scores[step] >= max(self.scores.values())

    def write(self, record: dict[str, Any]) -> None:
        """Append ``record`` as a line, and report it."""
        if not self.active:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.held |= {(record["step"], name) for name in record}
        if "validation" in record:
            self.scores[record["step"]] = _score(record)
        if self.report is not None:
            self.report(record)
