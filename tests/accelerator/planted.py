"""Device mistakes planted into the project's own functions, to see that the simulated device notices them.

Each is a line of source with its care for devices taken out. The function's code is exchanged in place, so that every
reference to the function runs the mistake.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NamedTuple


class Planted(NamedTuple):
    """One mistake: `old` becomes `new` in a function, and `scenario` runs into it."""

    function: str
    """`module:name`, or `module:class.name`."""
    old: str
    new: str
    scenario: str


PLANTED = (
    Planted("elicit.sampling.prefill:_run_piece", "input_ids=ids.to(device)", "input_ids=ids", "sampling"),
    Planted("elicit.sampling.choose:_inverse_cdf", "uniform.to(logits.device)[", "uniform[", "sampling"),
    Planted("elicit.sampling.choose:ChosenTokens.on_host", ".cpu().numpy()", ".numpy()", "sampling"),
    Planted("elicit.sampling.score:hidden_states", "packed.ids.to(engine.hf.device)", "packed.ids", "sampling"),
    Planted("elicit.steering.hooks:to_hook_edit", "steering.direction.to(h.device)", "steering.direction", "steering"),
    Planted("elicit.steering.gated:GatedEdit.delta_on", "self.gate.weight.to(device)", "self.gate.weight", "steering"),
    Planted(
        "elicit.fitting.vector_training:train_vectors_by_rl", ".clone().to(base.device)", ".clone()", "rl_steering"
    ),
    Planted("saes.activations:capture_residual", "input_ids=ids.to(hf.device)", "input_ids=ids", "sae training"),
)


@contextmanager
def planted(mistake: Planted) -> Iterator[None]:
    """The mistake is in the code while the context is open.

    Raises:
        AssertionError: the function no longer holds `old`, so the mistake must be written anew.
    """
    module_name, _, path = mistake.function.partition(":")
    owner: Any = import_module(module_name)
    namespace = vars(owner)
    for part in path.split("."):
        owner = vars(owner)[part]
    source = textwrap.dedent(inspect.getsource(owner))
    assert mistake.old in source, f"{mistake.function} no longer holds {mistake.old!r}: plant another mistake"
    code = compile(
        source.replace(mistake.old, mistake.new), inspect.getfile(owner), "exec",
        flags=__future__.annotations.compiler_flag, dont_inherit=True,
    )  # fmt: skip
    made: dict[str, Any] = {}
    exec(code, namespace | {}, made)
    kept = owner.__code__
    owner.__code__ = made[owner.__name__].__code__
    try:
        yield
    finally:
        owner.__code__ = kept


def mistakes_noticed(device: str) -> dict[str, str | None]:
    """Every planted mistake by its function: what the simulated device said of it, or None."""
    from tests.accelerator import scenarios, simulated

    noticed: dict[str, str | None] = {}
    for mistake in PLANTED:
        scenarios.policy.cache_clear()
        before = len(simulated.mistakes)
        with planted(mistake), suppress(Exception):  # what follows from a mistake may be raised as anything
            scenarios.SCENARIOS[mistake.scenario](device)
        new = simulated.mistakes[before:]
        noticed[mistake.function] = f"{new[0].place}: {new[0].message}" if new else None
    return noticed
