"""How a training ends that a person should hear about."""

from __future__ import annotations

from elicit.errors import ElicitError


class TrainingFailed(ElicitError):
    """A training went wrong: the step, what was seen, and what to try. Its cell fails; the others go on."""
