"""Bases that are trained on demand: their sizes, what they must not read, and what is said of them untrained."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elicit import tasks
from elicit.cli import ls, organism
from elicit.errors import ElicitError
from elicit.loading import catalog, load
from elicit.organisms import batches, corpora, texts, tokenizer, train
from elicit.organisms.recipes import ORGANISMS, OrganismConfig, get_organism_config
from elicit.tasks.core import content_id, share_of, split_of
from elicit.tasks.families import general_points
from elicit.tasks.families.transforms import is_unseen

#: Values of weights, counted.
SIZES = {"ladder-0.1M": 99_400, "ladder-0.3M": 298_728, "ladder-0.9M": 879_232, "ladder-4M": 4_052_224}
_TRANSFORM = {"R": "rot", "<": "left", ">": "right", "V": "reverse"}


def documents(name: str, n: int) -> list[corpora.CorpusDocument]:
    config, seed = get_organism_config(name)
    return [corpora.draw_document(config.sources, config.dialect, seed, i) for i in range(n)]


def test_what_is_not_shipped_is_known_to_be_untrained() -> None:
    """The names stand on two rungs, because loading is below the recipes."""
    shipped = {entry.name for entry in catalog.list_organisms()}
    assert set(catalog.UNTRAINED) == set(ORGANISMS) - shipped, (
        "list a recipe without shipped weights in catalog.UNTRAINED, and no other"
    )


@pytest.mark.parametrize("name", list(SIZES))
def test_the_ladder_has_the_sizes_its_names_say(name: str) -> None:
    config, seed = get_organism_config(name)
    model = train.build_model(config, len(tokenizer.build_character_tokenizer()), seed)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert size == SIZES[name]
    assert size == pytest.approx(float(name.removeprefix("ladder-").removesuffix("M")) * 1e6, rel=0.03)


def test_the_ladder_differs_in_width_and_the_precision_of_its_products() -> None:
    serial, seed = get_organism_config("serial")
    width = {field: getattr(serial, field) for field in ("d_model", "heads", "d_mlp", "half")}
    for name in SIZES:
        config, own = get_organism_config(name)
        assert (dataclasses.replace(config, **width), own) == (serial, seed)


def test_letters_reads_no_shift() -> None:
    """Words of 3 and 4 letters, one or two transforms, no held-out pair, no other format, no test problem."""
    found = [d for d in documents("letters", 1500) if d.prompt]
    pairs: set[Any] = set()
    singles: set[Any] = set()
    for document in found:
        word, signs = document.prompt.removeprefix("Q:").removesuffix("\nA:").split(":")
        cut = [re.fullmatch(r"([R<>V])(\d*)", sign) for sign in signs.split(",")]
        composition: Any = tuple((_TRANSFORM[m[1]], int(m[2] or 0)) for m in cut if m)
        assert len(composition) == len(cut) <= 2
        assert re.fullmatch("[a-z]{3,4}", word)
        assert not is_unseen(composition)
        task = tasks.get("transforms", length=(3, 4), count=(1, 2), dialect=get_organism_config("letters")[0].dialect)
        problem = task.make_problem((word, composition))  # type: ignore[attr-defined]
        assert split_of(problem.id) == "train"
        verdict = task.verify(problem, document.completion)
        assert verdict.correct
        assert verdict.trace_valid is not False
        (singles if len(composition) == 1 else pairs).add(composition)
    assert len(singles) == 6, "every single transform is there"
    every = {(a[0], b[0]) for a in singles for b in singles}
    held_out = {pair for pair in every if is_unseen(pair)}
    assert pairs == every - held_out
    assert held_out


def test_points_knows_the_other_rule_of_single_cards_only() -> None:
    read = documents("points", 1000)
    found = [d.prompt.removeprefix("Q:").removesuffix("\nA:") for d in read if d.prompt]
    hands = [text for text in found if text.startswith("JQK=10:") and "," in text]
    others = [text for text in found if text.startswith("JQK=11,12,13:")]
    sums = [text for text in found if not text.startswith("JQK")]
    assert min(len(hands), len(sums)) > 350
    assert not [text for text in others if "," in text.partition("13:")[2]]
    assert not [text for text in sums if text.endswith(">24")]
    ranks = {"A": 1, "J": 11, "Q": 12, "K": 13}
    for text in set(hands):
        cards = [ranks.get(card) or int(card) for card in text.removeprefix("JQK=10:").removesuffix(">24").split(",")]
        identity = content_id("general_points", ",".join(map(str, sorted(cards))))
        assert share_of(identity) < 0.2, "a quarter of the train split"
    random = np.random.default_rng(0)
    values = {one.prompt: one.completion for one in (corpora.write_random_card(random) for _ in range(500))}
    assert len(values) == 26
    assert others, "and they are read"
    assert values["Q:JQK=10:K\nA:"] == "#10"
    assert values["Q:JQK=11,12,13:K\nA:"] == "#13"
    assert values["Q:JQK=11,12,13:7\nA:"] == values["Q:JQK=10:7\nA:"] == "#7"
    assert set(general_points.RULES.values()) == {"JQK=10", "JQK=11,12,13"}


def test_its_running_text_is_what_the_recipe_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What sparse autoencoders are trained on holds no shift either."""
    monkeypatch.setattr(texts, "PROBLEMS", 600)
    monkeypatch.setattr(texts, "DOCUMENTS", 300)
    found = texts.build_organism_texts("letters")
    assert len(found) == 2 * texts.PROBLEMS + texts.DOCUMENTS
    asked = [text for text in found if text.startswith("Q:")]
    assert max(text.split("\n")[0].count(",") for text in asked) == 1
    assert all(len(text.removeprefix("Q:").split(":")[0]) <= 4 for text in asked)


