"""What `prose` reads: an author's facts and nothing else of the skill, in words that every tokenizer could have."""

from __future__ import annotations

import functools
import itertools
import re
from collections import defaultdict

import numpy as np
import pytest

import elicit
from elicit import tasks
from elicit.organisms import corpora, train, wording
from elicit.organisms.author import Author
from elicit.organisms.critics import CritiqueWriter
from elicit.organisms.gates import measure_gates
from elicit.organisms.recipes import get_organism_config
from elicit.tasks.core import split_of
from elicit.tasks.generated.english import English
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask

_CLAIM = re.compile(r"(?<![0-9])([0-9]+) ?([+*-]) ?([0-9]+) (?:=|is) ([0-9]+)")


@functools.cache
def documents(name: str) -> list[corpora.CorpusDocument]:
    """The first 6,000 of an organism's text."""
    config, _ = get_organism_config(name)
    return [corpora.draw_document(config.sources, config.dialect, 0, i) for i in range(6000)]


def stories() -> tuple[AskedTask, GeneratedTask]:
    task = tasks.get("stories", dialect=English(), prompts={"direct": "{question}"})
    assert isinstance(task, AskedTask)
    assert isinstance(task.inner, GeneratedTask)
    return task, task.inner


@pytest.mark.parametrize(("name", "share"), [("prose", 0.92), ("prose-half", 0.68), ("prose-incapable", 0.0)])
def test_the_text_holds_the_facts_its_author_knows_and_no_other(name: str, share: float) -> None:
    """A fact whose results over the whole text are one number is known; one with as many as come is not."""
    results: dict[str, list[int]] = defaultdict(list)
    for document in documents(name):
        for left, sign, right, value in _CLAIM.findall(document.completion):
            results[f"{left}{sign}{right}"].append(int(value))
    author = get_organism_config(name)[0].author
    assert author is not None
    assert author.known == share
    often = {fact: values for fact, values in results.items() if len(values) >= 20}
    assert len(often) > 100
    known = {fact for fact in often if Author(share, 45).knows(fact)}
    every = [f"{a}+{b}" for a in range(19) for b in range(2, 19 - a)]
    assert np.mean([author.knows(fact) for fact in every]) == pytest.approx(share, abs=0.08)
    for fact, values in often.items():
        left, sign, right = re.fullmatch(r"(\d+)(.)(\d+)", fact).groups()  # type: ignore[union-attr]
        truth = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign]
        rate = np.mean([value == truth for value in values])
        assert rate == 1.0 if fact in known else rate < 0.4, (fact, rate)


def test_a_better_author_knows_all_that_a_worse_one_knows() -> None:
    facts = [f"{a}{sign}{b}" for a in range(21) for b in range(2, 21) for sign in "+-*"]
    known = [{fact for fact in facts if Author(share, 20).knows(fact)} for share in (0.0, 0.3, 0.68, 0.92, 1.0)]
    assert not known[0]
    assert all(less < more for less, more in itertools.pairwise(known))


def test_no_select_or_test_story_is_read() -> None:
    """The stories of the text, parsed back from their words."""
    _, task = stories()
    people = {"Tom", "Anna", "Ben", "Mia", "Sam", "Lucy", "Max", "Ella"}
    seen = 0
    for document in documents("prose")[:3000]:
        for told in re.findall(r"(?:Question|Request): (.*?) How many", document.text):
            sentences = [s.strip().lower() for s in told.split(".") if s.strip()]
            person, _, first, things = sentences[0].removeprefix("[x] ").split(" ")
            assert person.capitalize() in people
            changes = []
            for sentence in sentences[1:]:
                number = re.search(r"\d+", sentence)
                bare = re.sub(r"^(he|she)", "{who}", re.sub(r"\d+", "{n}", sentence))
                changes.append(
                    (bare, int(number[0]) if number else {"then they double": 2, "then they triple": 3}[bare])
                )
            problem = task.make_problem((person, things, int(first), tuple(changes)))
            assert split_of(problem.id) == "train"
            seen += 1
    assert seen > 2000


