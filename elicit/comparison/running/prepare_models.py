"""Prepare models before the first cell: each is on this machine, complete, converted, and fits in memory.

Missing models are downloaded here if the user allowed it, by this one process; the workers then find them in the cache
and make no network calls. Faults are reported before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from elicit.comparison.spec import Spec
from elicit.comparison.spec.option_values import list_option_values
from elicit.errors import ElicitError
from elicit.loading import catalog


def prepare_models(spec: Spec, models: Iterable[str], *, workers: int, download: bool) -> None:
    """Prepare everything that the cells of these models will load on this machine.

    Args:
        models: labels of the models with pending cells.
        workers: processes that will each hold a copy.
        download: allow downloads of hub ids and SAE releases that are not in the local cache.

    Raises:
        ElicitError: a model is not here, cannot be downloaded or read, or does not fit.
    """

    def prepare(name: str, model_spec: Spec) -> None:
        from elicit.loading.load import prepare_model_folder

        dtype, device = model_spec.dtype, model_spec.device
        prepare_model_folder(name, dtype=dtype, device=device, download=download, copies=workers)

    _visit_models(spec, models, prepare)
    if download:
        _download_saes(spec)


def fetch_models(spec: Spec, models: Iterable[str], *, download: bool) -> None:
    """Fetch the same files, for cells that may run elsewhere: this machine's device and memory do not matter.

    Raises:
        ElicitError: a model is not here, or cannot be downloaded or read.
    """

    def fetch(name: str, _: Spec) -> None:
        from elicit.loading.load import fetch_model_folder

        fetch_model_folder(catalog.resolve_model(name), download=download)

    _visit_models(spec, models, fetch)
    if download:
        _download_saes(spec)


def _visit_models(spec: Spec, models: Iterable[str], visit: Callable[[str, Spec], None]) -> None:
    """Call `visit` with each model and second model that is not shipped, and its spec."""
    for label in models:
        model_spec = spec.for_model(label)
        if not _is_shipped(model_spec.models[label]):
            visit(model_spec.models[label], model_spec)
        for arm, name in list_second_models(model_spec):
            try:
                if not _is_shipped(name):
                    visit(name, model_spec)
            except ElicitError as error:
                raise ElicitError(f"arm {arm!r} on {label}: {error}") from error


def _is_shipped(name: str) -> bool:
    """A model of this package. It is tiny: no reason to import torch."""
    path = catalog.resolve_model(name).path
    return path is not None and path.parent == catalog.WEIGHTS


def _download_saes(spec: Spec) -> None:
    for name in list_sae_releases(spec):
        import saes

        saes.load(name, download=True)


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
