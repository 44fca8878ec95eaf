"""Options of arms whose dose is given or tried: `strength`, `strengths`, `coefficient`, `coefficients`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.fitting.selection import Dose


class DoseOptions(Protocol):
    """A config with the four options, of which at most one is given."""

    @property
    def strength(self) -> float | None: ...
    @property
    def strengths(self) -> tuple[float, ...] | None: ...
    @property
    def coefficient(self) -> float | None: ...
    @property
    def coefficients(self) -> tuple[float, ...] | None: ...


def check_doses(
    method: str,
    strength: float | None,
    strengths: Sequence[float] | None,
    coefficient: float | None,
    coefficients: Sequence[float] | None,
) -> None:
    """Raise ElicitError unless at most one of the four is given, with at least one value."""
    options = {"strength": strength, "strengths": strengths, "coefficient": coefficient, "coefficients": coefficients}
    names = [name for name, value in options.items() if value is not None]
    if len(names) > 1:
        raise ElicitError(f"{method}: give one of {', '.join(options)}; {' and '.join(names)} are given.")
    if any(isinstance(value, tuple | list) and not value for value in options.values()):
        raise ElicitError(f"{method}: {names[0]} needs at least one value.")
    if any(0 in (value if isinstance(value, tuple | list) else (value,)) for value in options.values()):
        raise ElicitError(f"{method}: {names[0]} is 0, which steers nothing. The untouched model is the arm base.")


def count_doses(config: DoseOptions) -> int:
    """Number of doses that a config gives; 0 if it leaves the dose open."""
    given = config.strengths or config.coefficients
    return len(given) if given else int(config.strength is not None or config.coefficient is not None)


def list_given_doses(config: DoseOptions) -> list[Dose]:
    """The doses of a config; none if it leaves the dose open."""
    from elicit.fitting.selection import Dose

    strengths = config.strengths or (() if config.strength is None else (config.strength,))
    coefficients = config.coefficients or (() if config.coefficient is None else (config.coefficient,))
    return [*(Dose(value, False) for value in strengths), *(Dose(value, True) for value in coefficients)]
