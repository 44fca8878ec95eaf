"""Sparse autoencoders: train, load, judge, search and look at them.

Part of elicit-reasoning, installed and versioned with it. Built on the lowest layers of `elicit` (errors, text, schema,
runs, statistics); knows nothing of its models, tasks and methods.

    import saes
    sae = saes.load("cued/L1")                          # or a folder, or RELEASE:ID
    saes.check(sae, model.hf, model_name=model.name, weights_sha256=model.weights_sha256)
    sae.feature(379).direction

Everything is imported on first use, so that `import saes` stays quick. Functions live in modules of other names
(`saes.load` is in `saes.loading`), because importing a submodule would put it in the function's place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes import dashboard as dashboard
    from saes.activations import Harvest as Harvest
    from saes.activations import stream as stream
    from saes.catalog import names as names
    from saes.catalog import shipped as shipped
    from saes.compatibility import Match as Match
    from saes.compatibility import check as check
    from saes.compatibility import explained_variance as explained_variance
    from saes.compatibility import fits as fits
    from saes.compatibility import verify_live as verify_live
    from saes.controls import Matched as Matched
    from saes.controls import Twin as Twin
    from saes.controls import covariance as covariance
    from saes.controls import covariance_vector as covariance_vector
    from saes.controls import error_direction as error_direction
    from saes.controls import matched_features as matched_features
    from saes.controls import twin as twin
    from saes.discovery import SCORERS as SCORERS
    from saes.discovery import Span as Span
    from saes.discovery import agreement as agreement
    from saes.discovery import discover as discover
    from saes.evaluation import evaluate as evaluate
    from saes.loading import load as load
    from saes.manifest import Manifest as Manifest
    from saes.sae import SAE as SAE
    from saes.sae import Feature as Feature
    from saes.training import train as train

#: module -> what it brings
_MODULES = {
    "saes.activations": ["Harvest", "stream"],
    "saes.catalog": ["names", "shipped"],
    "saes.controls": [
        "Matched",
        "Twin",
        "covariance",
        "covariance_vector",
        "error_direction",
        "matched_features",
        "twin",
    ],
    "saes.discovery": ["SCORERS", "Span", "agreement", "discover"],
    "saes.evaluation": ["evaluate"],
    "saes.loading": ["load"],
    "saes.manifest": ["Manifest"],
    "saes.compatibility": ["Match", "check", "explained_variance", "fits", "verify_live"],
    "saes.sae": ["SAE", "Feature"],
    "saes.training": ["train"],
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*sorted(_WHERE), "dashboard"]


def __getattr__(name: str) -> Any:
    if name == "dashboard":
        return importlib.import_module("saes.dashboard")
    if name not in _WHERE:
        raise AttributeError(f"module 'saes' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
