"""`elicit sae features`: which features of an SAE differ between two conditions, by every scorer side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.cli.task_option import parse_task_option
from elicit.errors import ElicitError

if TYPE_CHECKING:
    import pandas as pd

    from elicit.cli.sae_conditions import Conditions
    from elicit.model import BaseModel
    from elicit.tasks import Task
    from saes import SAE


@dataclass(frozen=True)
class FeaturesOptions:
    """Rank an SAE's features by how they differ between two conditions of a task."""

    sae: Positional[str]
    """A shipped SAE (cued/L1), a folder, or RELEASE:ID."""
    task: str = "addition"
    """Task whose problems are read: a name, or a .jsonl file."""
    between: Literal["auto", "cue", "continuations", "trace", "correct", "policy"] = "auto"
    """auto: cue, or continuations for organisms whose card says that they know no cue. cue: cue prompts against plain
    ones, at the last token. continuations: the first token of a worked solution against that of a direct one. trace:
    the steps against the answer within worked solutions. correct: right against wrong completions, sampled at
    temperature 1. policy: a trained policy against its base on plain prompts."""
    policy: Path | None = None
    """The policy's folder, for --between policy (RUN/cells/MODEL/ARM/SEED/policy)."""
    model: str | None = None
    """Model to read with. Default: the one the SAE names."""
    problems: int = 200
    split: Literal["train", "select", "test"] = "train"
    """Choose features on train, judge them on select; test is for final figures."""
    samples: int = 8
    """Completions per problem, for --between correct."""
    scorers: tuple[str, ...] = ()
    """contrast auroc probe attribution patching dla reason_score. Default: all that apply."""
    words: tuple[str, ...] = ()
    """Words of reasoning for reason_score, such as wait but so."""
    top: int = 20
    """Features to show."""
    csv: Path | None = None
    """Write the table of all features here."""
    seed: int = 0
    transfer: bool = False
    """Read with other weights than the SAE was trained on."""
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(FeaturesOptions, "sae features", arguments)
    for name, value in (("problems", options.problems), ("top", options.top), ("samples", options.samples)):
        if value < 1:
            raise ElicitError(f"--{name} is {value}; expected at least 1.")
    if (options.policy is not None) != (options.between == "policy"):
        raise ElicitError("--policy FOLDER and --between policy belong together: give both or neither.")
    import saes
    from elicit.fitting.sae_lookup import check_sae_match
    from elicit.model import load

    sae = saes.load(options.sae, download=options.download)
    model = load(
        options.model or sae.manifest.model, dtype=options.dtype, device=options.device, download=options.download
    )
    task = _load_task_by_name(model, options.task)
    probe = [problem.prompt + (task.worked(problem) or "") for problem in task.problems("train", 32)]
    check_sae_match(model, sae, probe, transfer=options.transfer)
    table, sides = _score_features(options, model, sae, task)
    _print_feature_table(options, table, sae, sides)
    if options.csv is not None:
        table.to_csv(options.csv)
        print(f"{len(table):,} features -> {options.csv}", file=sys.stderr)
    return 0


def _score_features(
    options: FeaturesOptions, model: BaseModel, sae: SAE, task: Task
) -> tuple[pd.DataFrame, Conditions]:
    import saes
    from elicit.cli.sae_conditions import build_conditions
    from elicit.fitting.sae_lookup import choose_logit_difference_tokens

    sides = build_conditions(
        options.between, model, task, task.problems(options.split, options.problems),
        samples=options.samples, seed=options.seed, policy=options.policy,
    )  # fmt: skip
    difference = None
    if sides.at_opening and (not options.scorers or {"attribution", "patching", "dla"} & set(options.scorers)):
        try:
            difference = choose_logit_difference_tokens(model, task)
        except ElicitError as reason:
            if options.scorers:
                raise
            print(f"no attributions: {reason}", file=sys.stderr)
    words = {word: _encode_spellings(model, word) for word in options.words}
    table = saes.discover(
        model.hf,
        sae,
        sides.positive,
        sides.negative,
        scorers=options.scorers or None,
        logit_difference=difference,
        words=words or None,
        positive_context=sides.context,
        names=sides.names,
        seed=options.seed,
    )
    return table, sides


