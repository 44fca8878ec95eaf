"""What a steering arm does to a few answers, at every strength it was tuned over: `panel.json`, for the report to show.

Problems are from the select split, where the arm was chosen: the page's reader may look at these without having looked
at test problems.
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
#: Tokens of an answer that are kept: a page with long traces would weigh megabytes.
_TOKENS = 128


def write_view(policy: Policy, task: Task, folder: Path) -> None:
    """Write `panel.json` for a policy that was tuned over the strength of one edit; nothing for any other."""
    curve = policy.record.get("dose_response")
    if not curve or len(policy.steering) != 1 or policy.steering[0].gated:
        return
    from elicit.panel.payload import grid_to_json
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
    runs.write_json(folder / VIEW_FILE, grid_to_json(view))
