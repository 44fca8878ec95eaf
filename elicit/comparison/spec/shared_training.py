"""Arms whose training several processes share (`processes` in a spec). Imports no torch."""

from __future__ import annotations

from elicit.comparison.spec.spec import Spec
from elicit.errors import ElicitError


def count_processes(spec: Spec, arm: str) -> int:
    """Processes that train an arm: those of the spec, or one for an arm that cannot share its training."""
    return spec.processes if arm in find_shared_arms(spec) else 1


def find_shared_arms(spec: Spec) -> list[str]:
    """Arms whose training several processes share; empty if the spec asks for one process.

    Raises:
        ElicitError: names an arm whose training cannot be dealt to them, or a device that they cannot have each.
    """
    arms = []
    for arm, method in spec.build_methods().items() if spec.processes > 1 else ():
        try:
            if method.shares_training(spec.processes):
                arms.append(arm)
        except ElicitError as error:
            raise ElicitError(f"arm {arm!r}: {error}") from None
    if arms and (spec.device == "balanced" or ":" in spec.device):
        raise ElicitError(
            f"processes: {spec.processes} with device: {spec.device}: each process has a device of its own. Type "
            "device: cuda (the GPUs in CUDA_VISIBLE_DEVICES, one a process) or device: cpu."
        )
    return arms


def describe_processes(spec: Spec) -> str | None:
    """One line: which arms' trainings the processes share, and which are trained by one; None for one process."""
    if spec.processes == 1:
        return None
    shared = find_shared_arms(spec)
    alone = [arm for arm, method in spec.build_methods().items() if method.traits.trained and arm not in shared]
    words = f"{spec.processes} share each training of {', '.join(shared)}" if shared else "no arm's training is shared"
    return words + (f"; {', '.join(alone)}: in one process" if alone else "")
