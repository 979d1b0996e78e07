"""``kintsugi samplers``: what the docstrings say of the methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from typer.testing import CliRunner

import kintsugi.samplers
from kintsugi.cli import app
from kintsugi.samplers import DDNM, Sampler, about


def said(*words: str) -> str:
    """What the command prints, with single spaces."""
    result = CliRunner().invoke(app, ["samplers", *words])
    assert result.exit_code == 0, result.stderr + str(result.exception)
    return " ".join(result.stdout.split())


def test_the_list_is_made_of_docstrings() -> None:
    words = about(DDNM)
    text = said()
    for expected in (words.summary, f"cost: {words.cost}", f"takes: {words.takes}", f"paper: {words.paper}"):
        assert " ".join(expected.replace("``", "").split()) in text
    assert words.authors not in text  # one page of it is enough


def test_one_method_with_its_settings() -> None:
    text = said("ddnm")
    assert about(DDNM).authors in text
    assert "--set hard= False" in text
    assert "--set solver= FirstOrder(churn=1.0)" in text  # made by a factory
    result = CliRunner().invoke(app, ["samplers", "ddnn"])
    assert result.exit_code == 2
    assert "expected one of kintsugi" in result.stderr


def test_a_method_that_says_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samplers of others need not have our paragraphs."""

    @dataclass(frozen=True)
    class Terse(Sampler):
        """Terse: does what it does."""

        name: ClassVar[str] = "terse"
        strength: float
        levels: tuple[int, ...] = field(default_factory=lambda: (1, 2))

    monkeypatch.setattr(kintsugi.samplers, "available_samplers", lambda: {"terse": Terse})
    assert "terse Terse: does what it does." in said()
    assert "--set strength= required --set levels= (1, 2)" in said("terse")
