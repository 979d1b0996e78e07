"""Networks of every parametrisation, and what is done with them: an exact oracle has to come out again."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest
import torch
from torch import Tensor, nn

import kintsugi
from disguise import Disguised, ddpm, linear_betas
from kintsugi.errors import InvalidArgument, InvalidFile, MissingPackage
from kintsugi.optional import optional
from kintsugi.paths import VE, VP, DiscreteVP, FlowMatching, Path
from kintsugi.priors import GaussianPrior, ModelPrior, Prior, Windows, denoiser_prior, velocity_prior
from kintsugi.priors.clock import Clock, Level, LogLevel, Steps, Time, clock_of
from kintsugi.problem import Problem
from kintsugi.samplers import available_samplers, make_sampler
from toy import SHAPE, mixture, operator

ETAS = [0.02, 0.3, 1.0, 4.0, 30.0]
DISCRETE = DiscreteVP(tuple(linear_betas().tolist()))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flow(t: Tensor) -> tuple[Tensor, Tensor]:
    return 1 - t, t


def vp(t: Tensor) -> tuple[Tensor, Tensor]:
    """Song et al. (2021), equation 33, with beta from 0.1 to 20."""
    alpha = torch.exp(-0.25 * t**2 * 19.9 - 0.5 * t * 0.1)
    return alpha, (1 - alpha**2).sqrt()


def ve(sigma: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(sigma), sigma


# prediction, path, clock, and the network's own schedule by its own time
FAMILIES: dict[str, tuple[str, Path, Clock, object]] = {
    "ddpm epsilon": ("epsilon", DISCRETE, Steps(DISCRETE), ddpm(linear_betas())),
    "ddpm v": ("v_prediction", DISCRETE, Steps(DISCRETE), ddpm(linear_betas())),
    "ddpm sample": ("sample", DISCRETE, Steps(DISCRETE), ddpm(linear_betas())),
    "vp epsilon": ("epsilon", VP(), Time(VP(), 999.0), lambda t: vp(t / 999)),
    "vp score": ("score", VP(), Time(VP()), vp),
    "vp v": ("v_prediction", VP(), Time(VP()), vp),
    "flow": ("velocity", FlowMatching(), Time(FlowMatching(), 1000.0), lambda t: flow(t / 1000)),
    "flow, time turned": ("velocity", FlowMatching(), Time(FlowMatching(), -1.0, 1.0), lambda s: flow(1 - s)),
    "ve score": ("score", VE(), Level(), ve),
    "ve score, double": ("score", VE(), Level(2.0), lambda t: ve(t / 2)),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def wrapped(family: str, oracle: Prior) -> ModelPrior:
    prediction, path, clock, schedule = FAMILIES[family]
    return ModelPrior(Disguised(oracle, schedule, prediction), path, prediction, clock, shape=SHAPE)


# --- parametrisations -------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("eta", ETAS)
def test_the_denoiser_comes_out_of_every_parametrisation(family: str, eta: float) -> None:
    oracle, z = mixture(), randn(3, *SHAPE) * (1 + eta)
    levels = torch.tensor([eta, 1.3 * eta, 0.8 * eta])
    torch.testing.assert_close(wrapped(family, oracle).denoise(z, levels), oracle.denoise(z, levels), rtol=0, atol=2e-7)


@every_family
def test_so_does_its_vjp(family: str) -> None:
    oracle, z, v = mixture(), randn(2, *SHAPE), randn(2, *SHAPE, seed=1)
    levels = torch.tensor([0.4, 2.0])
    mine, pull = wrapped(family, oracle).denoise_vjp(z, levels)
    exact, exact_pull = oracle.denoise_vjp(z, levels)
    torch.testing.assert_close(mine, exact, rtol=0, atol=2e-7)
    torch.testing.assert_close(pull(v), exact_pull(v), rtol=0, atol=2e-7)


def test_edm_preconditioning() -> None:
    """F as Karras et al. (2022) train it: the network sees ``c_in z``, and log(sigma) / 4."""
    oracle = mixture()
    inner = Disguised(oracle, lambda c: ve((4 * c).exp()), "edm")

    def network(x: Tensor, time: Tensor) -> Tensor:
        sigma = (4 * time.double()).exp().view(-1, 1, 1, 1)
        return inner(x * (0.25 + sigma**2).sqrt(), time)

    for prediction, sign in (("edm", 1), ("edm_v", -1)):
        prior = ModelPrior(lambda x, t, sign=sign: sign * network(x, t), VE(), prediction, LogLevel(), shape=SHAPE)
        for eta in ETAS:
            z, levels = randn(2, *SHAPE) * (1 + eta), torch.tensor([eta, 2 * eta])
            torch.testing.assert_close(prior.denoise(z, levels), oracle.denoise(z, levels), rtol=0, atol=1e-6)


@pytest.mark.parametrize("data_range", [(0.0, 1.0), (-0.5, 0.5), (0.0, 255.0)])
def test_data_in_another_range(data_range: tuple[float, float]) -> None:
    """A denoiser of x' = low + (x + 1) (high - low) / 2 is that of x in other units."""
    oracle, (low, high) = mixture(), data_range
    gain = (high - low) / 2

    def theirs(x: Tensor, sigma: Tensor) -> Tensor:
        return low + gain * (oracle.denoise((x - low) / gain - 1, sigma / gain) + 1)

    prior = denoiser_prior(theirs, data_range=data_range, sigma_max=10 * gain, shape=SHAPE)
    z, levels = randn(2, *SHAPE), torch.tensor([0.2, 3.0])
    torch.testing.assert_close(prior.denoise(z, levels), oracle.denoise(z, levels), rtol=0, atol=1e-6)
    assert prior.path.eta_max == pytest.approx(10)
    assert prior.data_variance == pytest.approx(0.25)
    for eta in (0.1, 2.0):
        assert float(prior.path.eta(prior.path.time(eta))) == pytest.approx(eta)
        assert float(prior.path.alpha_of_eta(eta)) == 1


