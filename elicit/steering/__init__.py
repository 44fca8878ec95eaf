"""Steering: specs of edits, where they apply, and the hooks that apply them."""

from elicit.positions import FORMS, PositionExpression
from elicit.steering.conditional import gate_on_projection
from elicit.steering.files import load_edits, save_edits
from elicit.steering.function_edit import FunctionEdit
from elicit.steering.gated import Gate, GatedEdit
from elicit.steering.hooks import AnyEdit, Edit, Firings, View, steer, to_hook_edit
from elicit.steering.position_tracker import (
    PositionFrame,
    PositionTracker,
    build_padded_frame,
    build_spread_frame,
    build_step_frame,
)
from elicit.steering.positions import Positions, parse
from elicit.steering.spec import MODES, Mode, Steering, feature_edit, vector_edit
from elicit.steering.vocabulary import build_vocabulary

__all__ = [
    "FORMS",
    "MODES",
    "PositionTracker",
    "Edit",
    "Firings",
    "PositionExpression",
    "PositionFrame",
    "Gate",
    "GatedEdit",
    "FunctionEdit",
    "AnyEdit",
    "Mode",
    "Positions",
    "Steering",
    "View",
    "to_hook_edit",
    "feature_edit",
    "gate_on_projection",
    "vector_edit",
    "load_edits",
    "build_padded_frame",
    "parse",
    "save_edits",
    "build_spread_frame",
    "build_step_frame",
    "build_vocabulary",
    "steer",
]
