"""Pictures in files, and as tensors in [-1, 1]: reading, writing, masks."""

from .fading import Fading, estimate_fading
from .jpegfile import Compression, read_compression
from .picture import Picture
from .reading import read_mask, read_picture
from .writing import check_output, losses, write_picture

__all__ = [
    "Compression",
    "Fading",
    "Picture",
    "check_output",
    "estimate_fading",
    "losses",
    "read_compression",
    "read_mask",
    "read_picture",
    "write_picture",
]
