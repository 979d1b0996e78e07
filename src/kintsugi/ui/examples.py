"""The bundled files that the page offers to try it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from .asked import WRONG, Craft, WrongName


@dataclass(frozen=True)
class Example:
    """``file`` of the package's data, whose button says ``label`` and shows the picture at the address ``look``.

    ``wrong``: what is wrong with it, a key of ``WRONG``. ``mask``: the file of its holes.
    """

    file: str
    label: str
    wrong: WrongName
    look: str
    mask: str | None = None

    @property
    def craft(self) -> Craft:
        """Of what it is an example."""
        return WRONG[self.wrong].craft


# By the names that the command line knows them by. The looks of sounds are made by docs/make_example_sounds.py.
EXAMPLES: Mapping[str, Example] = {
    "lighthouse": Example("lighthouse.png", "Too small", "small", "mend/examples/lighthouse.png"),
    "parrots": Example("parrots.png", "With holes", "holes", "mend/examples/parrots.png", "parrots-mask.png"),
    "guitar": Example("guitar.flac", "Guitar with gaps", "gaps", "mend/static/guitar.webp"),
    "voice": Example("voice.flac", "Voices with hiss", "hiss", "mend/static/voice.webp"),
}


def buttons(examples: Mapping[str, Example]) -> str:
    """Their buttons in HTML; ``static/easel.js`` reads what they carry."""
    return "".join(
        f'<button type="button" data-example="{name}" data-file="{each.file}" data-craft="{each.craft}" '
        f'data-wrong="{each.wrong}" data-mask="{each.mask or ""}">'
        f'<img alt="" src="{each.look}"><span>{escape(each.label)}</span></button>'
        for name, each in examples.items()
    )