def test_another_path_does_not_change_the_denoiser() -> None:
    """``with_path`` is how a flow sampler looks at a diffusion model."""
    oracle, z, levels = mixture(), randn(2, *SHAPE), torch.tensor([0.3, 3.0])
    prior = wrapped("ddpm v", oracle).with_path(FlowMatching())
    torch.testing.assert_close(prior.denoise(z, levels), oracle.denoise(z, levels), rtol=0, atol=2e-7)
    assert prior.path == FlowMatching()


# --- time that is discrete --------------------------------------------------------------------------------------------


def test_nearest_asks_only_for_steps_that_were_trained_and_is_exact_there() -> None:
    oracle = mixture()
    network = Disguised(oracle, ddpm(linear_betas()), "epsilon")
    prior = ModelPrior(network, DISCRETE, "epsilon", Steps(DISCRETE, "nearest"), shape=SHAPE)
    at_steps = DISCRETE.eta(torch.tensor([1.0, 320.0, 1000.0], dtype=torch.float64) / 1000)
    z = randn(3, *SHAPE) * (1 + at_steps.view(-1, 1, 1, 1))
    torch.testing.assert_close(prior.denoise(z, at_steps), oracle.denoise(z, at_steps), rtol=0, atol=1e-6)
    assert torch.equal(network.calls[-1], torch.tensor([0.0, 319.0, 999.0], dtype=torch.float64))
    between = (at_steps * torch.tensor([3.0, 1.004, 0.996])).double()
    prior.denoise(z, between)
    assert torch.equal(network.calls[-1], network.calls[-1].round())
    torch.testing.assert_close(prior.denoise(z, between), oracle.denoise(z, between), rtol=0, atol=0.02)


def test_nearest_is_exact_for_white_data_at_every_level() -> None:
    """What is held between levels is constant there; also beyond the trained levels."""
    white = GaussianPrior(SHAPE, 0.25 * torch.eye(16, dtype=torch.float64))
    network = Disguised(white, ddpm(linear_betas(40)), "epsilon")
    path = DiscreteVP(tuple(linear_betas(40).tolist()))
    prior = ModelPrior(network, path, "epsilon", Steps(path, "nearest"), shape=SHAPE, data_variance=0.25)
    levels = torch.tensor([0.01, 0.3, 0.5, 3.0, 2 * path.eta_max], dtype=torch.float64)
    z = randn(5, *SHAPE) * (1 + levels.view(-1, 1, 1, 1))
    torch.testing.assert_close(prior.denoise(z, levels), white.denoise(z, levels), rtol=1e-9, atol=1e-9)


