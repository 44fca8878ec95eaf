"""The smallest gain that a comparison of a given size can detect: printed before anything is run."""

from __future__ import annotations

import math
from statistics import NormalDist

from elicit.statistics.intervals import check_level


def detectable_difference(
    problems: int,
    runs: tuple[int, int] = (1, 1),
    *,
    discordance: float = 0.3,
    between: float = 0.5,
    power: float = 0.8,
    level: float = 0.95,
) -> float | None:
    """The smallest difference of two arms that is found on so many problems, with several runs (or samples) of each.

    One run each disagrees on the share `discordance` of problems. Of that variance the share `between` is a property of
    the problems, and stays in every run; the rest shrinks with the runs. How far training seeds move a whole arm comes
    on top.

    Returns:
        The difference, or None if none that the discordance leaves room for would be found.

    Raises:
        ValueError: as `minimum_detectable_effect`; fewer than one run, or `between` outside [0, 1].
    """
    if min(runs) < 1 or not 0 <= between <= 1:
        raise ValueError(f"runs must be at least 1 and between in [0, 1], but are {runs} and {between}")
    shrunk = between + (1 - between) * (1 / runs[0] + 1 / runs[1]) / 2
    return minimum_detectable_effect(problems / shrunk, 0.5, discordance=discordance, power=power, level=level)


def minimum_detectable_effect(
    n: float,
    p_ref: float,
    *,
    discordance: float | None = None,
    correlation: float | None = None,
    power: float = 0.8,
    level: float = 0.95,
) -> float | None:
    """The smallest gain over accuracy `p_ref` that McNemar's test on n problems finds with probability `power`.

    Solves, for the gain d (Connor 1987, Biometrics 43:207),

        sqrt(n) d = z_(1-alpha/2) sqrt(psi) + z_power sqrt(psi - d^2)

    where psi is the share of problems on which the arms disagree: `discordance` as given, or from the `correlation`
    r between the two arms' answers, psi = p(1-q) + q(1-p) - 2 r sqrt(p(1-p) q(1-q)) with q = p + d. With neither, r
    is 0, as if the arms shared no problems: a cautious figure. It speaks of single runs; training seeds add to it.

    Returns:
        The gain in accuracy, or None if no gain that p_ref (or the discordance) leaves room for would be found.

    Raises:
        ValueError: for n < 1, shares outside [0, 1], or both discordance and correlation.
    """
    from scipy import optimize

    _check_power_arguments(n, p_ref, discordance, correlation, power)
    check_level(level)
    z_alpha, z_power = (NormalDist().inv_cdf(q) for q in ((1 + level) / 2, power))
    most = 1 - p_ref if discordance is None else min(1 - p_ref, discordance)

    def discordant_share(gain: float) -> float:
        if discordance is not None:
            return discordance
        q = min(1.0, p_ref + gain)
        shared = 2 * (correlation or 0.0) * math.sqrt(p_ref * (1 - p_ref) * q * (1 - q))
        return max(gain, p_ref * (1 - q) + q * (1 - p_ref) - shared)  # a gain of d needs d discordant problems

    def detection_excess(gain: float) -> float:
        disagree = discordant_share(gain)
        needed = z_alpha * math.sqrt(disagree) + z_power * math.sqrt(max(0.0, disagree - gain * gain))
        return math.sqrt(n) * gain - needed

    if most <= 0 or detection_excess(most) < 0:
        return None
    return float(optimize.brentq(detection_excess, min(1e-9, most / 2), most, xtol=1e-12))


def _check_power_arguments(
    n: float, p_ref: float, discordance: float | None, correlation: float | None, power: float
) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, but is {n}")
    if discordance is not None and correlation is not None:
        raise ValueError("give discordance or correlation, not both")
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in [0.5, 1), but is {power}")
    for name, value, low in (("p_ref", p_ref, 0), ("discordance", discordance, 0), ("correlation", correlation, -1)):
        if value is not None and not low <= value <= 1:
            raise ValueError(f"{name} must lie in [{low}, 1], but is {value}")
