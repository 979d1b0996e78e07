"""
A benchmark, in miniature
=========================

A comparison is a *suite*: priors, problems, samplers and steps, in a YAML file. It is run row by row, goes on where it
was stopped, and ends in tables. In earnest it is a command, :doc:`/bench`::

    kintsugi bench photo -o run --images KODAK
    kintsugi report run
"""

# %%
# A suite
# -------
#
# Against posteriors that are known exactly no pictures are needed. ``kintsugi bench --list`` shows the suites that come
# with the package.

from pathlib import Path
from tempfile import TemporaryDirectory

from kintsugi.bench import load_suite, plan, run
from kintsugi.bench.report import report

folder = TemporaryDirectory()
suite_file = Path(folder.name) / "mine.yaml"
suite_file.write_text("""\
name: mine
title: Three methods against an exact posterior
oracles: [gaussian-mask-noisy]
samplers: [kintsugi, ddnm, {name: ddrm, label: ddrm without churn, settings: {churn: 0.0}}]
steps: [5, 20]
samples: 64
""")
suite = load_suite(suite_file)
run_folder = Path(folder.name) / "run"
plan(suite, run_folder)

# %%
# A run
# -----
#
# Each row is a pure function of what decides it. Asked for again, nothing is left to do:

rows = run(suite, run_folder)
again = run(suite, run_folder)
rows, again

# %%
# What it found
# -------------
#
# Rows are Parquet files that hold everything that decided them; ``report`` writes a page and a text with intervals,
# plots and settings.

assert (rows, again) == (6, 0)
page, text = report(run_folder)
print(text.read_text()[:1500])
folder.cleanup()
