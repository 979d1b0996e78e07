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
from kintsugi.bench.reading import read_rows
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
# Rows are Parquet files that hold everything that decided them.

import matplotlib.pyplot as plt

assert (rows, again) == (6, 0)
found = read_rows(run_folder)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for axis, name, right in zip(axes, ("mean", "spread"), (0, 1), strict=True):
    for sampler in sorted({row["sampler"] for row in found}):
        points = sorted((row["steps"], row[f"metric.{name}"]) for row in found if row["sampler"] == sampler)
        axis.plot(*zip(*points, strict=True), "o-", label=sampler)
    axis.axhline(right, color="grey", ls="--", lw=0.8)
    axis.set(xlabel="steps", title=f"{name} ({right} is right)", xticks=(5, 20))
axes[0].legend(fontsize=8)

# %%
# ``report`` writes a page of HTML and a text, with intervals, costs and settings; a part of the text:

page, text = report(run_folder)
print(text.read_text().partition("## gaussian")[2][:1100])
folder.cleanup()
