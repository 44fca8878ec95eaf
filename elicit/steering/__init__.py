"""Steering: specs of edits, where they apply, and the hooks that apply them."""

from elicit.steering.files import load, save
from elicit.steering.gated import Gate, Gated
from elicit.steering.hooks import Edit, Firings, as_edit, steer
from elicit.steering.position_tracker import Clock, Frame, padded_frame, spread_frame, step_frame
from elicit.steering.positions import FORMS, Positions, parse
from elicit.steering.spec import MODES, Mode, Steering, feature_edit

__all__ = [
    "FORMS",
    "MODES",
    "Clock",
    "Edit",
    "Firings",
    "Frame",
    "Gate",
    "Gated",
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
