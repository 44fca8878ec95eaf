"""lm-eval: any policy as one of its models, from Python and from its own command line.

    lm_eval.simple_evaluate(model=PolicyLM(policy), tasks=["gsm8k"])
    elicit lm-eval --model elicit --model_args policy=runs/NAME/cells/M/ARM/0/policy --tasks gsm8k
    lm_eval        --model elicit --model_args base=cued --tasks tasks/addition.yaml

lm-eval up to 0.4.13 finds models in a table of its own and has no hook for others. `elicit lm-eval` (or
`python -m elicit.interop.lm_eval`) puts one line into that table and then runs lm-eval's own command line. Later
versions look at the entry points `lm_eval.models`, where this package is listed, and need no help.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from elicit.errors import EXIT_BAD_INPUT, ElicitError, require_extra

NAME = "elicit"
_MODEL = "elicit.interop.lm_eval.model:PolicyLM"


def register_model() -> None:
    """Let lm-eval know the model `elicit`. Imports neither torch nor the model.

    Raises:
        ElicitError: lm-eval is not installed.
    """
    require_extra("lm_eval", "lm-eval", "lm-eval's models")
    import lm_eval.models  # fills the table with lm-eval's own models first
    from lm_eval.api.registry import model_registry

    assert lm_eval.models.MODEL_MAPPING
    if NAME not in model_registry:
        model_registry.register(NAME, target=_MODEL)


def run_command_line(arguments: Sequence[str]) -> int:
    """lm-eval's own command line, which then knows the model `elicit`. Returns its exit code.

    Raises:
        ElicitError: lm-eval is not installed, or what our model cannot do.
    """
    register_model()
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    sys.argv = ["lm-eval", *arguments]
    try:
        cli_evaluate()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else EXIT_BAD_INPUT
    finally:
        sys.argv = before
    return 0


def __getattr__(name: str) -> Any:
    if name == "PolicyLM":
        require_extra("lm_eval", "lm-eval", "lm-eval's models")
        from elicit.interop.lm_eval.model import PolicyLM

        return PolicyLM
    if name == "write_task":
        from elicit.interop.lm_eval.task import write_task

        return write_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(arguments: Sequence[str]) -> int:
    try:
        return run_command_line(arguments)
    except ElicitError as error:
        print(f"elicit lm-eval: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
