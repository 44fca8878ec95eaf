"""Before the first cell: every model that will be run is on this machine, whole, converted, and fits.

What is missing is fetched here if that was asked for, by this one process; the workers then find it in the cache and
make no network calls. A fault is said before anything was trained.
"""

from __future__ import annotations

from collections.abc import Iterable

from elicit.comparison.spec import Spec
from elicit.loading import catalog


def prepare(spec: Spec, models: Iterable[str], *, workers: int, download: bool) -> None:
    """Make ready what the given models' cells will load.

    Args:
        models: labels of the models with cells to be worked on.
        workers: processes that will each hold a copy.
        download: whether hub ids and SAE releases that are not in the local cache may be fetched.

    Raises:
        ElicitError: a model that is not here, cannot be fetched or read, or does not fit.
    """
    for label in models:
        mine = spec.of(label)
        for name in [mine.models[label], *_amateurs(mine)]:
            _ready(name, mine, workers, download)
    if download:
        for name in releases(spec):
            import saes

            saes.load(name, download=True)


def _ready(name: str, spec: Spec, workers: int, download: bool) -> None:
    source = catalog.resolve(name)
    if source.path is not None and source.path.parent == catalog.WEIGHTS:
        return  # shipped, and tiny: no reason to import torch
    from elicit.loading.load import ready

    ready(name, dtype=spec.dtype, device=spec.device, download=download, copies=workers)


def _amateurs(spec: Spec) -> list[str]:
    """Second models that arms name (contrastive decoding)."""
    named = (options.get("amateur") for options in spec.arms.values())
    return sorted({name for name in named if isinstance(name, str)})


def releases(spec: Spec) -> list[str]:
    """SAEs of public releases that arms name."""
    found: set[str] = set()
    for options in spec.arms.values():
        for field in ("sae", "saes"):
            given = options.get(field) or ()
            found.update(name for name in ([given] if isinstance(given, str) else given) if isinstance(name, str))
    return sorted(name for name in found if ":" in name and "{" not in name)