def _encode_spellings(model: BaseModel, word: str) -> list[tuple[int, ...]]:
    """Token ids of a word with and without a space in front.

    Raises:
        ElicitError: a word this tokenizer cannot spell.
    """
    encodings = [model.continuation(text) for text in (word, " " + word)]
    spelled = [ids for ids in encodings if ids and model.tokenizer.unk_token_id not in ids]
    if not spelled:
        raise ElicitError(f"--words: {word!r} has characters without a token in {model.name}. Leave it out.")
    return spelled


def _load_task_by_name(model: BaseModel, name: str) -> Task:
    """The task by name in the organism's dialect, or a file of the user's."""
    from elicit.comparison.spec import build_model_task

    return build_model_task(model, parse_task_option(name), where="--task")


def _print_feature_table(options: FeaturesOptions, table: pd.DataFrame, sae: SAE, sides: Conditions) -> None:
    from rich.console import Console
    from rich.table import Table

    import saes

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = 160  # a table in a file is read by programs and editors: nothing is cut
    scorers = list(table.attrs["scores"])
    positive, negative = (table.attrs["conditions"][side] for side in ("positive", "negative"))
    console.print(
        f"{sae!r}\n{positive['name']} ({positive['tokens']:,} tokens of {positive['spans']:,} spans) against "
        f"{negative['name']} "
        f"({negative['tokens']:,} of {negative['spans']:,}), {options.task}, split {options.split}, seed {options.seed}"
    )
    if sides.note:
        console.print(sides.note)
    feature_table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("feature", f"density {positive['name']}", negative["name"], *scorers):
        feature_table.add_column(head, justify="right")
    for index, row in table.head(options.top).iterrows():
        cells = [f"{_format_score(row[name])} #{row[f'rank_{name}']}" for name in scorers]
        feature_table.add_row(str(index), f"{row['density_positive']:.3f}", f"{row['density_negative']:.3f}", *cells)
    console.print(feature_table)
    for name in scorers:
        console.print(f"  {name}: {table.attrs['scores'][name]}")
    if "contrast" in scorers:
        best = table.iloc[0]
        console.print(
            f"contrast of feature {table.index[0]}: {best['contrast']:.4g} [{best['contrast_low']:.4g}, "
            f"{best['contrast_high']:.4g}], 95 %, clustered by problem; of the largest of many it is too hopeful"
        )
    if "probe" in scorers:
        about = table.attrs["probe"]
        console.print(
            f"probe, {about['folds']}-fold by problem, {sum(about['rows'])} tokens: balanced accuracy "
            f"{about['accuracy']:.3f}, AUROC {about['auroc']:.3f} with {about['features']} features; best single "
            f"feature {about['single_accuracy']:.3f} and {about['single_auroc']:.3f} "
            f"({_format_most_frequent(about['single_features'])})"
        )
    if len(scorers) > 1:
        agreed = saes.agreement(table)
        console.print(
            f"agreement over {int(agreed['n'].max())} live features: Spearman (shared of the top 10, ties apart)"
        )
        matrix = Table(box=None, pad_edge=False, header_style="bold")
        for head in ("", *scorers[1:]):
            matrix.add_column(head, justify="right")
        for number, name in enumerate(scorers[:-1]):
            pairs = [agreed.loc[(name, other)] for other in scorers[number + 1 :]]
            cells = [f"{_format_score(pair['spearman'])} ({int(pair['shared'])}/{int(pair['most'])})" for pair in pairs]
            matrix.add_row(name, *[""] * number, *cells)
        console.print(matrix)


def _format_most_frequent(features: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(features), key=lambda index: -features.count(index))[:3]))


def _format_score(value: float) -> str:
    return "-" if value != value else f"{value:.3g}"
