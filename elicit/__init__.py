"""A lab to find out how much reasoning a base model already has.

    import elicit
    model = elicit.load("cued")
    task = elicit.tasks.get("addition")
    results = elicit.compare(model, task, arms=["base", "cue_prompt", "sft", "mean_steering"], seeds=3)

Everything here is imported on first use, so that `import elicit` stays fast.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.version import __version__ as __version__

if TYPE_CHECKING:
    from elicit import tasks as tasks
    from elicit.activations import Answers as Answers
    from elicit.activations import LogitDifference as LogitDifference
    from elicit.activations import load_cache as load_cache
    from elicit.api import compare as compare
    from elicit.api import load_policy as load_policy
    from elicit.comparison.run import open_run as open_run
    from elicit.errors import ElicitError as ElicitError
    from elicit.inmemory import wrap as wrap
    from elicit.merging import save_merged as save_merged
    from elicit.model import BaseModel as BaseModel
    from elicit.model import load as load
    from elicit.policy import Policy as Policy
    from elicit.sampling import Decoding as Decoding
    from elicit.steering import Steering as Steering

_WHERE = {
    "Answers": "elicit.activations",
    "BaseModel": "elicit.model",
    "Decoding": "elicit.sampling",
    "ElicitError": "elicit.errors",
    "LogitDifference": "elicit.activations",
    "Policy": "elicit.policy",
    "Steering": "elicit.steering",
    "compare": "elicit.api",
    "load": "elicit.model",
    "load_cache": "elicit.activations",
    "load_policy": "elicit.api",
    "open_run": "elicit.comparison.run",
    "save_merged": "elicit.merging",
    "wrap": "elicit.inmemory",
}

__all__ = [
    "Answers",
    "BaseModel",
    "Decoding",
    "ElicitError",
    "LogitDifference",
    "Policy",
    "Steering",
    "compare",
    "load",
    "load_cache",
    "load_policy",
    "open_run",
    "save_merged",
    "tasks",
    "wrap",
]


def _import_saes() -> None:
    """Import the package `saes` that is part of this one, whatever else of that name stands on the search path.

    A folder `saes/` in the working directory may come first there: as a package of its own, or without an `__init__.py`
    as a namespace package, which Python finds before some editable installs.

    Raises:
        ImportError: a package `saes` from elsewhere was imported before.
    """
    init = Path(__file__).parent.parent / "saes" / "__init__.py"
    earlier = sys.modules.get("saes")
    if earlier is not None and earlier.__file__ is not None:
        folder = Path(earlier.__file__).resolve().parent
        if folder != init.resolve().parent:
            raise ImportError(
                f"elicit: its package saes is hidden by {folder}, which was imported before it. "
                "Import elicit first, or rename that folder."
            )
        return
    spec = importlib.util.spec_from_file_location("saes", init, submodule_search_locations=[str(init.parent)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if earlier is not None:  # a namespace package, which has no code of its own
        vars(earlier).update(vars(module))
        module = earlier
    sys.modules["saes"] = module
    spec.loader.exec_module(module)


_import_saes()


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module("elicit.tasks")
    if name not in _WHERE:
        raise AttributeError(f"module 'elicit' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
