"""Lenses: the residual stream, read in words, at every layer and position.

    from elicit.inside.lenses import LogitLens, fit_jacobian_lens, fit_tuned_lens
    LogitLens(model).read(prompts)

Every name is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elicit.inside.lenses.disposition import Disposition as Disposition
    from elicit.inside.lenses.disposition import Openings as Openings
    from elicit.inside.lenses.disposition import find_openings as find_openings
    from elicit.inside.lenses.jacobian import JacobianLens as JacobianLens
    from elicit.inside.lenses.jacobian import fit_jacobian_lens as fit_jacobian_lens
    from elicit.inside.lenses.lens import Lens as Lens
    from elicit.inside.lenses.lens import LogitLens as LogitLens
    from elicit.inside.lenses.reading import LensReading as LensReading
    from elicit.inside.lenses.tuned import TunedLens as TunedLens
    from elicit.inside.lenses.tuned import fit_tuned_lens as fit_tuned_lens

_WHERE = {
    "Disposition": "elicit.inside.lenses.disposition",
    "JacobianLens": "elicit.inside.lenses.jacobian",
    "Lens": "elicit.inside.lenses.lens",
    "LensReading": "elicit.inside.lenses.reading",
    "LogitLens": "elicit.inside.lenses.lens",
    "Openings": "elicit.inside.lenses.disposition",
    "TunedLens": "elicit.inside.lenses.tuned",
    "find_openings": "elicit.inside.lenses.disposition",
    "fit_jacobian_lens": "elicit.inside.lenses.jacobian",
    "fit_tuned_lens": "elicit.inside.lenses.tuned",
}

__all__ = [*sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'elicit.inside.lenses' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