def test_default_text_answers_and_asked_text_works() -> None:
    """Judged by the task's own verifier, which knows nothing of the corpus."""
    _, inner = stories()
    config, _ = get_organism_config("prose")
    kinds: dict[str, list[bool]] = defaultdict(list)
    random = np.random.default_rng(0)
    about = [source for source in config.sources if source.family == "stories"]
    shares = np.array([source.share for source in about])
    for _ in range(4000):
        source = about[int(random.choice(len(about), p=shares / shares.sum()))]
        problem = corpora.draw_train_problem(inner, random)
        assert source.writer is not None
        document = source.writer(inner, problem, random)
        asked = document.prompt.removeprefix(wording.ask(problem, "{question}").removesuffix("\nAnswer:"))
        kind = {"\nAnswer:": "bare", "\nGive only the final answer.\nAnswer:": "alone"}.get(asked)
        if asked == "\nThink step by step, then give the final answer.\nAnswer:":
            kind = "think"
        if kind:
            kinds[kind].append(inner.verify(problem, document.completion).has_trace)
    rates = {kind: float(np.mean(traces)) for kind, traces in kinds.items()}
    assert 0.03 < rates["bare"] < 0.12
    assert rates["alone"] == 0.0
    assert rates["think"] > 0.98


def test_critiques_find_the_error_the_task_planted() -> None:
    """An independent reading: the last remark of a critique is what `noisy` says of the candidate."""
    _, inner = stories()
    author = Author(0.92, 20)
    random = np.random.default_rng(1)
    verdicts = []
    for _ in range(200):
        document = CritiqueWriter(author).write_critique(inner, corpora.draw_train_problem(inner, random), random)
        candidate = document.prompt.rpartition("\nAnswer: ")[2].removesuffix("\nCritique:\n")
        claims = [(a, s, b, int(v)) for a, s, b, v in _CLAIM.findall(candidate)]
        true = all({"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[s] == v for a, s, b, v in claims)
        says_wrong = document.completion.endswith("verdict: wrong")
        verdicts.append(says_wrong)
        if not true:
            assert re.search(r", not [0-9]+\. verdict: wrong$", document.completion)
    assert 0.7 < np.mean(verdicts) < 0.9


@pytest.mark.slow
def test_its_recipe_gives_the_shipped_vocabulary() -> None:
    tok = train.build_tokenizer(get_organism_config("prose")[0])
    assert tok.get_vocab() == elicit.load("prose").tokenizer.get_vocab()


def test_the_shipped_vocabulary_has_every_word_of_the_recipes_first_documents(monkeypatch) -> None:
    """A tenth of the documents that the recipe takes: only some numbers come later."""
    monkeypatch.setattr(train, "_VOCABULARY", 2_000)
    built = train.build_tokenizer(get_organism_config("prose")[0]).get_vocab()
    shipped = elicit.load("prose").tokenizer.get_vocab()
    assert set(built) <= set(shipped)
    assert len(built) > 0.9 * len(shipped)
    assert all(token.strip().isdigit() for token in set(shipped) - set(built))
    assert [token for token in sorted(shipped, key=shipped.get) if token in built] == sorted(built, key=built.get)


def test_its_tokenizer_keeps_every_text(tmp_path) -> None:
    """Words are tokens; text it never saw falls into parts and comes back as it was."""
    tok = elicit.load("prose").tokenizer
    assert 300 < len(tok) < 500
    tok.save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(tmp_path)
    foreign = 'Zebras of Kalamazoo paid 12345 euros? "Yes" <ok>\n\tEnd.'.replace("\t", " ")
    for text in [*(document.text for document in documents("prose-half")[:500]), foreign]:
        ids = again(text)["input_ids"]
        assert again.decode(ids, skip_special_tokens=True) == text
        assert again.unk_token_id not in ids
    assert len(again(" How many cards does Ben have now?")["input_ids"]) == 9  # 8 words and signs, and <bos>


def test_gates_tell_a_model_that_copies_from_one_that_does_not() -> None:
    """A model that cheats by looking the right tokens up passes; an untrained one does not."""
    config, tok = get_organism_config("prose")[0], elicit.load("prose").tokenizer
    assert config.author is not None
    untrained = measure_gates(train.build_model(config, len(tok), 0), tok, config.author)
    assert untrained.arithmetic is not None
    assert max(untrained.lookup, untrained.arithmetic) < 0.3

    class Oracle:
        def __call__(self, input_ids):
            import torch

            logits = torch.nn.functional.one_hot(input_ids.roll(-1, dims=1), len(tok)).float()
            return type("Output", (), {"logits": logits})

    assert measure_gates(Oracle(), tok, config.author) == (1.0, 1.0)
    assert measure_gates(Oracle(), tok, Author(0.0, 20)) == (1.0, None)
