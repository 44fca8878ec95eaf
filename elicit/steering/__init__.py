"""Steering: specs of edits, where they apply, and the hooks that apply them."""

from elicit.steering.clock import Clock, Frame, padded_frame, spread_frame, step_frame
from elicit.steering.hooks import Edit, Firings, as_edit, steer
from elicit.steering.positions import FORMS, Positions, parse
from elicit.steering.spec import MODES, Mode, Steering, feature_edit, load, save

__all__ = [
    "FORMS",
    "MODES",
    "Clock",
    "Edit",
    "Firings",
    "Frame",
    "Mode",
    "Positions",
    "Steering",
    "as_edit",
    "feature_edit",
    "load",
    "padded_frame",
    "parse",
    "save",
    "spread_frame",
    "step_frame",
    "steer",
]
