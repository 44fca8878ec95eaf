"""Controls and positions in words."""

from __future__ import annotations

from elicit.report.data.recorded_edit import RecordedEdit
from elicit.report.verdict.arm_facts import Control
from elicit.report.verdict.kinds import ControlChange
from elicit.report.verdict.phrases import share

_CHANGES = {
    ControlChange.REWARD: "the reward being right",
    ControlChange.TRAINING: "the training",
    ControlChange.CRITIQUES: "the critiques",
    ControlChange.DIRECTION: "its direction",
    ControlChange.POSITION_OR_SIGN: "its position or sign",
}
_POSITIONS = {
    "first": "at the first generation step",
    "all": "at all positions",
    "generated": "at every generated position",
    "prompt": "on the prompt",
}


def name_control(control: Control) -> str:
    """A control by what it puts in the place of its parent's intervention."""
    if control.edit is not None:
        return f"the same vector {'turned round ' if control.is_reversed else ''}{write_positions(control.edit)}"
    return control.method_label or _spell_label(control)


def write_best_draw(control: Control) -> str:
    """`best of 3 draws 31.0 %`; empty for a control with a single draw."""
    best = control.best_draw
    return "" if best is None else f"best of {best.draws} draws {share(best.accuracy)}"


def write_change(control: Control) -> str:
    """The property that a control shows not to matter."""
    label = _spell_label(control)
    if control.change_label:
        return control.change_label
    return _CHANGES.get(control.change, label if label.startswith(("random", "wrong")) else f"what {label} changes")


def _spell_label(control: Control) -> str:
    return control.label.replace("_", " ")


def write_positions(edit: RecordedEdit) -> str:
    """`at the first generation step`."""
    return _POSITIONS.get(edit.positions, f"at positions {edit.positions}")