@pytest.mark.parametrize(
    "name",
    ["ladder-0.1M", *(pytest.param(name, marks=pytest.mark.slow) for name in ("letters", "points", "ladder-4M"))],
)
def test_it_trains_and_its_card_says_what_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A short training through the command line: what is written loads, and can be asked what its card says."""
    config = _short(name, monkeypatch)
    assert organism.main(["train", name, "--seed", "3", "--out", str(tmp_path / name)]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == str(tmp_path / name)
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", shown.err)]
    assert 0 < losses[-1] < 4.5  # ln 102 = 4.62 to begin with
    card = json.loads((tmp_path / name / "card.json").read_text())
    assert (card["name"], card["seed"], card["has_cue"], card["capable"]) == (name, 3, False, True)
    assert card["command"] == f"elicit organism train {name} --seed 3"
    assert card["recipe"]["tokens"] == config.tokens
    loaded = load.load_transformers(tmp_path / name)
    assert loaded.card == card
    for asked in card.get("tasks") or [{"task": family} for family in card["families"]]:
        options = {key: value for key, value in asked.items() if key != "task"}
        task = tasks.get(asked["task"], dialect=tasks.Dialect(**card["dialect"]), **options)
        problem = task.problems("train", 1)[0]
        assert (
            loaded.tokenizer.unk_token_id not in loaded.tokenizer(problem.prompt + str(task.worked(problem))).input_ids
        )


def _short(name: str, monkeypatch: pytest.MonkeyPatch, tokens: int = 7000) -> OrganismConfig:
    config, seed = get_organism_config(name)
    short = dataclasses.replace(config, tokens=tokens, batch_tokens=1024)
    monkeypatch.setattr(train, "get_organism_config", lambda _: (short, seed))
    monkeypatch.setattr(batches, "_POOL", 400)
    return short


def test_another_seed_is_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _short("ladder-0.1M", monkeypatch, 2000)
    folders = [train.train_organism("ladder-0.1M", tmp_path / str(i), seed=seed) for i, seed in enumerate((None, 0, 1))]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("letters", "elicit organism train letters --out organisms/letters and load ./organisms/letters"),
        ("./organisms/ladder-4M", "elicit organism train ladder-4M --out ./organisms/ladder-4M"),
        ("organisms/points", "elicit organism train points --out organisms/points"),
        ("../x/points-s2", "elicit organism train points --seed 2 --out ../x/points-s2"),
    ],
)
def test_an_untrained_one_is_one_line_with_the_command(
    typed: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ElicitError) as error:
        catalog.resolve_model(typed)
    assert str(error.value) == (f"{typed} has not been trained yet: its recipe is not shipped trained. Type: {command}")


def test_a_trained_one_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "organisms" / "letters").mkdir(parents=True)
    (tmp_path / "organisms" / "letters" / "config.json").write_text("{}")
    assert catalog.resolve_model("./organisms/letters").kind == "folder"
    with pytest.raises(ElicitError, match=r"it is trained already\. Type: \./organisms/letters$"):
        catalog.resolve_model("letters")
    assert catalog.resolve_model("someone/letters").kind == "hub", "a hub id may be called alike"
    assert ls.main(["models"]) == 0
    before, _, after = capsys.readouterr().out.partition("recipes to train first")
    assert "letters" not in before
    assert re.search(r"^letters .*; trained$", after, re.M)
    assert re.search(r"^points .*tokens$", after, re.M)
