"""Hostile suites of ``kintsugi bench`` and plans of ``kintsugi tune``: the cases of ``test_faults_yaml.py``."""

from __future__ import annotations

from judge import passes
from test_faults_yaml import PLANS, SUITES

test_suites = passes(SUITES)
test_plans = passes(PLANS)
