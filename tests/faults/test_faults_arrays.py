"""Hostile kernels and files of masks: pictures, ``.npy`` arrays, ``.npz`` archives, words of the command line."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import samples
import test_faults_images as pictures
import torch
from corrupt import EDGES, any_of
from hypothesis import strategies as st
from judge import Broken, Door, judge, passes

from kintsugi.bench.maskfiles import mask_from
from kintsugi.cli.options import parse_kernel
from kintsugi.operators import load_kernel


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype == object)
    return file.getvalue()


def stated(shape: str, descr: str = "'<f8'") -> bytes:
    """An array file of 16 bytes whose header says something else."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (117 - len(head)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(16)


GOOD_KERNEL = npy(np.outer([1, 2, 1.0], [1, 2, 1.0]))
ARRAYS = [
    GOOD_KERNEL, npy(np.ones((3, 3), np.uint8)), npy(np.ones((3, 3), np.float16)), npy(np.ones(5)), npy(np.float64(1)),
    npy(np.full((3, 3), np.nan)), npy(np.full((3, 3), np.inf)), npy(-np.ones((3, 3))), npy(np.zeros((3, 3))),
    npy(np.zeros((0, 3))), npy(np.ones((2, 2), complex)), npy(np.array([b"a"])), npy(np.array([{}], dtype=object)),
    npy(np.full((3, 3), 1e308)), npy(np.ones((3, 3), bool)), npy(np.ones((2,) * 9)), npy(np.ones((3, 3), "M8[s]")),
]  # fmt: skip
CLAIMS = [
    stated(shape, descr)
    for shape in ("(100000, 100000)", f"({2**62},)", "(-1,)", "(2, -1)", "(1e3,)", "('a',)", "((1, 2),)", "(" * 40)
    for descr in ("'<f8'", "'|O'", "'|V1000000000'", "[('a', '<f8')]", "'<f1'")
]  # fmt: skip
KERNEL_FILES = st.one_of(
    st.tuples(st.one_of(any_of(ARRAYS), st.sampled_from(CLAIMS)), st.just("k.npy")),
    st.tuples(pictures.FILES, st.sampled_from(("k.png", "k", "-k.jpg"))),
)


def kernel(case: tuple[bytes, str], folder: Path) -> None:
    """A kernel that was read sums to one."""
    check_kernel(load_kernel(pictures.put(case, folder)))


def check_kernel(weights: torch.Tensor) -> None:
    if weights.dtype != torch.float64 or not bool(torch.isfinite(weights).all()):
        raise Broken(f"a kernel of {weights.dtype}, or not finite")
    if abs(float(weights.sum()) - 1) > 1e-6:
        raise Broken(f"a kernel that sums to {float(weights.sum())}")


NUMBERS = (
    "1",
    "0",
    "-1",
    "nan",
    "inf",
    "1e-300",
    "1e308",
    "500",
    "501",
    "3.5",
    "",
    " 2 ",
    "0x10",
    "1_0",
    "²",
    "9" * 5000,
)
WORDS = st.one_of(
    st.text(max_size=20),
    st.builds(
        lambda kind, numbers: ":".join((kind, *numbers)),
        st.sampled_from(("gaussian", "uniform", "motion", "example", "Gaussian", "")),
        st.lists(st.sampled_from(NUMBERS), max_size=3),
    ),
)


def words(case: str, folder: Path) -> None:
    check_kernel(parse_kernel(case))


def npz(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


MASK = (np.arange(64).reshape(8, 8) % 3 == 0).astype(np.uint8)
GOOD_MASKS = npz({"masks.npy": npy(np.stack([MASK, 1 - MASK]))})
MASK_FILES = [
    GOOD_MASKS,
    npz({"masks.npy": npy(MASK)}, zipfile.ZIP_STORED),
    npz({"masks.npy": npy(np.packbits(np.zeros((2, 256, 256), np.uint8)))}),
    npz({"masks.npy": npy(MASK.astype(float) / 2)}),
    npz({"masks.npy": npy(np.full((8, 8), np.nan))}),
    npz({"masks.npy": npy(np.zeros((0, 8, 8), np.uint8))}),
    npz({"masks.npy": npy(np.zeros((2**14, 2**14), np.uint8))}),
    npz({"masks.npy": npy(np.array([{}], dtype=object))}),
    npz({"masks.npy": b""}),
    npz({"masks": npy(MASK)}),
    npz({"../masks.npy": npy(MASK), "/masks.npy": npy(MASK), "masks.npy": npy(MASK)}),
    npz({}),
    *(npz({"masks.npy": claim}) for claim in CLAIMS),
]
MASK_CASES = st.tuples(any_of(MASK_FILES), st.sampled_from(("masks", "nothing", "", "../masks", "a" * 5000)),
                       st.sampled_from((None, 0, 1, 2, *EDGES[5:])))  # fmt: skip


def masks(case: tuple[bytes, str, int | None], folder: Path) -> None:
    content, key, index = case
    path = folder / "m.npz"
    path.write_bytes(content)
    mask = mask_from(path, key, index, (8, 8), seed=5)
    if mask.dtype != torch.bool or tuple(mask.shape) != (8, 8):
        raise Broken(f"a mask of {mask.dtype} {tuple(mask.shape)}")


KERNELS = Door("kernel files", KERNEL_FILES, kernel, (GOOD_KERNEL, "k.npy"),
               files=lambda: [*ARRAYS[:5], CLAIMS[0]], from_bytes=lambda data: (data, "k.npy"))  # fmt: skip
KERNEL_WORDS = Door("kernel words", WORDS, words, "motion:9:30")
MASK_ARCHIVES = Door("mask archives", MASK_CASES, masks, (GOOD_MASKS, "masks", None),
                     files=lambda: MASK_FILES[:4], from_bytes=lambda data: (data, "masks", None))  # fmt: skip
DOORS = (KERNELS, KERNEL_WORDS, MASK_ARCHIVES)

test_kernel_files = passes(KERNELS)
test_kernel_words = passes(KERNEL_WORDS)
test_mask_archives = passes(MASK_ARCHIVES)


def test_names_in_an_archive_are_written_out(tmp_path: Path) -> None:
    """Found by atheris: they went into the message as they are, and a terminal would have obeyed them."""
    outcome = judge(MASK_ARCHIVES, (npz({"a\x1b[2J\nb.npy": npy(MASK)}), "masks", None)).outcome
    assert outcome == "InvalidArgument"


def test_kernels_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "k.npy").write_bytes(GOOD_KERNEL)
    assert torch.allclose(
        load_kernel(tmp_path / "k.npy"), torch.tensor([1, 2, 1.0]).outer(torch.tensor([1, 2, 1.0])).double() / 16
    )
    (tmp_path / "k.eps").write_bytes(samples.foreign()[1])
