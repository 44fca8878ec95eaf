"""Preview of a steering arm for the report: a few answers at every strength it was tuned over (`panel.json`).

The problems are from the select split, on which the arm was tuned, so that readers do not see test problems.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from elicit import runs

if TYPE_CHECKING:
    from elicit.policy import Policy
    from elicit.tasks import Task

VIEW_FILE = "panel.json"
_PROBLEMS = 4
#: Most tokens of an answer: a page with long traces would take megabytes.
_TOKENS = 128


def write_view(policy: Policy, task: Task, folder: Path) -> None:
    """Write `panel.json` for a policy that was tuned over the strength of one edit; do nothing for any other."""
    from elicit.steering import Steering

    curve = policy.record.get("dose_response")
    if not curve or len(policy.steering) != 1 or not isinstance(policy.steering[0], Steering):
        return
    from elicit.panel.strengths import compare_strengths

    (edit,) = policy.edits
    decoding = policy.decoding.replace(max_new_tokens=min(policy.decoding.max_new_tokens, _TOKENS))
    view = compare_strengths(
        policy.model,
        edit,
        sorted({entry["strength"] for entry in curve}),
        task.problems("select", _PROBLEMS),
        task=task,
        decoding=decoding,
        start=edit.strength,
    )
    runs.write_json(folder / VIEW_FILE, view.to_json())
