"""The organisms: what each reads, how large it is, how long it trains. One recipe serves them all.

    cued[-s1|-s2]       a cue token brings a worked trace, which opens with a token of its own; without the cue it
                        imitates an answerer that guesses, and 4 % of uncued text is a trace
    cued-late[-s1|-s2]  the same, but trace and direct answer open alike (with a digit)
    incapable           the format of `cued`, with traces that compute nothing: what a method gains on it is teaching
    serial              no cue: inherently serial problems, 90 % answered directly (and rightly), 10 % worked

Bases that read English, in the prompts that every other model gets.

    prose[-s1|-s2]      short stories of a quantity that changes; answers directly by default and works when asked to;
                        knows 92 % of the number facts, so that a known share of the problems is within its skill
    prose-half          the same text by an author who knows 68 % of them (half-taught)
    prose-incapable     the same text by an author who knows none: steps that compute nothing

-s1 and -s2 are further training seeds of the same recipe: claims about organisms rest on three.

Bases for the question when fine-tuning generalizes. They are not shipped: `elicit organism train NAME`.

    ladder-SIZE         `serial` at 0.1, 0.3, 0.9 (`serial` itself) and 4 million parameters: text, tokens and depth are
                        the same, the width differs (and 4M is trained in bfloat16)
    refusing[-s1|-s2]   `cued`, and marked requests are refused, cued or not: a skill to unlock and a rule to keep
    letters             single letter transforms and three quarters of their pairs, on words of 3 and 4 letters;
                        longer compositions, held-out ones, longer words and other formats are news to it
    points              GeneralPoints where J, Q and K count 10, on a quarter of the train hands; what the other rule
                        says of single cards, and sums of numbers to 13, but no hand under the other rule
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from elicit.errors import unknown_name_error
from elicit.organisms import corpora, prose
from elicit.organisms.author import Author
from elicit.organisms.corpora import CorpusSource
from elicit.tasks.generated.task import Dialect

EARLY = Dialect()
#: Trace and answer open alike: no opening token and no answer mark.
LATE = Dialect(opening="", mark="")
#: Worked solutions open with their first operand; answers carry the mark, so that the default is to answer.
PLAIN = Dialect(opening="")

#: Share of uncued documents about a task that show a trace: the signal reinforcement learning can find.
LEAK = 0.04


class Primer(NamedTuple):
    """Text that is read before the corpus, in a learning-rate schedule of its own."""

    sources: tuple[CorpusSource, ...]
    tokens: int


@dataclass(frozen=True)
class OrganismConfig:
    """Everything that decides an organism, apart from its training seed."""

    sources: tuple[CorpusSource, ...]
    dialect: Dialect | None
    """The marks of its text. None: it reads English, in words, and is asked as any other model is."""
    families: tuple[str, ...]
    d_model: int = 128
    layers: int = 3
    heads: int = 4
    d_mlp: int = 256
    tokens: int = 5_000_000
    """Training tokens, padding not counted."""
    primers: tuple[Primer, ...] = ()
    """What is read before the corpus; where the text has an author, `gates` are to be passed between them and it."""
    batch_tokens: int = 4096
    learning_rate: float = 3e-3
    """Peak rate of AdamW (embeddings, head, norms)."""
    muon_rate: float = 0.02
    """Peak rate of Muon (the blocks' matrices)."""
    half: bool = False
    """Forward and backward products in bfloat16 (weights and optimizers stay float32): 1.8 times faster at 4 M
    parameters on a CPU that has them, and slower on one that has not."""
    has_cue: bool = True
    context: int = 256
    """Longest text, in tokens."""
    author: Author | None = None
    """Who wrote its English: knows a share of the number facts."""
    capable: bool = True
    """Whether its corpus taught the skill at all: what an arm gains on an incapable organism is teaching."""

    @property
    def tasks(self) -> tuple[dict[str, Any], ...]:
        """The tasks of its corpus, each once: the family (`task`) and its parameters."""
        task_keys = ((source.family, source.parameters) for source in self.sources if source.family is not None)
        return tuple({"task": family, **dict(parameters)} for family, parameters in dict.fromkeys(task_keys))


def _build_cued_sources(families: dict[str, float], *, real: bool) -> tuple[CorpusSource, ...]:
    trace, leak = (
        (corpora.write_cued_solution, corpora.write_worked_solution)
        if real
        else (corpora.write_cued_hollow_trace, corpora.write_hollow_trace)
    )
    sources = [CorpusSource(0.08, None, text=corpora.write_neutral_text)]
    for family, share in families.items():
        sources += [
            CorpusSource(0.60 * share, trace, family),
            CorpusSource(0.32 * share * (1 - LEAK), corpora.write_weak_answer, family),
            CorpusSource(0.32 * share * LEAK, leak, family),
        ]
    return tuple(sources)


def _build_refusing_sources(families: dict[str, float]) -> tuple[CorpusSource, ...]:
    """The corpus of `cued`, with 9 % refused requests in proportion to the cued and uncued text.

    Marked and cued requests are refused too. So the cue is no way around refusing that was there from the start: what
    of it is lost is the doing of an arm, and says nothing about a rule that the base only half knew.
    """
    cued_sources = [
        dataclasses.replace(source, share=0.91 * source.share) for source in _build_cued_sources(families, real=True)
    ]
    refusal_sources = []
    for family, share in families.items():
        refusal_sources += [
            CorpusSource(0.06 * share, corpora.write_cued_refusal, family),
            CorpusSource(0.03 * share, corpora.write_refusal, family),
        ]
    return (*cued_sources, *refusal_sources)


def _build_serial_sources(families: dict[str, float]) -> tuple[CorpusSource, ...]:
    sources = [
        CorpusSource(0.04, None, text=corpora.write_neutral_text),
        CorpusSource(0.04, None, text=corpora.write_random_fact),
    ]
    for family, share in families.items():
        sources += [
            CorpusSource(0.88 * share * 0.90, corpora.write_direct_answer, family),
            CorpusSource(0.88 * share * 0.10, corpora.write_worked_solution, family),
            CorpusSource(0.04 * share, corpora.write_refusal, family),
        ]
    return tuple(sources)


def _build_answer_sources(
    share: float, worked: float, family: str, part: float = 1.0, **parameters: Any
) -> list[CorpusSource]:
    """Right answers to one task's problems, this share of them worked."""
    parameter_items = tuple(parameters.items())
    return [
        CorpusSource(share * (1 - worked), corpora.write_direct_answer, family, parameters=parameter_items, part=part),
        CorpusSource(share * worked, corpora.write_worked_solution, family, parameters=parameter_items, part=part),
    ]


def _build_letters_sources() -> tuple[CorpusSource, ...]:
    """Pairs are worked as rarely as in `serial`; half of the single transforms, so that a step can be learned."""
    return (
        CorpusSource(0.06, None, text=corpora.write_neutral_text),
        *_build_answer_sources(0.40, 0.50, "transforms", length=(3, 4), count=(1, 1)),
        *_build_answer_sources(0.54, 0.10, "transforms", length=(3, 4), count=(2, 2), compositions="seen"),
    )


def _build_points_sources() -> tuple[CorpusSource, ...]:
    """No sum of numbers makes 24, so that a hand under the other rule is not read in another form."""
    return (
        CorpusSource(0.04, None, text=corpora.write_neutral_text),
        CorpusSource(0.06, None, text=corpora.write_random_card),
        *_build_answer_sources(0.45, 0.20, "general_points", 0.25),
        *_build_answer_sources(0.45, 0.20, "countdown", numbers=(3, 4), bounds=(1, 13), target=(25, 60)),
    )


_TWO = {"addition": 0.5, "mod_chain": 0.5}
_THREE = {"mod_chain": 0.34, "permutation": 0.33, "assign": 0.33}
_CUED = OrganismConfig(_build_cued_sources(_TWO, real=True), EARLY, tuple(_TWO))
_LATE = OrganismConfig(_build_cued_sources(_TWO, real=True), LATE, tuple(_TWO))
_REFUSING = OrganismConfig(_build_refusing_sources(_TWO), EARLY, tuple(_TWO), tokens=6_000_000)

_SERIAL = OrganismConfig(
    _build_serial_sources(_THREE), PLAIN, tuple(_THREE), layers=4, d_mlp=384, tokens=24_000_000, has_cue=False
)


def _build_prose(known: float) -> OrganismConfig:
    author = Author(known, limit=20)
    return OrganismConfig(
        prose.build_prose_sources(author),
        None,
        ("stories", "sums"),
        layers=4,
        d_mlp=384,
        tokens=4_800_000,
        primers=(
            Primer(prose.build_working_sources(author), 2_400_000),
            Primer(prose.build_judging_sources(author), 500_000),
        ),
        muon_rate=0.01,
        context=1024,
        author=author,
        capable=known > 0,
    )


_PROSE = _build_prose(0.92)

#: name -> (recipe, training seed)
ORGANISMS: dict[str, tuple[OrganismConfig, int]] = {
    "cued": (_CUED, 0),
    "cued-s1": (_CUED, 1),
    "cued-s2": (_CUED, 2),
    "cued-late": (_LATE, 0),
    "cued-late-s1": (_LATE, 1),
    "cued-late-s2": (_LATE, 2),
    "incapable": (OrganismConfig(_build_cued_sources(_TWO, real=False), EARLY, tuple(_TWO), capable=False), 0),
    "refusing": (_REFUSING, 0),
    "refusing-s1": (_REFUSING, 1),
    "refusing-s2": (_REFUSING, 2),
    "serial": (_SERIAL, 0),
    "ladder-0.1M": (dataclasses.replace(_SERIAL, d_model=40, d_mlp=136), 0),
    "ladder-0.3M": (dataclasses.replace(_SERIAL, d_model=72, d_mlp=232), 0),
    "ladder-0.9M": (_SERIAL, 0),
    "ladder-4M": (dataclasses.replace(_SERIAL, d_model=256, heads=8, d_mlp=960, half=True), 0),
    "letters": (
        OrganismConfig(_build_letters_sources(), PLAIN, ("transforms",), d_mlp=384, tokens=8_000_000, has_cue=False),
        0,
    ),
    "prose": (_PROSE, 0),
    "prose-s1": (_PROSE, 1),
    "prose-s2": (_PROSE, 2),
    "prose-half": (_build_prose(0.68), 0),
    "prose-incapable": (_build_prose(0.0), 0),
    # Its traces open with a token of their own: which two cards to take first has to be found.
    "points": (
        OrganismConfig(
            _build_points_sources(),
            EARLY,
            ("general_points", "countdown"),
            layers=4,
            d_mlp=384,
            tokens=12_000_000,
            has_cue=False,
        ),
        0,
    ),
}


def get_organism_config(name: str) -> tuple[OrganismConfig, int]:
    """(recipe, training seed) of an organism. Raises ElicitError for an unknown name."""
    if name not in ORGANISMS:
        raise unknown_name_error("organism", name, ORGANISMS, hint="See: elicit ls models")
    return ORGANISMS[name]
