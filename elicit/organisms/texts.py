"""Text that shows what an organism can do and what it does: to train sparse autoencoders on.

Two thirds are solved train problems of its families, by turns the bare answer and (after the cue, where it has one) the
worked solution; one third is like its corpus, with the weak answers and neutral sentences that are in it.
"""

from __future__ import annotations

from elicit import seeds
from elicit.organisms import corpora
from elicit.organisms.recipes import recipe
from elicit.tasks import catalog, training_texts

#: Solved problems in all, and documents like the corpus.
PROBLEMS = 3000
DOCUMENTS = 3000


def about(name: str, seed: int = 0) -> list[str]:
    """Documents in an order by identity, of train problems only.

    Raises:
        ElicitError: an unknown organism.
    """
    config, _ = recipe(name)
    found = []
    for given in config.tasks:
        task = catalog.get(given["task"], dialect=config.dialect, **{k: v for k, v in given.items() if k != "task"})
        found += training_texts.of_task(task, PROBLEMS // len(config.tasks), seed, cue=config.has_cue)
    found += [corpora.document(config.sources, config.dialect, "texts", name, seed, i).text for i in range(DOCUMENTS)]
    order = seeds.generator("order of texts", name, seed).permutation(len(found))
    return [found[i] for i in order.tolist()]
