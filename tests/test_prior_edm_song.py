"""EDM's SongUNet checkpoints against a literal network and EDM's own preconditioning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.paths import VE
from kintsugi.priors import ncsnpp
from kintsugi.priors.edm_song import convert, load, recognises
from literal_edm_song import Song, edm_denoiser, random_state

ETAS = (2e-3, 0.05, 0.7, 4.0, 80.0)
DDPMPP = Song(blocks=2, augment=9)
NCSNPP = Song(multipliers=(1, 2, 2), fourier=True, residual=True, fir=True, attention=(8, 4))
CASES = {
    "ddpmpp": DDPMPP,
    "ncsnpp": NCSNPP,
    "classes": Song(classes=5, augment=9),
    "fourier-classes": Song(fourier=True, classes=3, channels=1),
    "no-attention": Song(attention=(), fir=True),
}


def noise(song: Song, seed: int = 1) -> Tensor:
    shape = (2, song.channels, song.size, song.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_denoiser_and_vjp_are_edms(name: str) -> None:
    song = CASES[name]
    # Random in single precision, so that a float32 model holds the same numbers.
    state = {key: value.float().double() for key, value in random_state(song).items()}
    prior = load({f"model.{key}": value for key, value in state.items()})
    labels = None
    if song.classes:
        prior = prior.with_condition(label=2)
        labels = torch.eye(song.classes, dtype=torch.float64)[[2, 2]]
    prior.network.double()
    for eta in ETAS:
        z, v = noise(song) * (0.5 + eta), noise(song, seed=2)
        leaf = z.clone().requires_grad_(True)
        theirs = edm_denoiser(song, state, leaf, eta, labels)
        (grad,) = torch.autograd.grad(theirs, leaf, v)
        d, vjp = prior.denoise_vjp(z, torch.full((2,), eta, dtype=torch.float64))
        moved = theirs.detach() - z
        assert float((d - z - moved).norm() / moved.norm()) < 1e-8
        assert float((vjp(v) - grad).norm() / grad.norm()) < 1e-8


def test_the_layout_is_read_from_the_keys() -> None:
    assert convert(random_state(NCSNPP)).spec.config == {
        "kind": "edm", "channels": 3, "width": 8, "multipliers": (1, 2, 2), "blocks": 1, "attention": (0, 1),
        "fourier": True, "fir": True, "progressive_input": "residual",
    }  # fmt: skip
    prior = load(random_state(CASES["classes"]), card={"name": "cifar"})
    assert (prior.shape, prior.path, prior.data_variance, prior.classes) == ((3, 8, 8), VE(80.0), 0.25, 5)
    assert prior.card == {"name": "cifar"}
    with pytest.raises(InvalidArgument, match="label"):
        prior.check()


def test_parameters_without_buffers_tell_the_filter_by_the_pyramid() -> None:
    for song in (DDPMPP, NCSNPP):
        bare = {name: value for name, value in random_state(song).items() if "resample_filter" not in name}
        assert convert(bare).spec == convert(random_state(song)).spec


def test_errors_name_what_is_wrong() -> None:
    state = random_state(DDPMPP)
    assert recognises(state)
    assert not ncsnpp.recognises(state)
    assert not recognises({"map_layer0.weight": torch.zeros(1), "out_conv.weight": torch.zeros(1)})
    with pytest.raises(InvalidArgument, match="state: expected weights of EDM's SongUNet"):
        load({"map_layer0.weight": torch.zeros(1)})
    with pytest.raises(InvalidArgument, match=r"state: .* none called dec\.4x4_in1\.conv0\.bias"):
        load({name: value for name, value in state.items() if name != "dec.4x4_in1.conv0.bias"})
    with pytest.raises(InvalidArgument, match=r"state: .* no others, got enc\.4x4_aux_skip\.weight"):
        load(state | {"enc.4x4_aux_skip.weight": torch.zeros(1)})
    with pytest.raises(InvalidArgument, match=r"qkv\.weight of 10 rows"):
        load(state | {"dec.4x4_in0.qkv.weight": torch.zeros(10, 16, 1, 1)})
    with pytest.raises(InvalidArgument, match="checkpoint: expected weights that fit"):
        load(state | {"dec.4x4_in0.conv1.bias": torch.zeros(7)})
