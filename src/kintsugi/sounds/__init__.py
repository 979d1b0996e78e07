"""Sounds as files: reading and writing them, at any sampling rate. Needs the extra ``[audio]``."""

from .reading import Sound, find_sounds, read_sound, sound_length
from .resampling import resample
from .writing import write_sound

__all__ = ["Sound", "find_sounds", "read_sound", "resample", "sound_length", "write_sound"]
