"""Measurements that are not linear: derivatives, pseudo-inverses, rows, and what each must reproduce."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor

import kintsugi
from kintsugi import data_path
from kintsugi.errors import InvalidArgument
from kintsugi.images import read_picture
from kintsugi.operators import (
    HDR,
    JPEG,
    Bicubic,
    Blur,
    Clip,
    CodedDiffraction,
    Gamma,
    Magnitude,
    Nonlinear,
    Operator,
    Quantise,
    Response,
    StationaryCovariance,
    align,
    check_adjoint,
    check_vjp,
    hybrid_input_output,
    motion_kernel,
    spectral_start,
    with_pinv,
)
from kintsugi.operators.intervals import Intervals, conditional_mean_behind, sample_variance, truncated_moments
from kintsugi.operators.jpeg import quality_tables

ODD = (2, 7, 10)
CURVE = [-1.0, -0.2, 0.5, 0.8, 1.0]


def smooth_operators() -> dict[str, Operator]:
    """Those with a derivative nearly everywhere that the function itself shows."""
    return {
        "magnitude": Magnitude(ODD),
        "magnitude of complex, once and a half": Magnitude(ODD, 1.5, in_complex=True),
        "magnitude of a density": Magnitude(ODD, 2, offset=1.0),
        "magnitude of a line": Magnitude((1, 9)),
        "coded": CodedDiffraction(ODD, 3, 1),
        "coded, uniform, complex": CodedDiffraction(ODD, 2, kind="uniform", in_complex=True),
        "clip": Clip(ODD, 2.0),
        "gamma": Gamma(ODD, 2.2),
        "gamma that brightens": Gamma(ODD, 0.45),
        "response": Response(ODD, CURVE),
        "saturated blur": Clip(ODD, 2.0) @ Blur(ODD, motion_kernel(3, 20)),
        "function": Nonlinear(torch.tanh, ODD),
        "function of complex": Nonlinear(lambda x: x.abs().square(), ODD, in_complex=True),
    }


def all_operators() -> dict[str, Operator]:
    rounded: dict[str, Operator] = {
        "quantise": Quantise(ODD, 3),
        "jpeg": JPEG((3, 21, 13), 40),
        "jpeg 4:2:2": JPEG((3, 21, 13), 80, "4:2:2"),
        "jpeg grey": JPEG((1, 9, 11), 30),
        "real jpeg": JPEG((3, 17, 10), 60, codec="pillow"),
        "with a start": with_pinv(Magnitude(ODD), lambda y: torch.zeros(len(y), *ODD).to(y)),
    }
    return smooth_operators() | rounded


SMOOTH, ALL = list(smooth_operators()), list(all_operators())


def signal(operator: Operator, rows: int = 2, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(rows, *operator.in_shape, generator=generator, dtype=dtype) - 1
    if operator.in_complex:
        x = torch.complex(x, 2 * torch.rand(x.shape, generator=generator, dtype=dtype) - 1)
    return x


def photo(height: int, width: int, channels: int = 3) -> Tensor:
    pixels = read_picture(data_path("lighthouse.png")).pixels[None, :, :height, :width]
    return pixels if channels == 3 else pixels.mean(1, keepdim=True)


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10(max(float(((a - b) / 2).square().mean()), 1e-12))


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
def test_the_vjp_is_that_of_finite_differences(name: str) -> None:
    """Central differences in float64, with a step of 1e-6."""
    assert check_vjp(smooth_operators()[name]) < 1e-6


@pytest.mark.parametrize("name", ALL)
def test_jvp_and_vjp_are_adjoint(name: str) -> None:
    operator = all_operators()[name]
    x, w = signal(operator), signal(operator, seed=1)
    y, product = operator.vjp(x)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(y)
    left, right = (v.conj() * operator.jvp(x, w)).real.sum(), (product(v).conj() * w).real.sum()
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
    assert float(left.abs()) > 1e-6
    torch.testing.assert_close(y, operator(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_its_rows(name: str) -> None:
    operator = all_operators()[name]
    x = signal(operator, 3)
    together = operator(x)
    assert together.shape == (3, *operator.out_shape)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], operator(x[i : i + 1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_precision_is_that_of_the_signal(name: str) -> None:
    operator = all_operators()[name]
    narrow, wide = (torch.complex64, torch.complex128) if operator.in_complex else (torch.float32, torch.float64)
    x = signal(operator).to(narrow)
    single, double = operator(x), operator(x.to(wide))
    assert single.dtype == torch.float32
    if "jpeg" not in name:  # whose roundings fall either way
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ALL if all_operators()[name].has_pinv and "start" not in name])
def test_a_pseudo_inverse_reproduces_what_was_measured(name: str) -> None:
    operator = all_operators()[name]
    if isinstance(operator, JPEG) or "blur" in name:
        pytest.skip("to rounding: its own tests")
    y = operator(signal(operator))
    torch.testing.assert_close(operator(operator.pinv(y)), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_description_is_json(name: str) -> None:
    described = all_operators()[name].describe()
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Magnitude((1, 4, 4), 0.5), "oversample"),
        (lambda: Magnitude((1, 4, 4), offset=math.inf), "offset"),
        (lambda: CodedDiffraction((1, 4, 4), 0), "patterns"),
        (lambda: CodedDiffraction((1, 4, 4), kind="plain"), "kind"),  # type: ignore[arg-type]
        (lambda: Clip((1, 4, 4), 0.0), "gain"),
        (lambda: Clip((1, 4, 4), 1.0, 1.0, -1.0), "low"),
        (lambda: Clip((1, 4, 4), bounds=(1.0, 0.0)), "bounds"),
        (lambda: Gamma((1, 4, 4), 0.0), "gamma"),
        (lambda: Response((1, 4, 4), [0.0, 0.0]), "outputs"),
        (lambda: Response((1, 4, 4), [0.0, 1.0], [0.0, 0.5, 1.0]), "inputs"),
        (lambda: Quantise((1, 4, 4), 0), "bits"),
        (lambda: Quantise((1, 4, 4), True), "bits"),
        (lambda: JPEG((2, 8, 8), 50), "shape"),
        (lambda: JPEG((3, 8, 8), 0), "quality"),
        (lambda: JPEG((3, 8, 8)), "quality"),
        (lambda: JPEG((3, 8, 8), 50, tables=quality_tables(50)), "quality"),
        (lambda: JPEG((3, 8, 8), 50, "4:1:1"), "subsampling"),  # type: ignore[arg-type]
        (lambda: JPEG((3, 8, 8), 50, codec="mozjpeg"), "codec"),  # type: ignore[arg-type]
        (lambda: JPEG((3, 8, 8), tables=[[1] * 63]), "tables"),
        (lambda: Nonlinear(3, (1, 4, 4)), "function"),  # type: ignore[arg-type]
        (lambda: Nonlinear(lambda x: x @ torch.ones(7, 7), (1, 4, 4)), "function"),
        (lambda: Nonlinear(lambda x: x.sum(), (1, 4, 4)), "function"),
        (lambda: Nonlinear(lambda x: x - x.mean(), (1, 4, 4)), "function"),
        (lambda: Nonlinear(lambda x: x + torch.rand_like(x), (1, 4, 4)), "function"),
        (lambda: Nonlinear(lambda x: x.detach(), (1, 4, 4)), "function"),
        (lambda: Nonlinear(lambda x: (x > 0).long(), (1, 4, 4), pinv=lambda y: y), "function"),
    ],
)
def test_a_bad_argument_is_named(make: object, argument: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{argument}: "):
        make()  # type: ignore[operator]


def test_the_kind_of_number_is_checked() -> None:
    with pytest.raises(InvalidArgument, match=r"^x: expected real"):
        Magnitude(ODD)(torch.zeros(1, *ODD, dtype=torch.complex64))
    with pytest.raises(InvalidArgument, match=r"^x: expected complex"):
        Magnitude(ODD, in_complex=True)(torch.zeros(1, *ODD))


def test_a_function_without_forward_mode_has_a_jvp() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, v: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return 3 * x**2 * v

    operator = Nonlinear(lambda x: Cube.apply(x), ODD)  # type: ignore[no-untyped-call]
    x, v = signal(operator), signal(operator, seed=1)
    torch.testing.assert_close(operator.jvp(x, v), 3 * x**2 * v)
    with torch.inference_mode():
        torch.testing.assert_close(operator.jvp(x, v), 3 * x**2 * v)


# --- phase ------------------------------------------------------------------------------------------------------------


def test_magnitude_is_the_modulus_of_the_padded_transform() -> None:
    x = signal(Magnitude(ODD))
    expected = torch.fft.fftn(x + 0.5, s=(14, 20), dim=(2, 3)).abs() / 70**0.5
    torch.testing.assert_close(Magnitude(ODD, offset=0.5)(x), expected, rtol=1e-9, atol=1e-9)


def test_coded_diffraction_is_a_stack_of_moduli_and_keeps_the_energy() -> None:
    operator = CodedDiffraction(ODD, 3, seed=4)
    x = signal(operator)
    expected = [torch.fft.fft2(operator.masks[k] * x, norm="ortho").abs() for k in range(3)]
    torch.testing.assert_close(operator(x), torch.cat(expected, 1), rtol=1e-9, atol=1e-9)
    big = CodedDiffraction((1, 64, 64), 8)
    # |b|^2 has mean 1 and variance 1: over 32768 masks 1 +- 0.006.
    assert float(big.masks.abs().square().mean()) == pytest.approx(1, abs=0.025)
    assert set(np.unique(big.masks.abs().square().numpy().round(6))) == {0.5, 3.0}


@pytest.mark.parametrize("in_complex", [False, True])
def test_the_field_has_its_adjoint(in_complex: bool) -> None:
    for operator in (Magnitude(ODD, 1.6, in_complex=in_complex), CodedDiffraction(ODD, 2, in_complex=in_complex)):
        x = signal(operator)
        u = torch.randn(2, *operator.out_shape, generator=torch.Generator().manual_seed(1), dtype=torch.complex128)
        left, right = (operator.field(x).conj() * u).real.sum(), (x.conj() * operator.field_adjoint(u)).real.sum()
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(operator.impose(operator.field(x), operator.field(x).abs()), x) if isinstance(
            operator, Magnitude
        ) else None


def test_ambiguities_leave_the_modulus_and_align_undoes_them() -> None:
    operator = Magnitude(ODD)
    x = signal(operator)
    changed = torch.cat((-x[:, :1], x[:, 1:].flip((2, 3))), 1)
    torch.testing.assert_close(operator(changed), operator(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(align(changed, x), x)
    turned = CodedDiffraction(ODD, in_complex=True)
    z = signal(turned)
    torch.testing.assert_close(align(z * (0.6 + 0.8j), z, mirrored=False), z)


def test_coded_diffraction_is_solved_from_its_spectral_start() -> None:
    """Six patterns of a random signal, without noise: exactly, up to the sign."""
    operator = CodedDiffraction((2, 16, 17), 6)
    x = signal(operator, 2)
    found = align(spectral_start(operator, operator(x), refine=300), x, mirrored=False)
    assert float((found - x).norm() / x.norm()) < 1e-3
    alone = spectral_start(operator, operator(x)[1:], refine=300)
    torch.testing.assert_close(align(alone, x[1:], mirrored=False), found[1:], rtol=1e-6, atol=1e-6)


def test_hybrid_input_output_finds_a_density() -> None:
    """A photograph from its modulus alone, without a prior; its channels end up the same way round."""
    x = photo(24, 20).double()
    operator = Magnitude(x.shape[1:], offset=1.0)
    found = hybrid_input_output(operator, operator(x), starts=4, iterations=300)
    assert float((operator(found) - operator(x)).norm() / operator(x).norm()) < 0.01
    turns = [float((turn - x).square().mean().sqrt()) for turn in (found, found.flip((2, 3)))]
    assert min(turns) < 0.1


# --- cameras ----------------------------------------------------------------------------------------------------------


def test_curves_follow_their_formulas() -> None:
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).view(1, 1, 1, 10)
    torch.testing.assert_close(HDR((1, 1, 10))(x), (2 * x).clamp(-1, 1))
    torch.testing.assert_close(Gamma((1, 1, 10), 2.2)(x), 2 * ((x + 1) / 2) ** 2.2 - 1)
    expected = np.interp(x.flatten().numpy(), np.linspace(-1, 1, 5), CURVE)
    np.testing.assert_allclose(Response((1, 1, 10), CURVE)(x).flatten().numpy(), expected, atol=1e-12)
    outside = torch.tensor([[[[-1.5, 1.5]]]], dtype=torch.float64)
    for operator in (Gamma((1, 1, 2), 2.2), Gamma((1, 1, 2), 0.4), Response((1, 1, 2), CURVE)):
        torch.testing.assert_close(operator.pinv(operator(outside)), outside)


def test_levels_are_those_of_a_file() -> None:
    x = signal(Quantise(ODD, 8))
    torch.testing.assert_close(Quantise(ODD, 8)(x), ((x + 1) * 127.5).round() / 127.5 - 1)
    two = Quantise(ODD, 1)(x)
    assert set(two.unique().tolist()) == {-1.0, 1.0}
    assert Quantise(ODD, 2).deviation == pytest.approx(2 / 3 / math.sqrt(12))


def test_the_slope_of_a_clip_is_zero_outside_or_straight_through() -> None:
    x = torch.tensor([[[[-0.8, -0.5, 0.1, 0.5, 0.51]]]], dtype=torch.float64)
    assert Clip((1, 1, 5), 2.0).slope(x).flatten().tolist() == [0, 2, 2, 2, 0]
    assert Clip((1, 1, 5), 2.0, through=True).slope(x).flatten().tolist() == [2] * 5
    third = Clip((1, 1, 5), 3.0)
    assert bool((third.slope(third.pinv(third(torch.ones_like(x)))) == 3).all())


# --- intervals --------------------------------------------------------------------------------------------------------


def test_truncated_moments_are_those_of_scipy() -> None:
    cases = [(0.0, 1.0, -1.0, 2.0), (3.0, 0.5, -1.0, 1.0), (-4.0, 2.0, 0.5, math.inf), (0.2, 1.0, -math.inf, -3.0),
             (0.1, 4.0, 0.3, 0.301), (-30.0, 1.0, 0.0, 1.0)]  # fmt: skip
    for mean, variance, lower, upper in cases:
        scale = variance**0.5
        exact = stats.truncnorm((lower - mean) / scale, (upper - mean) / scale, mean, scale)
        got = truncated_moments(*(torch.tensor(v, dtype=torch.float64) for v in (mean, variance, lower, upper)))
        assert float(got[0]) == pytest.approx(exact.mean(), rel=1e-6, abs=1e-6)
        assert float(got[1]) == pytest.approx(exact.var(), rel=2e-3, abs=1e-9)


def interval_operators() -> list[Intervals]:
    return [Clip(ODD, 2.0), Quantise(ODD, 3), Gamma(ODD, 2.2), JPEG((3, 32, 48), 30), JPEG((1, 32, 48), 50)]


@pytest.mark.parametrize("operator", interval_operators(), ids=lambda operator: type(operator).__name__)
def test_the_truth_lies_in_the_intervals_of_its_measurement(operator: Intervals) -> None:
    x = 0.7 * photo(32, 48, operator.in_shape[0]) if isinstance(operator, JPEG) else signal(operator)
    x = x.double()
    y = operator(x)
    lower, upper = operator.interval(y)
    t = operator.transform(x)
    slack = 0.02 if isinstance(operator, JPEG) else 1e-9  # the roundings to grey levels, in the units of the data
    assert bool((t >= lower - slack).all())
    assert bool((t <= upper + slack).all())
    near = operator.nearest(0.3 * x, y)
    moved = operator.transform(near)
    assert bool((moved >= lower - 1e-9).all() and (moved <= upper + 1e-9).all())
    torch.testing.assert_close(operator.nearest(near, y), near, rtol=1e-9, atol=1e-9)


def spectrum(radius: Tensor) -> Tensor:
    return torch.stack((0.01 / (radius**2 + 0.01), 0.002 / (radius**2 + 0.04)))


def test_variances_are_the_diagonal_of_the_covariance() -> None:
    covariance = StationaryCovariance(spectrum)
    like = torch.zeros(1, 3, 9, 10, dtype=torch.float64)
    unit = torch.zeros_like(like)
    unit[0, 1, 4, 4] = 1
    assert float(sample_variance(covariance, like)) == pytest.approx(float(covariance(unit)[0, 1, 4, 4]))
    jpeg = JPEG((3, 48, 48), 40)
    diagonal = jpeg.variances(covariance, torch.zeros(1, 3, 48, 48, dtype=torch.float64))
    for index in (0, 48 * 17 + 20, 48 * 48 + 3):
        unit = torch.zeros(1, *jpeg.linear.out_shape, dtype=torch.float64)
        unit[0, 0, index] = 1
        sent = jpeg.linear.adjoint(unit)
        # Border blocks repeat pixels and vary a little more or less than the one in the middle that was measured.
        assert float(diagonal[0, 0, index]) == pytest.approx(float((sent * covariance(sent)).sum()), rel=0.05)


def test_the_mean_within_intervals_is_exact_for_independent_samples() -> None:
    """Against SciPy; and behind the identity one step of expectation propagation is the same."""
    white = StationaryCovariance(lambda radius: torch.full((2, *radius.shape), 0.04).to(radius))
    operator = Clip(ODD, 2.0)
    operator.tail = 1.0
    x = signal(operator, 1)
    y, d = operator(x), 0.6 * x
    got = operator.conditional_mean(d, y, white)
    lower, upper = operator.interval(y)
    exact = stats.truncnorm.mean(((lower - d) / 0.2).numpy(), ((upper - d) / 0.2).numpy(), d.numpy(), 0.2)
    np.testing.assert_allclose(got.numpy(), exact, atol=1e-6)
    identity = Blur(ODD, torch.ones(1, 1))
    from kintsugi.operators import Accuracy

    behind = conditional_mean_behind(operator, identity, d, y, white, accuracy=Accuracy(1e-10, 200))
    assert float((behind - got).abs().max()) < 0.02  # v is that of a draw of 140 numbers: 12 % off


# --- JPEG -------------------------------------------------------------------------------------------------------------


def test_the_tables_are_those_of_pillow() -> None:
    for quality in (1, 10, 49, 50, 75, 92, 100):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            tables = image.quantization  # type: ignore[attr-defined]
        assert [tuple(tables[0]), tuple(tables[1])] == list(quality_tables(quality))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize(("height", "width"), [(64, 80), (51, 77), (17, 16), (3, 2)])
def test_the_surrogate_is_pillow_but_for_rounding(height: int, width: int, subsampling: str) -> None:
    x = photo(height, width)
    for quality in (10, 50, 90):
        surrogate = JPEG(x.shape[1:], quality, subsampling)  # type: ignore[arg-type]
        real = surrogate.with_codec("pillow")(x)
        # Coefficients on the edge of a step fall either way: a few blocks, by one step.
        assert psnr(surrogate(x), real) > 45
        assert float((surrogate(x) - real).abs().median()) < 0.6 / 127.5


def test_a_grey_picture_and_tables_of_its_own() -> None:
    x = photo(30, 21, 1)
    operator = JPEG(x.shape[1:], tables=[[7] * 64], codec="pillow")
    with Image.open(io.BytesIO(operator.encode(np.zeros((30, 21, 1), np.uint8)))) as image:
        assert list(image.quantization[0]) == [7] * 64  # type: ignore[attr-defined]
        assert image.mode == "L"
    assert psnr(operator.with_codec("surrogate")(x), operator(x)) > 45


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_saving_again_changes_little(subsampling: str) -> None:
    """A(A^+ y) = y to rounding; with averaged colours, to what the triangle filter blurs."""
    x = photo(64, 80)
    operator = JPEG(x.shape[1:], 50, subsampling, "pillow")  # type: ignore[arg-type]
    y = operator(x)
    assert torch.equal(operator.pinv(y), y)
    assert float((operator(y) - y).square().mean().sqrt()) * 127.5 < (0.5 if subsampling == "4:4:4" else 1.0)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_coefficients_are_read_back_from_the_decoded_picture(subsampling: str) -> None:
    """Against those that the surrogate rounds to; where no decoded pixel was clipped they are found exactly."""
    x = 0.7 * photo(45, 52)
    operator = JPEG(x.shape[1:], 30, subsampling)  # type: ignore[arg-type]
    lower, upper = operator.interval(operator(x))
    t = operator.transform(x)
    inside = (t >= lower - 0.02) & (t <= upper + 0.02)
    assert float(inside.double().mean()) > 0.999
    problem = operator.linear_problem(operator(x))
    residual = problem[0] - problem[1](x)
    assert float(residual.std()) < 1.1 * problem[2]


@pytest.mark.parametrize("operator", [JPEG((3, 32, 16), 40), JPEG((3, 8, 16), 80, "4:2:2"), JPEG((1, 9, 9), 50)])
def test_the_linear_part_has_its_adjoint_and_its_inverse(operator: JPEG) -> None:
    linear = operator.linear
    assert check_adjoint(linear) < 1e-12
    assert check_adjoint(linear, dtype=torch.float32) < 1e-6
    t = linear(signal(operator))
    torch.testing.assert_close(linear(linear.back(t)), t, rtol=1e-6, atol=1e-6)
    odd = JPEG((operator.in_shape[0], 21, 14), 40).linear  # blocks that are not full repeat pixels
    assert check_adjoint(odd) < 1e-12


def test_jpeg_after_a_decimation_is_a_chain() -> None:
    operator = JPEG((3, 12, 13), 60) @ Bicubic((3, 24, 26), 2)
    x = signal(operator)
    torch.testing.assert_close(operator(x), JPEG((3, 12, 13), 60)(Bicubic((3, 24, 26), 2)(x)))
    assert operator.has_pinv


# --- restorations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "gain"),
    [(JPEG((3, 64, 64), 10, codec="pillow"), 0.5), (Quantise((3, 64, 64), 3), 1.0), (HDR((3, 64, 64)), 4.0)],
    ids=["jpeg", "quantise", "hdr"],
)
def test_the_default_sampler_improves_on_the_pseudo_inverse(operator: Intervals, gain: float) -> None:
    """In 5 steps with the bundled model, by at least so many dB."""
    x = read_picture(data_path("lighthouse.png")).pixels[None, :, 30:94, 70:134]
    y = operator(x)
    restored = kintsugi.restore(kintsugi.Problem(y, operator)).samples[:, 0]
    assert psnr(restored.clamp(-1, 1), x) > psnr(operator.pinv(y), x) + gain


def test_phase_retrieval_is_recognised() -> None:
    """Four coded patterns, RED-diff from the spectral start: 38 dB; 30 is a picture that one knows at sight."""
    x = read_picture(data_path("lighthouse.png")).pixels[None, :, 30:94, 70:134]
    coded = CodedDiffraction(x.shape[1:], 4)
    problem = kintsugi.Problem.simulate(x, with_pinv(coded, lambda y: spectral_start(coded, y)), 0.02)
    restored = kintsugi.restore(problem, sampler="reddiff", steps=100).samples[:, 0]
    assert psnr(align(restored, x, mirrored=False), x) > 34
