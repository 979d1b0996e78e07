"""Write phantoms as arrays that ``kintsugi train`` reads; what the models ``phantom-ct`` and ``phantom-mri`` saw.

python docs/make_phantoms.py FOLDER ct [COUNT] [SEED] [SIZE]      1 channel: CT-like, air -1
python docs/make_phantoms.py FOLDER mri [COUNT] [SEED] [SIZE]     2 channels: real and imaginary part

COUNT files of float16 (3000 by default; ten seconds a hundred at the default SIZE, 128), numbered from 0. The variance
of their values, 0.25 for ct and 0.042 for mri, is printed at the end. SEED is 0 by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from kintsugi.phantoms import complex_phantom, phantom


def main(folder: Path, kind: str, count: int = 3000, seed: int = 0, size: int = 128) -> None:
    draw = {"ct": phantom, "mri": complex_phantom}[kind]
    folder.mkdir(parents=True, exist_ok=True)
    mean = square = 0.0
    for index in range(count):
        values = draw(seed, index, size).numpy()
        np.save(folder / f"{kind}-{index:05d}.npy", values.astype(np.float16))
        mean, square = mean + float(values.mean()), square + float((values**2).mean())
    print(f"{count} phantoms; variance {square / count - (mean / count) ** 2:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
