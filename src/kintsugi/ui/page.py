"""What the visitor sees: gradio's form between our easel and our result.

The form talks to nobody: its values are read when *Mend* is pressed, by ``static/page.js``, which sends the file to
``service.py``. So the page needs nothing of gradio's server but the page itself.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import gradio as gr
from fastapi import FastAPI

from ..sounds.reading import SUFFIXES
from .asked import WRONG
from .examples import buttons
from .service import Service

SERIF = ["Iowan Old Style", "Palatino Linotype", "Palatino", "Georgia", "serif"]
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
BLURS = [("Find it", "unknown"), ("Soft", "gaussian"), ("Shaken", "motion")]


def mount(service: Service) -> FastAPI:
    """The application: our routes, and below them the page at ``/``."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, routes=[*service.routes()])
    head = '<link rel="stylesheet" href="mend/static/look.css">' + "".join(
        f'<script defer src="mend/static/{name}.js"></script>' for name in ("easel", "viewer", "page")
    )
    head += f"<style>{_only_own()}</style>"
    return gr.mount_gradio_app(
        app, build(service), path="/", theme=theme(), head=head, ssr_mode=False, footer_links=[], run_history=False,
        mcp_server=False, pwa=False, enable_monitoring=False, show_error=False,
    )  # fmt: skip


def _only_own() -> str:
    """Rules that hide what may be wrong with the other kind of file."""
    return "".join(
        f'body:not([data-craft="{each.craft}"]) #k-wrong label:has(input[value="{name}"]){{display:none}}'
        for name, each in WRONG.items()
    )


def theme() -> Any:
    """Paper and ink, with the fonts that the visitor's machine has."""
    return gr.themes.Base(
        primary_hue="amber", neutral_hue="stone", font=SANS, font_mono=MONO, radius_size="sm", spacing_size="md"
    )


def build(service: Service) -> gr.Blocks:
    """The form. Its inputs stand in the order of ``FIELDS`` in ``static/page.js``."""
    limits = service.limits
    with gr.Blocks(title="Kintsugi", analytics_enabled=False, elem_id="k-page") as blocks:
        gr.HTML(_part("head.html"))
        with gr.Row(elem_id="k-work", equal_height=False):
            with gr.Column(scale=3, min_width=320):
                easel = _part("easel.html").replace("<!-- examples -->", buttons(service.examples))
                gr.HTML(easel, elem_id="k-easel-block")
            with gr.Column(scale=2, min_width=320, elem_id="k-form"):
                inputs = _form(service)
                with gr.Row(elem_id="k-go"):
                    mend = gr.Button("Mend", variant="primary", elem_id="k-mend")
                    stop = gr.Button("Stop", elem_id="k-stop")
                gr.HTML(_part("progress.html"))
        gr.HTML(_part("result.html"), elem_id="k-result-block")
        crafts = " ".join(sorted({*service.priors.values()}))
        bounds = f'data-upload="{limits.upload}" data-megapixels="{limits.megapixels:g}" data-crafts="{crafts}" '
        bounds += f'data-seconds="{limits.seconds:g}" data-suffixes="{" ".join(sorted(SUFFIXES))}"'
        gr.HTML(f'<div id="k-limits" hidden {bounds}></div>')
        inputs[0].change(None, inputs[:3], js="(wrong, blur, find) => kintsugi.chosen(wrong, blur, find)")
        inputs[1].change(None, inputs[:3], js="(wrong, blur, find) => kintsugi.chosen(wrong, blur, find)")
        inputs[2].change(None, inputs[:3], js="(wrong, blur, find) => kintsugi.chosen(wrong, blur, find)")
        mend.click(None, inputs, js="(...values) => kintsugi.mend(values)")
        stop.click(None, js="() => kintsugi.stop()")
    return blocks


def _form(service: Service) -> list[Any]:
    limits = service.limits
    offered = {craft: [name for name, of in service.priors.items() if of == craft] for craft in ("pictures", "sounds")}
    wrongs = {name: each for name, each in WRONG.items() if offered[each.craft]}
    wrong = gr.Radio(
        [(each.label, name) for name, each in wrongs.items()], value="unknown" if offered["pictures"] else "hiss",
        label="What is wrong with it?", elem_id="k-wrong",
    )  # fmt: skip
    hints = "".join(f'<p data-hint="{name}" data-of="{each.craft}">{each.hint}</p>' for name, each in wrongs.items())
    gr.HTML(f'<div id="k-hints" aria-live="polite">{hints}</div>')
    factor = gr.Slider(2, 8, value=2, step=1, label="How many times larger", elem_id="k-factor")
    blur = gr.Radio(BLURS, value="unknown", label="Which blur", elem_id="k-blur")
    width = gr.Slider(
        0.3, 20, value=2, step=0.1, label="Width of the blur, in pixels", elem_id="k-width",
        info="Soft: the standard deviation. Shaken: the length.",
    )  # fmt: skip
    angle = gr.Slider(
        0, 180, value=0, step=1, label="Angle, in degrees", elem_id="k-angle", info="0 is sideways, 90 upwards."
    )
    find = gr.Checkbox(value=True, label="Find the strength of the noise", elem_id="k-find")
    noise = gr.Slider(0, 100, value=0, step=0.5, label="Noise, in grey levels of 255", elem_id="k-noise")
    quality = gr.Slider(
        0, 100, value=0, step=1, label="JPEG quality", elem_id="k-quality", info="0: what the file itself states."
    )
    rate = gr.Slider(2, 8, value=2, step=1, label="Times the sampling rate", elem_id="k-rate")
    hiss = gr.Slider(0, 0.3, value=0.02, step=0.001, label="Noise, of a full scale of 1", elem_id="k-hiss")
    level = gr.Slider(
        0, 1, value=0, step=0.01, label="Clipping level, of 1", elem_id="k-level",
        info="0: found where tops are flat.",
    )  # fmt: skip
    gaps = gr.Textbox(
        "", label="Where it is missing, in seconds", elem_id="k-gaps", placeholder="1.25:1.27, 3.4:3.41", max_lines=1,
        info="Nothing: wherever it is exactly silent for a millisecond.",
    )  # fmt: skip
    frequency = gr.Number(
        0, label="Frequency of the hum, in hertz", elem_id="k-frequency", minimum=0, maximum=1000,
        info="0: looked for near 50 and 60.",
    )  # fmt: skip
    bits = gr.Slider(2, 16, value=8, step=1, label="Bits of a sample", elem_id="k-bits")
    texture = gr.Slider(
        0, 1, value=0, step=0.05, label="Texture", elem_id="k-texture",
        info="0: the most likely result, a little smooth. 1: the grain of the real thing, some of it invented.",
    )  # fmt: skip
    samples = gr.Slider(
        1, limits.samples, value=1, step=1, label="Samples", elem_id="k-samples",
        info="Two or more show what is uncertain: where they differ.",
    )  # fmt: skip
    with gr.Accordion("More", open=False, elem_id="k-more"):
        priors = [
            gr.Dropdown(names, value=names[0] if names else None, label="Model", elem_id=f"k-prior-{craft}")
            for craft, names in offered.items()
        ]
        steps = gr.Slider(1, limits.steps, value=5, step=1, label="Steps", elem_id="k-steps")
        seed = gr.Number(value=0, precision=0, minimum=0, label="Seed", elem_id="k-seed")
    return [
        wrong, blur, find, factor, width, angle, noise, quality, rate, hiss, level, gaps, frequency, bits, texture,
        samples, *priors, steps, seed,
    ]  # fmt: skip


def _part(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8")