def test_between_two_levels_f_is_held() -> None:
    """The module's formula, written out for data that are not white."""
    oracle, path = mixture(), DiscreteVP(tuple(linear_betas(40).tolist()))
    s2 = 0.3
    prior = ModelPrior(
        Disguised(oracle, ddpm(linear_betas(40)), "epsilon"), path, "epsilon", Steps(path, "nearest"), data_variance=s2
    )
    near = path.eta(7 / 40)
    eta, z = 1.02 * near, randn(1, *SHAPE)
    scaled = z * ((s2 + near**2) / (s2 + eta**2)) ** 0.5
    f = (oracle.denoise(scaled, near[None]) - s2 / (s2 + near**2) * scaled) / (s2**0.5 * near) * (s2 + near**2) ** 0.5
    expected = s2 / (s2 + eta**2) * z + s2**0.5 * eta / (s2 + eta**2) ** 0.5 * f
    torch.testing.assert_close(prior.denoise(z, eta[None]), expected, rtol=0, atol=1e-8)


def test_below_the_first_step_nothing_is_invented() -> None:
    """At eta = 0 a measurement of the signal itself is the signal."""
    prior = wrapped("ddpm epsilon", mixture())
    z = randn(2, *SHAPE)
    out = prior.denoise(z, torch.tensor([1e-6, 1e-4]))
    assert float((out - z).abs().max()) < 1e-4


def test_clock_words() -> None:
    path, eta = FlowMatching(), torch.tensor([1.0], dtype=torch.float64)
    said = {word: float(clock_of(word, path)(eta)[0]) for word in ("t", "1-t", "eta", "log", 1000.0)}
    assert said == {"t": 0.5, "1-t": 0.5, "eta": 1.0, "log": 0.0, 1000.0: 500.0}
    for wrong in ("time", 0, -1.0, None, True):
        with pytest.raises(InvalidArgument, match="clock"):
            clock_of(wrong, path)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="between"):
        Steps(DISCRETE, "linear")  # type: ignore[arg-type]


# --- velocity fields --------------------------------------------------------------------------------------------------


class TorchCFM(nn.Module):
    """In the order of torchcfm: ``model(t, x)``, data at t = 1, ``v = x_data - x_noise``."""

    def __init__(self, oracle: Prior) -> None:
        super().__init__()
        self.oracle = oracle

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        t = t.double().view(-1, 1, 1, 1)
        x0 = self.oracle.denoise(x / t, ((1 - t) / t).flatten())
        noise = (x - t * x0) / (1 - t)
        return x0 - noise


def test_velocity_networks_of_both_directions() -> None:
    oracle, levels = mixture(), torch.tensor([0.05, 0.7, 9.0])
    z = randn(3, *SHAPE) * (1 + levels.view(-1, 1, 1, 1).double())
    cfm = TorchCFM(oracle)
    for prior in (
        velocity_prior(cfm, data_at=1, time_first=True, shape=SHAPE),
        velocity_prior(lambda x, t: cfm(t, x), data_at=1, shape=SHAPE),
        velocity_prior(lambda x, t: -cfm(1 - t, x), data_at=0, shape=SHAPE),
        velocity_prior(lambda x, t: cfm(t / 999, x), data_at=1, time_scale=999.0, shape=SHAPE),
        velocity_prior(lambda x, t: -cfm(1 - t / 1000, x), data_at=0, time_scale=1000.0, shape=SHAPE),
    ):
        torch.testing.assert_close(prior.denoise(z, levels), oracle.denoise(z, levels), rtol=0, atol=1e-6)


def test_a_velocity_network_around_an_oracle_restores_to_the_exact_posterior() -> None:
    gaussian = GaussianPrior(SHAPE, 0.1 * torch.eye(16, dtype=torch.float64) + 0.1, mean=0.2 * torch.ones(SHAPE))
    prior = velocity_prior(TorchCFM(gaussian), time_first=True, shape=SHAPE)
    mask, _ = operator("average")
    problem = Problem.simulate(gaussian.sample(1, torch.Generator().manual_seed(0)), mask, noise=0.1, seed=1)
    exact = gaussian.posterior(problem)
    mine = kintsugi.restore(problem, prior, "mmps", steps=250, samples=600, batch=600)
    samples = mine.samples[0].flatten(1)
    truth = exact.mean[0].flatten()
    by_chance = float(exact.covariance.diagonal().sum() / 600) ** 0.5
    assert float((samples.mean(0) - truth).norm()) < 1.5 * by_chance
    assert float(samples.var(0).sum() / exact.covariance.diagonal().sum()) == pytest.approx(1, abs=0.08)
    plain = kintsugi.restore(problem, gaussian.with_path(prior.path), "mmps", steps=250, samples=4)
    torch.testing.assert_close(mine.samples[:, :4], plain.samples, rtol=0, atol=1e-5)


