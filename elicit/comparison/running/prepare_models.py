"""Prepare models before the first cell: each is on this machine, complete, converted, and fits in memory.

Missing models are downloaded here if the user allowed it, by this one process; the workers then find them in the cache
and make no network calls. Faults are reported before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterable

from elicit.comparison.spec import Spec
from elicit.comparison.spec.option_values import list_option_values
from elicit.errors import ElicitError
from elicit.loading import catalog


def prepare_models(spec: Spec, models: Iterable[str], *, workers: int, download: bool) -> None:
    """Prepare everything that the cells of these models will load.

    Args:
        models: labels of the models with pending cells.
        workers: processes that will each hold a copy.
        download: allow downloads of hub ids and SAE releases that are not in the local cache.

    Raises:
        ElicitError: a model is not here, cannot be downloaded or read, or does not fit.
    """
    for label in models:
        model_spec = spec.for_model(label)
        _prepare_model(model_spec.models[label], model_spec, workers, download)
        for arm, name in list_second_models(model_spec):
            try:
                _prepare_model(name, model_spec, workers, download)
            except ElicitError as error:
                raise ElicitError(f"arm {arm!r} on {label}: {error}") from error
    if download:
        for name in list_sae_releases(spec):
            import saes

            saes.load(name, download=True)


def _prepare_model(name: str, spec: Spec, workers: int, download: bool) -> None:
    source = catalog.resolve_model(name)
    if source.path is not None and source.path.parent == catalog.WEIGHTS:
        return  # shipped, and tiny: no reason to import torch
    from elicit.loading.load import prepare_model_folder

    prepare_model_folder(name, dtype=spec.dtype, device=spec.device, download=download, copies=workers)


def list_second_models(spec: Spec) -> list[tuple[str, str]]:
    """List (arm, model) of every second model that an arm loads in addition to the base."""
    return [
        (arm, value)
        for (arm, options), method in zip(spec.arms.items(), spec.build_methods().values(), strict=True)
        for _, option, value in list_option_values(options)
        if option in method.traits.models and isinstance(value, str)
    ]


def list_sae_releases(spec: Spec) -> list[str]:
    """List the SAEs of public releases that arms name."""
    sae_names: set[str] = set()
    for options in spec.arms.values():
        for _, option, value in list_option_values(options):
            if option in ("sae", "saes"):
                names = [value] if isinstance(value, str) else value or ()
                sae_names.update(name for name in names if isinstance(name, str))
    return sorted(name for name in sae_names if ":" in name and "{" not in name)
