"""Pipelines of the diffusers library as priors: what they mean is read from their scheduler, never guessed.

| scheduler | path | prediction | the network's time |
|---|---|---|---|
| DDPM, DDIM, PNDM, DPM-Solver, Euler and all others with betas | VP, these betas | its ``prediction_type`` | step |
| EDM (Euler, DPM-Solver) | VE | EDM's, F or -F as ``prediction_type`` says | log(sigma) / 4 |
| score-SDE VE | VE, data in [0, 1] | score | sigma |
| consistency models | VE | the map to the end of the trajectory | 250 log(sigma) |
| flow matching (Euler, Heun) | flow matching | velocity | t times the number of training steps |

A scheduler with zero terminal SNR has a last step of pure noise, at an infinite level: paths end one step before it.
Spacing of time steps and clipping are settings of the pipeline's own sampling, which is not used.

The output of a consistency model is not ``E[x_0 | z]`` but a picture, the end of the trajectory through z. It stands in
for the denoiser as it does in the pipeline's own one-step sampling; methods that need a posterior mean are biased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..paths import VE, DiscreteVP, FlowMatching, Path
from .clock import Between, Clock, Level, LogLevel, Steps, Time
from .model import ModelPrior
from .prediction import Form, Prediction


@dataclass(frozen=True)
class Meaning:
    """What the output of a network means: the arguments of :class:`ModelPrior`."""

    path: Path
    prediction: Prediction | Form
    clock: Clock
    data_range: tuple[float, float] = (-1.0, 1.0)
    data_variance: float = 0.25


@dataclass(frozen=True)
class Consistency:
    """Song et al. (2023), equation 5 with the boundary at ``sigma_min``: EDM's coefficients with a shifted skip."""

    sigma_min: float

    def __call__(self, path: Path, eta: Tensor, data_std: float) -> tuple[Tensor, Tensor, Tensor]:
        root = (eta**2 + data_std**2).rsqrt()
        shifted = (eta - self.sigma_min).clamp_min(0)
        return root, data_std**2 / (shifted**2 + data_std**2), shifted * data_std * root


def meaning(scheduler: Any, *, between: Between = "interpolate") -> Meaning:
    """Path, prediction and clock of a diffusers scheduler.

    ``between``: how to ask a network between its training steps, see :class:`~kintsugi.priors.clock.Steps`. Errors:
    :class:`InvalidArgument` for a scheduler or a prediction type that is not known.
    """
    config, name = dict(scheduler.config), type(scheduler).__name__
    kind = config.get("prediction_type", "epsilon")
    if name.startswith("EDM"):
        prediction: Prediction = "edm_v" if _one_of(kind, ("epsilon", "v_prediction")) == "v_prediction" else "edm"
        return Meaning(VE(config["sigma_max"]), prediction, LogLevel(), data_variance=config["sigma_data"] ** 2)
    if name == "ScoreSdeVeScheduler":
        return Meaning(VE(config["sigma_max"]), "score", Level(), data_range=(0.0, 1.0))
    if name == "CMStochasticIterativeScheduler":
        form = Consistency(config["sigma_min"])
        return Meaning(VE(config["sigma_max"]), form, LogLevel(250.0), data_variance=config["sigma_data"] ** 2)
    if name.startswith("FlowMatch"):
        flow = FlowMatching()
        return Meaning(flow, "velocity", Time(flow, float(config["num_train_timesteps"])))
    betas = getattr(scheduler, "betas", None)
    if betas is None:
        raise InvalidArgument(
            "scheduler", name, "one with betas, or of EDM, score-SDE VE, consistency or flow matching"
        )
    path = discrete_path(betas)
    return Meaning(path, _one_of(kind, ("epsilon", "sample", "v_prediction")), Steps(path, between))


def discrete_path(betas: Tensor) -> DiscreteVP:
    """The path of a model's own betas; without a last step of pure noise."""
    values = betas.double().tolist()
    return DiscreteVP(tuple(values[:-1] if values[-1] >= 1 else values))


def from_pipeline(pipe: Any, *, between: Between = "interpolate", card: Mapping[str, Any] | None = None) -> ModelPrior:
    """A pipeline with a ``UNet2DModel`` and a scheduler (DDPM, DDIM, EDM, score-SDE VE, consistency) as a prior."""
    net = pipe.unet
    said = meaning(pipe.scheduler, between=between)
    return ModelPrior(
        net.eval().requires_grad_(False),
        said.path,
        said.prediction,
        said.clock,
        shape=(net.config.in_channels, *_pair(net.config.sample_size)),
        data_range=said.data_range,
        data_variance=said.data_variance,
        classes=net.config.num_class_embeds,
        card=card,
    )


def _one_of(kind: str, known: Sequence[Prediction]) -> Prediction:
    for prediction in known:
        if prediction == kind:
            return prediction
    raise InvalidArgument("prediction_type", kind, f"one of {', '.join(known)}")


def _pair(size: int | Sequence[int] | None) -> tuple[int | None, int | None]:
    """Height and width; free where the network does not say."""
    if size is None or isinstance(size, int):
        return size, size
    return size[0], size[1]