# --- conditions -------------------------------------------------------------------------------------------------------


class Labelled(nn.Module):
    """Class k is ``N(k, 0.1)``; the label 3, none, is N(0, 1)."""

    def forward(self, x: Tensor, time: Tensor, class_labels: Tensor) -> Tensor:
        label, sigma2 = class_labels.view(-1, 1, 1, 1), time.view(-1, 1, 1, 1) ** 2
        mean, variance = torch.where(label == 3, 0, label), torch.where(label == 3, 1.0, 0.1)
        return mean + variance / (variance + sigma2) * (x - mean)


def labelled(null: int | None = 3) -> ModelPrior:
    return ModelPrior(Labelled(), VE(), "sample", Level(), shape=SHAPE, classes=3, null_label=null)


def test_labels_and_classifier_free_guidance() -> None:
    z, eta = randn(2, *SHAPE), torch.tensor([0.5, 0.5])
    without = labelled()
    given = without.with_condition(label=2)
    torch.testing.assert_close(without.denoise(z, eta), z / 1.25)
    torch.testing.assert_close(given.denoise(z, eta), 2 + 0.1 / 0.35 * (z - 2))
    strong = without.with_condition(label=2, guidance_scale=4.0)
    expected = 4 * given.denoise(z, eta) - 3 * without.denoise(z, eta)
    torch.testing.assert_close(strong.denoise(z, eta), expected)
    assert (without.evaluations, given.evaluations, strong.evaluations) == (1, 1, 2)
    problem = Problem.simulate(torch.zeros(1, *SHAPE), operator("mask")[0])
    assert kintsugi.restore(problem, strong, "ddnm", steps=3).cost.forwards == 6
    assert kintsugi.restore(problem, strong, "dps", steps=3).cost.vjps == 6


def test_conditions_that_a_model_does_not_take() -> None:
    problem = Problem.simulate(torch.zeros(1, *SHAPE), operator("mask")[0])
    with pytest.raises(InvalidArgument, match=r"label: expected a class from 0 to 2: prior.with_condition"):
        kintsugi.restore(problem, labelled(null=None), "ddnm", steps=2)
    for words, name in (
        ({"label": 3}, "label"),
        ({"label": -1}, "label"),
        ({"label": 1.0}, "label"),
        ({"guidance_scale": 2.0}, "label"),
        ({"label": 1, "guidance_scale": -1.0}, "guidance_scale"),
        ({"label": 1, "guidance_scale": float("nan")}, "guidance_scale"),
        ({"prompt": "a cat"}, "prompt"),
        ({"label": 1, "prompt": "a cat"}, "label"),
    ):
        with pytest.raises(InvalidArgument, match=name):
            labelled().with_condition(**words)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="guidance_scale"):
        labelled(null=None).with_condition(label=1, guidance_scale=2.0)
    with pytest.raises(InvalidArgument, match="no condition"):
        mixture().with_condition(label=1)


# --- gradients --------------------------------------------------------------------------------------------------------


class Forward(Prior):
    """A prior that cannot be differentiated, and counts."""

    has_vjp = False
    shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.oracle, self.runs = mixture(), 0

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        self.runs += 1
        return self.oracle.denoise(z, eta)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, object]:  # type: ignore[override]
        raise AssertionError("no gradients here")


@pytest.mark.parametrize("name", available_samplers())
def test_methods_that_need_no_vjp_work_without_and_the_others_say_so_first(name: str) -> None:
    prior = Forward()
    problem = Problem.simulate(torch.zeros(1, *SHAPE, dtype=torch.float64), operator("mask")[0], noise=0.05)
    try:
        make_sampler(name).check(prior, problem.whitened())
    except InvalidArgument as refusal:
        pytest.skip(f"{name} does not take this problem: {refusal}")
    if make_sampler(name).needs_vjp:
        with pytest.raises(InvalidArgument, match="without gradients of the network: kintsugi, ddnm"):
            kintsugi.restore(problem, prior, name, steps=2)
        assert prior.runs == 0
    else:
        assert kintsugi.restore(problem, prior, name, steps=2).samples.shape == (1, 1, *SHAPE)


