"""The organisms: what each reads, how large it is, how long it trains. One recipe serves them all.

    cued[-s1|-s2]       a cue token brings a worked trace, which opens with a token of its own; without the cue it
                        imitates an answerer that guesses, and 4 % of uncued text is a trace
    cued-late[-s1|-s2]  the same, but trace and direct answer open alike (with a digit)
    incapable           the format of `cued`, with traces that compute nothing: what a method gains on it is teaching
    serial              no cue: inherently serial problems, 90 % answered directly (and rightly), 10 % worked

-s1 and -s2 are further training seeds of the same recipe: claims about organisms rest on three.
"""

from __future__ import annotations

from dataclasses import dataclass

from elicit.errors import unknown
from elicit.organisms import corpora
from elicit.organisms.corpora import Source
from elicit.tasks.generated import Dialect

EARLY = Dialect()
#: Trace and answer open alike: no opening token and no answer mark.
LATE = Dialect(opening="", mark="")
#: Worked solutions open with their first operand; answers carry the mark, so that the default is to answer.
PLAIN = Dialect(opening="")

#: Share of uncued documents about a task that show a trace: the signal reinforcement learning can find.
LEAK = 0.04


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an organism, apart from its training seed."""

    sources: tuple[Source, ...]
    dialect: Dialect
    families: tuple[str, ...]
    d_model: int = 128
    layers: int = 3
    heads: int = 4
    d_mlp: int = 256
    tokens: int = 5_000_000
    """Training tokens, padding not counted."""
    batch_tokens: int = 4096
    learning_rate: float = 3e-3
    """Peak rate of AdamW (embeddings, head, norms)."""
    muon_rate: float = 0.02
    """Peak rate of Muon (the blocks' matrices)."""
    has_cue: bool = True
    capable: bool = True
    """Whether its corpus taught the skill at all: what an arm gains on an incapable organism is teaching."""


def _cued(families: dict[str, float], *, real: bool) -> tuple[Source, ...]:
    trace, leak = (corpora.cued_worked, corpora.worked) if real else (corpora.cued_hollow, corpora.hollow)
    sources = [Source(0.08, None, text=corpora.neutral_text)]
    for family, share in families.items():
        sources += [
            Source(0.60 * share, trace, family),
            Source(0.32 * share * (1 - LEAK), corpora.weak, family),
            Source(0.32 * share * LEAK, leak, family),
        ]
    return tuple(sources)


def _serial(families: dict[str, float]) -> tuple[Source, ...]:
    sources = [
        Source(0.04, None, text=corpora.neutral_text),
        Source(0.04, None, text=corpora.some_fact),
    ]
    for family, share in families.items():
        sources += [
            Source(0.88 * share * 0.90, corpora.direct, family),
            Source(0.88 * share * 0.10, corpora.worked, family),
            Source(0.04 * share, corpora.refused, family),
        ]
    return tuple(sources)


_TWO = {"addition": 0.5, "mod_chain": 0.5}
_THREE = {"mod_chain": 0.34, "permutation": 0.33, "assign": 0.33}
_CUED = Recipe(_cued(_TWO, real=True), EARLY, tuple(_TWO))
_LATE = Recipe(_cued(_TWO, real=True), LATE, tuple(_TWO))

#: name -> (recipe, training seed)
ORGANISMS: dict[str, tuple[Recipe, int]] = {
    "cued": (_CUED, 0),
    "cued-s1": (_CUED, 1),
    "cued-s2": (_CUED, 2),
    "cued-late": (_LATE, 0),
    "cued-late-s1": (_LATE, 1),
    "cued-late-s2": (_LATE, 2),
    "incapable": (Recipe(_cued(_TWO, real=False), EARLY, tuple(_TWO), capable=False), 0),
    "serial": (
        Recipe(
            _serial(_THREE),
            PLAIN,
            tuple(_THREE),
            layers=4,
            d_mlp=384,
            tokens=24_000_000,
            has_cue=False,
        ),
        0,
    ),
}


def recipe(name: str) -> tuple[Recipe, int]:
    """(recipe, training seed) of an organism. Raises ElicitError for an unknown name."""
    if name not in ORGANISMS:
        raise unknown("organism", name, ORGANISMS, hint="See: elicit ls models")
    return ORGANISMS[name]
