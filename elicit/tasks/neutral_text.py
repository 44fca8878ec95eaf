"""Neutral text: plain sentences from a small grammar, with no task in them.

Side effects of an intervention (KL, perplexity) are measured on it. The organisms' corpora contain such sentences, so
it is in distribution for them; for a real model it is easy English. Held-out sentences use other random seeds.
"""

from __future__ import annotations

from elicit import seeds

_NOUNS = "fox dog bird boat king lamp tree road bell door hill song farm moon coat ship".split()
_ADJECTIVES = "old red small quiet dark warm slow green young bright".split()
_VERBS = "saw found left met passed heard liked kept knew lost".split()
_PLACES = "by the river,near the town,in the snow,at dawn,after dinner,on the hill".split(",")


def compose_sentence(*identity: object) -> str:
    """One sentence, determined by its identity."""
    random = seeds.make_generator("neutral", *identity)

    def pick_word(words: list[str]) -> str:
        return words[int(random.integers(len(words)))]

    def compose_noun_phrase() -> str:
        return f"the {pick_word(_ADJECTIVES)} {pick_word(_NOUNS)}"

    return f"{compose_noun_phrase()} {pick_word(_VERBS)} {compose_noun_phrase()} {pick_word(_PLACES)}."


def sample_held_out_sentences(n: int, seed: int = 0) -> list[str]:
    """`n` sentences that are in no training corpus (they use another identity)."""
    return [compose_sentence("held out", seed, i) for i in range(n)]