def test_an_onnx_file_is_a_prior_without_gradients(tmp_path: FilePath) -> None:
    file = tmp_path / "denoiser.onnx"
    write_onnx(file)
    prior = kintsugi.load_prior(file)
    z, eta = randn(2, 1, 4, 4).float(), torch.tensor([0.5, 2.0])
    torch.testing.assert_close(prior.denoise(z, eta), z * (0.25 / (0.25 + eta**2)).view(-1, 1, 1, 1))
    assert prior.shape == (1, 4, 4)
    with pytest.raises(InvalidArgument, match="needs no VJP"):
        prior.denoise_vjp(z, eta)
    problem = Problem.simulate(torch.zeros(1, 1, 4, 4), operator("mask")[0])
    assert kintsugi.restore(problem, prior, steps=2).samples.shape == (1, 1, 1, 4, 4)
    with pytest.raises(InvalidArgument, match="without gradients"):
        kintsugi.restore(problem, prior, "dps", steps=2)
    # The same numbers, said to be a prediction of the noise of a DDPM: another meaning.
    noise = kintsugi.load_prior(file, betas=linear_betas().tolist(), prediction="epsilon")
    step = (DISCRETE.time(eta.double()) * 1000 - 1).float().view(-1, 1, 1, 1)
    x = z / (1 + eta**2).sqrt().view(-1, 1, 1, 1)
    expected = z - eta.view(-1, 1, 1, 1) * x * 0.25 / (0.25 + step**2)
    torch.testing.assert_close(noise.denoise(z, eta), expected)
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    for wrong, options in (("broken.onnx", {}), ("none.onnx", {})):
        with pytest.raises(InvalidFile):
            kintsugi.load_prior(tmp_path / wrong, **options)
    for options, name in (({"path": "straight"}, "path"), ({"clock": "?"}, "clock"), ({"size": 3}, "size")):
        with pytest.raises(InvalidArgument, match=name):
            kintsugi.load_prior(file, **options)


