"""Curves over training: their shape, the dual-timescale model of a dip, early warning, and what a safety tax costs.

    from elicit.analysis import classify_curve
    classify_curve(correct, steps, seed=0)    # correct: [seeds, checkpoints, problems]

Torch-free; every name is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elicit.analysis.asymmetry import Asymmetry as Asymmetry
    from elicit.analysis.asymmetry import measure_asymmetry as measure_asymmetry
    from elicit.analysis.curves import CurveClassification as CurveClassification
    from elicit.analysis.curves import classify_curve as classify_curve
    from elicit.analysis.curves import find_danger_zone as find_danger_zone
    from elicit.analysis.curves import measure_stopping_cost as measure_stopping_cost
    from elicit.analysis.early_warning_signals import SIGNALS as SIGNALS
    from elicit.analysis.early_warning_signals import MonitoredCurve as MonitoredCurve
    from elicit.analysis.early_warning_signals import MonitoredRun as MonitoredRun
    from elicit.analysis.early_warning_signals import find_alarm as find_alarm
    from elicit.analysis.early_warning_skill import evaluate_crossings as evaluate_crossings
    from elicit.analysis.early_warning_skill import evaluate_signal as evaluate_signal
    from elicit.analysis.resampling import CurveBootstrap as CurveBootstrap
    from elicit.analysis.resampling import bootstrap_curve as bootstrap_curve
    from elicit.analysis.timescale_fit import TimescaleFit as TimescaleFit
    from elicit.analysis.timescale_fit import fit_timescales as fit_timescales
    from elicit.analysis.timescales import Timescales as Timescales
    from elicit.analysis.timescales import classify_regime as classify_regime
    from elicit.analysis.timescales import find_break_even as find_break_even
    from elicit.analysis.timescales import find_turning_point as find_turning_point

#: Name -> module.
_WHERE = {
    "Asymmetry": "elicit.analysis.asymmetry",
    "CurveBootstrap": "elicit.analysis.resampling",
    "CurveClassification": "elicit.analysis.curves",
    "MonitoredCurve": "elicit.analysis.early_warning_signals",
    "MonitoredRun": "elicit.analysis.early_warning_signals",
    "SIGNALS": "elicit.analysis.early_warning_signals",
    "TimescaleFit": "elicit.analysis.timescale_fit",
    "Timescales": "elicit.analysis.timescales",
    "bootstrap_curve": "elicit.analysis.resampling",
    "classify_curve": "elicit.analysis.curves",
    "classify_regime": "elicit.analysis.timescales",
    "evaluate_crossings": "elicit.analysis.early_warning_skill",
    "evaluate_signal": "elicit.analysis.early_warning_skill",
    "find_alarm": "elicit.analysis.early_warning_signals",
    "find_break_even": "elicit.analysis.timescales",
    "find_danger_zone": "elicit.analysis.curves",
    "find_turning_point": "elicit.analysis.timescales",
    "fit_timescales": "elicit.analysis.timescale_fit",
    "measure_asymmetry": "elicit.analysis.asymmetry",
    "measure_stopping_cost": "elicit.analysis.curves",
}

__all__ = [*sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'elicit.analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
