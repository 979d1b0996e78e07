"""What of each sampler can be tuned: every value of its space is accepted, and its defaults are a point of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import BlockAverage, LinearOperator, Mask, StationaryCovariance
from kintsugi.priors import StationaryPrior
from kintsugi.problem import Problem
from kintsugi.samplers import Choice, Range, Sampler, Schedule, available_samplers, make_sampler
from kintsugi.samplers.space import as_objects, nested
from toy import spectrum

SHAPE = (2, 8, 12)
TUNABLE = [name for name, cls in available_samplers().items() if cls.space]


def problem(noise: float, average: bool = False) -> Problem:
    generator = torch.Generator().manual_seed(1)
    x = 0.5 * torch.randn(1, *SHAPE, generator=generator, dtype=torch.float64)
    keep = torch.rand(SHAPE[1:], generator=generator) > 0.5
    operator: LinearOperator = BlockAverage(SHAPE, 2) if average else Mask(keep, SHAPE)
    return Problem.simulate(x, operator, noise)


def draw(method: Sampler, stated: Problem, steps: int) -> torch.Tensor:
    prior = StationaryPrior(StationaryCovariance(spectrum), SHAPE[0])
    with torch.no_grad():
        return method.run(prior, stated, steps, RowNoise([(0, 0, 0)]), lambda done, total: None)


def made(name: str, values: dict[str, Any]) -> Sampler:
    return make_sampler(name, **as_objects(nested(values)))


def test_the_published_methods_can_be_tuned() -> None:
    assert {"kintsugi", "cpigdm", "cpigfm", "pigdm", "pigfm", "ddnm", "ddrm", "dps", "reddiff", "diffpir"} == set(
        TUNABLE
    )


@pytest.mark.parametrize("name", TUNABLE)
def test_every_value_is_accepted(name: str) -> None:
    """The corners of the space, and both ends of each setting with the others in the middle."""
    space = available_samplers()[name].space

    def ends(entry: Range | Choice) -> tuple[Any, ...]:
        return entry.values if isinstance(entry, Choice) else (entry.low, entry.high)

    first, last = ({key: ends(entry)[k] for key, entry in space.items()} for k in (0, -1))
    for values in (first, last, *({**first, key: v} for key, entry in space.items() for v in ends(entry))):
        method = made(name, values)
        resolved = method.resolved(problem(0.05), 3)
        assert resolved == values
        assert draw(method, problem(0.05), 1).shape == (1, *SHAPE)


@pytest.mark.parametrize("name", TUNABLE)
@pytest.mark.parametrize(
    ("noise", "steps", "average"), [(0.0, 5, False), (0.05, 20, False), (0.0, 20, True), (0.1, 3, True)]
)
def test_the_defaults_are_a_point_of_the_space(name: str, noise: float, steps: int, average: bool) -> None:
    """What a setting of None stands for, said aloud, gives the same sample to the last bit."""
    stated = problem(noise, average)
    default = make_sampler(name)
    values = default.resolved(stated, steps)
    space = type(default).space
    assert list(values) == list(space)
    assert all(values[key] in space[key] for key in space), values
    assert torch.equal(draw(default, stated, steps), draw(made(name, values), stated, steps))


def test_a_space_says_what_it_holds() -> None:
    assert 2.0 in Range(1, 3)
    assert 4.0 not in Range(1, 3)
    assert "a" in Choice(("a", "b"))
    assert Range(0.1, 0.3).tidy(0.123456) == 0.1235
    assert Range(1 / 3, 2 / 3).tidy(2 / 3) == 2 / 3  # four digits would be beyond the end
    for wrong in (lambda: Range(1, 1), lambda: Range(0, 1, log=True), lambda: Choice(("a",)), lambda: Choice((1, 1))):
        with pytest.raises(InvalidArgument):
            wrong()


def test_objects_of_plain_values() -> None:
    made = as_objects(nested({"w": 3.0, "schedule.eta": 4.0, "schedule.grid": [3.0, 1.0]}))
    assert made == {"w": 3.0, "schedule": Schedule(eta=4.0, grid=(3.0, 1.0))}
    with pytest.raises(InvalidArgument, match=r"^schedule\.etta: expected one of schedule's fields: end, eta"):
        as_objects({"schedule": {"etta": 1}})