def write_onnx(file: FilePath) -> None:
    """``0.25 / (0.25 + sigma^2) x``: the denoiser of white data."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Reshape", ["sigma", "shape"], ["s"]),
        helper.make_node("Mul", ["s", "s"], ["s2"]),
        helper.make_node("Add", ["s2", "quarter"], ["total"]),
        helper.make_node("Div", ["quarter", "total"], ["weight"]),
        helper.make_node("Mul", ["weight", "x"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "denoiser",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 1, 4, 4]),
         helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["b"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", 1, 4, 4])],
        [helper.make_tensor("shape", TensorProto.INT64, [4], [-1, 1, 1, 1]),
         helper.make_tensor("quarter", TensorProto.FLOAT, [], [0.25])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, file)


# --- windows ----------------------------------------------------------------------------------------------------------


class Pointwise(Prior):
    """A denoiser of single pixels, for images of 8 x 6: windows of it are exact."""

    shape = (1, 8, 6)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        assert z.shape[1:] == (1, 8, 6)
        return torch.tanh(z / (1 + eta.view(-1, 1, 1, 1) ** 2))


@pytest.mark.parametrize("size", [(8, 6), (9, 6), (20, 31), (5, 17), (3, 2), (1, 40)])
@pytest.mark.parametrize("overlap", [0, 2, 5])
def test_windows_of_a_pointwise_denoiser_are_exact(size: tuple[int, int], overlap: int) -> None:
    inner, z, v = Pointwise(), randn(2, 1, *size), randn(2, 1, *size, seed=1)
    eta = torch.tensor([0.3, 1.2])
    prior = Windows(inner, overlap)
    leaf = z.clone().requires_grad_(True)
    exact = torch.tanh(leaf / (1 + eta.view(-1, 1, 1, 1) ** 2))
    d, pull = prior.denoise_vjp(z, eta)
    torch.testing.assert_close(d, exact.detach())
    torch.testing.assert_close(pull(v), torch.autograd.grad(exact, leaf, v)[0])
    torch.testing.assert_close(pull(v), pull(v))


class Places(Prior):
    """Answers with the place of a pixel in its window."""

    shape = (1, 1, 4)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return torch.arange(4.0).to(z).expand_as(z)


def test_windows_that_disagree_are_blended() -> None:
    """Windows at 0 and 2, weights that fall to a third over an overlap of two pixels: [2/3, 1/3] against [1/3, 2/3]."""
    prior = Windows(Places(), 0)
    assert prior.denoise(randn(1, 1, 1, 8), torch.ones(1)).flatten().tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    wide = Places()
    wide.shape = (1, 4, 4)
    blended = Windows(wide, 2).denoise(randn(1, 1, 4, 6), torch.ones(1))[0, 0, 0]
    third = 1 / 3
    expected = [0, 1, (2 * 2 * third + 0 * third), (3 * third + 1 * 2 * third), 2, 3]
    torch.testing.assert_close(blended, torch.tensor(expected, dtype=torch.float64))


def test_windows_pass_conditions_and_checks_on() -> None:
    inner = ModelPrior(Labelled(), VE(), "sample", Level(), shape=(1, 4, 4), classes=3)
    wide = Windows(inner, 1)
    with pytest.raises(InvalidArgument, match=r"label: expected a class"):
        wide.check()
    z, eta = randn(1, 1, 4, 7), torch.tensor([0.5])
    given = wide.with_condition(label=2)
    given.check()
    torch.testing.assert_close(given.denoise(z, eta), 2 + 0.1 / 0.35 * (z - 2))
    torch.testing.assert_close(wide.with_condition(label=1).denoise(z, eta), 1 + 0.1 / 0.35 * (z - 1))
    assert wide.inner is inner
    assert inner.condition is None


def test_windows_refuse_what_they_cannot_do() -> None:
    with pytest.raises(InvalidArgument, match="overlap"):
        Windows(Pointwise(), 6)
    with pytest.raises(InvalidArgument, match="this one takes any"):
        Windows(kintsugi.load_prior("photo"))


def test_an_image_of_another_size_is_an_error_that_says_what_to_do() -> None:
    from kintsugi.operators import Mask

    problem = Problem.simulate(torch.zeros(1, 1, 16, 16), Mask(torch.ones(16, 16), (1, 16, 16)))
    with pytest.raises(InvalidArgument, match="windows"):
        kintsugi.restore(problem, Pointwise(), "ddnm", steps=2)
    assert kintsugi.restore(problem, Windows(Pointwise(), 2), "ddnm", steps=2).samples.shape == (1, 1, 1, 16, 16)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_arguments_that_make_no_prior() -> None:
    good = {"network": lambda x, t: x, "path": VE(), "prediction": "sample", "clock": Level()}
    for name, value in (
        ("network", 3),
        ("prediction", "noise"),
        ("data_range", (1.0, 0.0)),
        ("data_range", (0.0, float("inf"))),
        ("data_variance", 0.0),
    ):
        with pytest.raises(InvalidArgument, match=name):
            ModelPrior(**{**good, name: value})  # type: ignore[arg-type]
    for words, name in (({"data_at": 2}, "data_at"), ({"time_scale": 0.0}, "time_scale")):
        with pytest.raises(InvalidArgument, match=name):
            velocity_prior(lambda x, t: x, **words)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="network"):
        denoiser_prior("drunet")  # type: ignore[arg-type]


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(MissingPackage, match=r"an ONNX file needs no_such_package: pip install .*\[onnx\]"):
        optional("no_such_package", "onnx", "an ONNX file")


def test_a_network_that_refuses_a_size_is_a_clear_error() -> None:
    """As a U-Net that cannot halve it does; what is no fault of the arguments is raised as it is."""

    def halving(z: Tensor, eta: Tensor) -> Tensor:
        down = torch.nn.functional.avg_pool2d(z, 2)
        return z + torch.nn.functional.interpolate(down, scale_factor=2.0)

    prior = denoiser_prior(halving)
    assert prior.denoise(torch.zeros(1, 3, 4, 4), torch.ones(1)).shape == (1, 3, 4, 4)
    with pytest.raises(InvalidArgument, match=r"prior: expected a network that takes signals of shape \(3, 5, 5\)"):
        prior.denoise(torch.zeros(1, 3, 5, 5), torch.ones(1))

    def full(z: Tensor, eta: Tensor) -> Tensor:
        raise MemoryError

    with pytest.raises(MemoryError):
        denoiser_prior(full).denoise(torch.zeros(1, 3, 4, 4), torch.ones(1))
