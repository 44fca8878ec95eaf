"""Known faults of engines that steer, put back one by one: each is caught by a check of every answer or by the rows.

The server's package is copied, one place of it is changed, and the copy is served. What must notice is what users have:
the check of a connection, the check of where edits acted, or a comparison of rows.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import elicit_vllm
from elicit.engines.vllm import generate_together
from elicit.errors import ElicitError
from elicit.policy import Policy
from elicit.sampling import generate
from tests.engines import ledger
from tests.engines.servers import PYTHON, Served, base
from tests.engines.test_vllm_identity import GREEDY, SAMPLED, Comparison, compare, make_edits, make_requests

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="ELICIT_VLLM_PYTHON names no environment with vLLM"),
]


class Fault(NamedTuple):
    """A change to one file of the server's package."""

    file: str
    before: str
    after: str


FAULTS = {
    "no edit": Fault("worker.py", "", ""),
    "an edit not applied to later chunks of a prompt": Fault(
        "worker.py",
        'if arguments["edits"]:\n',
        'if arguments["edits"] and not 0 < computed[row] < arguments["prompt"] - 1:\n',
    ),
    "an edit not applied to a cached prefix": Fault(
        "engine.py", "skip_reading_prefix_cache=self._edits_prompt(request) or None", "skip_reading_prefix_cache=None"
    ),
    "a cached prefix shared by other edits": Fault(
        "engine.py", "key = [self._weights, *edits, request[\"prompt\"] if edits else None]", "key = [self._weights]"
    ),
    "the MLP's half of the residual read": Fault(
        "worker.py", "delta = touch.edit.delta(stream)", "delta = touch.edit.delta(hidden[rows])"
    ),
    "positions off by one": Fault(
        "worker.py", "offsets = positions - (prompts[owners] - 1)", "offsets = positions - prompts[owners]"
    ),
    "another request's edit": Fault(
        "worker.py",
        'carriers.setdefault(tuple(arguments["edits"]), []).append((row, arguments))',
        "other = runner.input_batch.req_ids[(row + 1) % count]\n"
        "                theirs = runner.requests[other].sampling_params.extra_args[ARGUMENTS]['edits']\n"
        "                carriers.setdefault(tuple(theirs[: len(arguments['edits'])]), []).append((row, arguments))",
    ),
    "edits applied twice": Fault(
        "worker.py", "layer.register_forward_hook(self._make_layer_hook(index))",
        "layer.register_forward_hook(self._make_layer_hook(index))\n"
        "            layer.register_forward_hook(self._make_layer_hook(index))",
    ),
    "edits lost under preemption": Fault(
        "worker.py",
        'if arguments["edits"]:\n',
        'if arguments["edits"] and not (\n'
        "                bounds[row + 1] - bounds[row] > 1 and runner.requests[request].output_token_ids\n"
        "            ):\n",
    ),
    "random numbers by place in the batch": Fault(
        "sampling.py", "None if key is None else Stream(int(key)", "None if key is None else Stream(index"
    ),
    "logits of rows that are no tokens": Fault("worker.py", "mask.apply(logits)", "pass"),
    "tempered log-probabilities": Fault("choosing.py", "(picked - total).double()", "drawn.double()"),
}  # fmt: skip


def find_fault(served: Served) -> str | None:
    """What notices that a server is not the lab's sampler; None if nothing does."""
    try:
        served.check()
        return "rows" if has_other_rows(served) else None
    except ElicitError:
        return "connection"
    except RuntimeError as error:
        return "positions" if "other positions than planned" in str(error) else None


def has_other_rows(served: Served) -> bool:
    """True if rows differ from the lab's: of single policies, and of two with other edits in one batch."""
    model = served.model
    edits = [("no edit", ()), *make_edits(model)]
    for label, steering in [*edits[:7], edits[10], edits[-2], edits[0]]:
        for decoding, samples in ((GREEDY, 1), (SAMPLED.replace(temperature=0.7, max_new_tokens=60), 4)):
            if compare(served, label, steering, decoding, samples).differences():
                return True
    requests, pair = make_requests(model, 1), [dict(edits)["add all"], dict(edits)["scale all"]]
    policies = []
    for steering in pair:
        with served.engine.open(None, steering) as policy:
            policies.append((policy, requests))
    together = generate_together(model.engine, policies, GREEDY, "margin")
    for steering, rows in zip(pair, together, strict=True):
        with Policy(model, steering=steering).apply() as forward:
            here = generate(model.engine, requests, GREEDY, forward, measure="margin")
        if Comparison("", here, rows).differences():
            return True
    return False


@pytest.mark.parametrize("name", FAULTS)
def test_a_known_fault_is_noticed(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    package = tmp_path / "elicit_vllm"
    shutil.copytree(Path(elicit_vllm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (package / fault.file).read_text()
    assert fault.before in code
    (package / fault.file).write_text(code.replace(fault.before, fault.after, 1) if fault.before else code)
    served = Served(base("cued"), package=package, num_gpu_blocks_override=14)
    try:
        noticed = find_fault(served)
    finally:
        served.close()
    if fault.before:
        ledger.note(f"known fault: {name}: {'missed' if noticed is None else 'noticed by the ' + noticed}")
    assert (noticed is None) == (not fault.before), noticed
