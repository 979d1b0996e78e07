"""Hostile folders of diffusers: indices that name code, configurations that are not, weights that are damaged."""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import test_faults_models as models
import torch
from corrupt import damaged
from hypothesis import strategies as st
from judge import Broken, Door, judge, passes, warm

from kintsugi.errors import InvalidFile
from kintsugi.priors import load_prior

diffusers = pytest.importorskip("diffusers")

Tree = dict[str, bytes]
INDEX, NET, STEPS = "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
CODE = b"open('ran', 'w')\n\n\nclass X:\n    pass\n"


@cache
def good() -> Tree:
    """A pipeline with random weights, as diffusers saves it."""
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2, attention_head_dim=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        diffusers.DDPMPipeline(net, diffusers.DDPMScheduler()).save_pretrained(name)
        return {str(p.relative_to(name)): p.read_bytes() for p in Path(name).rglob("*") if p.is_file()}


ODD: tuple[Any, ...] = (*models.ODD, ["diffusers", "X"], ["evil", "X"], ["os", "system"], ["../evil", "X"],
                        ["diffusers"], "evil", "../x", "/etc/passwd", [None, None], ["transformers", "CLIPTextModel"],
                        ["pipe", "X"])  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """The good folder with one or two of its files changed, gone, or joined by others."""
    tree = dict(good())
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from((INDEX, NET, STEPS, WEIGHTS)))
        way = draw(st.sampled_from(("values", "values", "values", "damage", "drop", "more")))
        if way == "values" and name in tree and name != WEIGHTS:
            try:
                said = json.loads(tree[name])
                assert isinstance(said, dict)
            except (ValueError, AssertionError):  # damaged before
                continue
            said[draw(st.sampled_from((*sorted(said), "new", "auto_map", "trained_betas")))] = draw(
                st.sampled_from(ODD)
            )
            tree[name] = json.dumps(said).encode()
        elif way == "damage" and name in tree:
            tree[name] = draw(damaged(tree[name]))
        elif way == "drop":
            tree.pop(name, None)
        else:
            other = draw(st.sampled_from(("evil.py", "unet/evil.py", "unet/modeling.py", "pipeline.py", "pipe.py")))
            tree[other] = CODE
    if WEIGHTS not in tree and draw(st.booleans()):
        tree["unet/diffusion_pytorch_model.bin"] = draw(
            st.sampled_from([p for p in models.pickles() if len(p) < 10_000])
        )
    return tree


def act(tree: Tree, folder: Path) -> None:
    """No code of the folder has run, nothing was written to it, and what was loaded denoises."""
    root = folder / "model"
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    here = Path.cwd()
    os.chdir(folder)
    try:
        models.check_prior(load_prior(root))
    finally:
        os.chdir(here)
        made = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} - set(tree)
        if made or (folder / "ran").exists():
            raise Broken(f"files that should not be: {made or 'ran'}")


PIPELINES = Door("pipelines", trees(), act, good(), seconds=2.0)
DOORS = (PIPELINES,)

test_pipelines = passes(PIPELINES)


@pytest.mark.parametrize("part", [["evil", "X"], ["unet.evil", "X"], ["os", "system"], ["antigravity", "x"]])
def test_code_that_an_index_names_is_not_run(part: list[str], tmp_path: Path) -> None:
    warm(PIPELINES)
    tree = dict(good()) | {"unet/evil.py": CODE, "evil.py": CODE}
    tree[INDEX] = json.dumps(json.loads(tree[INDEX]) | {"unet": part}).encode()
    assert judge(PIPELINES, tree).outcome == "InvalidFile"


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    from safetensors.torch import load, save

    weights = load(good()[WEIGHTS])
    weights["conv_in.bias"][0] = float("nan")
    for name, content in (good() | {WEIGHTS: save(weights)}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidFile, match=r"weights that are not finite, first in 'conv_in\.bias'"):
        load_prior(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_size", "evil"),
        ("sample_size", [8, -8]),
        ("downsample_padding", ["a"]),
        ("norm_eps", [1]),
        ("norm_num_groups", True),
        ("layers_per_block", 10**9),
    ],
)
def test_settings_that_only_a_run_would_find(name: str, value: Any) -> None:
    tree = dict(good())
    tree[NET] = json.dumps(json.loads(tree[NET]) | {name: value}).encode()
    assert judge(PIPELINES, tree).outcome == "InvalidFile"
