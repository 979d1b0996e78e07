"""Symmetric matrices along an axis, in the basis of their eigenvectors.

A matrix that reads the same from both ends, ``G = J G J`` with J the reversal (the Gram matrix of any resampling that
treats left and right alike), has eigenvectors that are even or odd. In the sums and differences of a signal with its
mirror image it falls into two blocks of half the size, so that going there and back costs half the products.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGE = 256  # below, one product of the whole is as fast


class Eigenbasis:
    """``G = V diag(values) V^T`` of a symmetric ``G`` (m, m) without negative eigenvalues.

    ``values`` (m,) are float64. The vectors of large ones are kept in the precision of pictures.
    """

    values: Tensor

    def __init__(self, matrix: Tensor) -> None:
        m = len(matrix)
        self._half = m // 2
        scale = 1e-12 * float(matrix.abs().max())
        self._mirrored = m >= LARGE and bool(((matrix - matrix.flip(0, 1)).abs() <= scale).all())
        blocks = [matrix]
        if self._mirrored:
            h = self._half
            # In the orthonormal basis (x_i + x_{m-1-i}) / sqrt 2, the middle sample, and (x_i - x_{m-1-i}) / sqrt 2.
            near, far = matrix[: m - h, : m - h], matrix[: m - h, h:].flip(1)
            even = near + far
            if m % 2:
                even[h, :h] *= 0.5**0.5
                even[:h, h] *= 0.5**0.5
                even[h, h] = matrix[h, h]
            blocks = [even, (near - far)[:h, :h]]
        parts = [torch.linalg.eigh(0.5 * (block + block.T)) for block in blocks]
        self.values = torch.cat([values for values, _ in parts]).clamp_min(0)
        self._vectors = [vectors for _, vectors in parts]
        if self._mirrored:  # the factor sqrt 1/2 of sums and differences, once and for all
            for vectors in self._vectors:
                vectors[: self._half] *= 0.5**0.5
        if m >= LARGE:
            self._vectors = [vectors.float() for vectors in self._vectors]

    def along(self, u: Tensor, dim: int, back: bool = False) -> Tensor:
        """``V^T u`` along the axis ``dim``, or ``V u``, ``back`` from there."""
        vectors = [v.to(u) for v in self._vectors]
        if not self._mirrored:
            return product(vectors[0] if back else vectors[0].T, u, dim)
        h, m = self._half, u.shape[dim]
        if not back:
            left, middle, right = u.split([h, m - 2 * h, h], dim)
            right = right.flip(dim)
            even = torch.cat((left + right, middle), dim) if m % 2 else left + right
            return torch.cat((product(vectors[0].T, even, dim), product(vectors[1].T, left - right, dim)), dim)
        a, b = u.split([m - h, h], dim)
        even, odd = product(vectors[0], a, dim), product(vectors[1], b, dim)
        even, middle = even.split([h, m - 2 * h], dim)
        return torch.cat((even + odd, middle, (even - odd).flip(dim)), dim)


def product(matrix: Tensor, x: Tensor, dim: int) -> Tensor:
    """``matrix`` (k, m) times ``x`` along the axis ``dim`` of m samples."""
    if dim == x.ndim - 1:
        return x @ matrix.T
    return (matrix @ x.reshape(*x.shape[: dim + 1], -1)).view(*x.shape[:dim], len(matrix), *x.shape[dim + 1 :])
