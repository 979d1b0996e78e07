"""Sounds as files, at any sampling rate, and their restoration. Needs the extra ``[audio]``.

prepared = prepare_sound("declip", read_sound("loud.wav"))
x, cost, notes = restore_sound(prepared, load_prior("sound"))
sounds, _ = prepared.finish(x[0])
"""

from .reading import Sound, find_sounds, read_sound, sound_length
from .resampling import resample
from .writing import write_sound

__all__ = ["Sound", "find_sounds", "read_sound", "resample", "sound_length", "write_sound"]
