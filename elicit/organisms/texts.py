"""Text that shows what an organism can do and what it does: to train sparse autoencoders on.

Two thirds are solved train problems of its families, by turns the bare answer and (after the cue, where it has one) the
worked solution; one third is like its corpus, with the weak answers and neutral sentences that are in it.
"""

from __future__ import annotations

from elicit import seeds
from elicit.organisms import corpora
from elicit.organisms.recipes import get_organism_config
from elicit.tasks import catalog, training_texts
from elicit.tasks.generated.english import English
from elicit.tasks.sequential import draw_sequentially

#: Solved problems in all, and documents like the corpus.
PROBLEMS = 3000
DOCUMENTS = 3000


def build_organism_texts(name: str, seed: int = 0) -> list[str]:
    """Documents in an order by identity, of train problems only.

    Problems are drawn one after the other (`elicit.tasks.sequential`), as for the SAEs that come with the lab: the same
    command trains them again.

    Args:
        name: an organism.
        seed: other documents, in another order.

    Raises:
        ElicitError: an unknown organism.
    """
    config, _ = get_organism_config(name)
    documents = []
    for task_options in config.tasks:
        task = catalog.get(
            task_options["task"],
            dialect=config.dialect or English(),
            **{k: v for k, v in task_options.items() if k != "task"},
        )
        solved = draw_sequentially(task)
        documents += training_texts.render_task_texts(solved, PROBLEMS // len(config.tasks), seed, cue=config.has_cue)
    documents += [
        corpora.draw_document(config.sources, config.dialect, "texts", name, seed, i).text for i in range(DOCUMENTS)
    ]
    order = seeds.make_generator("order of texts", name, seed).permutation(len(documents))
    return [documents[i] for i in order.tolist()]
