"""From tables to records: which rows can be used, which split each belongs to, and none in two.

Divided by the dataset's own splits, train keeps nine tenths of its rows and gives the rest (by hash) to select, unless
a split is named for select too. Equal prompts (white space apart) must not stand in two splits: a test problem that was
trained on is no test. Where they are dropped, test keeps its rows and train loses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line, unknown
from elicit.tasks.core import SPLITS, Split, split_of
from elicit.tasks.datasets.column_mapping import mapped, plain
from elicit.tasks.datasets.formats import Format
from elicit.tasks.datasets.records import Record, new_id, record_of
from elicit.tasks.datasets.tables import Row, Table
from elicit.tasks.jsonl_fields import BadLine

DROPS = ("duplicates", "unusable")
_SHOWN = 3


class Placed(NamedTuple):
    """A record and where it came from."""

    place: str
    record: Record


class Bad(NamedTuple):
    place: str
    reason: str


def chosen(where: str, tables: Mapping[str, Table], splits: object, split: object) -> dict[Split | None, Table]:
    """Which table serves which split; the key None stands for "by hash".

    Args:
        splits: the user's mapping from our splits to the dataset's, or None.
        split: the one split of the dataset to divide by hash, or None.

    Raises:
        ElicitError: a split that is not there, or several and none chosen.
    """
    exist = list(tables)
    if splits is not None and split is not None:
        raise ElicitError(
            f"{where}: give splits (the dataset's own) or split (one of them, divided by hash), not both."
        )
    if split is not None:
        return {None: tables[_known(where, split, exist)]}
    if splits is None:
        if len(exist) == 1:
            return {None: tables[exist[0]]}
        test = next((name for name in ("test", "validation", "dev") if name in exist), exist[-1])
        raise ElicitError(
            f"{where} has the splits {', '.join(exist)}. Type splits: {{train: {exist[0]}, test: {test}}} to use them "
            f"as they are, or split: {exist[0]} to divide one by hash."
        )
    if not isinstance(splits, Mapping) or not splits:
        raise ElicitError(
            f"{where}: splits is {one_line(repr(splits), 60)}; expected such as {{train: train, test: test}}."
        )
    for ours in splits:
        if ours not in SPLITS:
            raise unknown("split", ours, SPLITS, where=f"{where}: splits", hint="Write OURS: THEIRS.")
    named = [_known(where, theirs, exist) for theirs in splits.values()]
    for theirs in named:
        if named.count(theirs) > 1:
            raise ElicitError(f"{where}: splits: {theirs!r} serves two splits, so problems would be in both.")
    return {ours: tables[theirs] for ours, theirs in zip(splits, named, strict=True)}


def _known(where: str, name: object, exist: Sequence[str]) -> str:
    if not isinstance(name, str) or name not in exist:
        raise unknown("split", name, exist, where=where)
    return name


def read(
    rows: Iterable[Row], columns: Mapping[str, str] | None, form: Format, *, prefix: str = ""
) -> tuple[list[Placed], list[Bad]]:
    """Records and reasons of one table, in its order; `columns` None: the row's cells are the fields, all known."""
    good: list[Placed] = []
    bad: list[Bad] = []
    for place, cells in rows:
        try:
            if isinstance(cells, BadLine):
                raise cells
            record = _record(cells, columns, form)
        except BadLine as reason:
            bad.append(Bad(prefix + place, str(reason)))
            continue
        good.append(Placed(prefix + place, record))
    return good, bad


def _record(cells: dict[str, Any], columns: Mapping[str, str] | None, form: Format) -> Record:
    fields = dict(cells) if columns is None else mapped(cells, columns)
    if isinstance(fields.get("prompt"), list):
        fields["prompt"] = plain(fields["prompt"])
    fields, choices = form.prepare(fields)
    record = record_of(fields)._replace(choices=choices)
    _check_answers(record, form)
    return record


def _check_answers(record: Record, form: Format) -> None:
    """Raises BadLine for a row whose own answer, worked solution or right candidate would be judged wrong."""
    reading = form.reading(record)
    if problem := reading.unusable():
        raise BadLine(f"'answer' {problem}")
    right = [("'worked'", record.worked), ("'theorem'", record.theorem)]
    right += [("'noisy' is called correct but", record.noisy)] if record.noisy_correct else []
    for what, text in right:
        found = None if text is None else reading.found(text)
        if text is not None and (found is None or not reading.right(text, found)):
            said = one_line(repr(found.answer if found else None), 40)
            raise BadLine(f"{what} ends in {said}, not in the answer {one_line(repr(reading.gold), 40)}")


def own_splits(parts: Mapping[Split | None, list[Placed]]) -> list[Placed]:
    """Records with the split their table serves; without a table for select, train gives some of its own to it."""
    placed = []
    for split in sorted(parts, key=lambda split: -1 if split is None else -SPLITS.index(split)):
        for place, record in parts[split]:
            mine = split
            if split == "train" and "select" not in parts and split_of(record.group or record.id) == "select":
                mine = "select"
            placed.append(Placed(place, record._replace(split=mine)))
    return placed


def unique(placed: Iterable[Placed], *, unit: str) -> tuple[list[Placed], list[Bad]]:
    """Records that share neither id nor prompt (nor, across splits, a group) with an earlier one, and the others."""
    good: list[Placed] = []
    again: list[Bad] = []
    ids: dict[str, str] = {}
    prompts: dict[str, Placed] = {}
    groups: dict[str, Placed] = {}
    for place, record in placed:
        folded = " ".join(record.prompt.split())
        twin = prompts.get(folded)
        mate = groups.get(record.group) if record.group else None
        try:
            new_id(record, ids)
            if twin is not None and (record.group is None or record.group != twin.record.group):
                raise BadLine(f"same prompt as {twin.place} under another id; give both {unit} the same 'group'")
            if mate is not None and mate.record.split != record.split and "train" in (mate.record.split, record.split):
                raise BadLine(f"group {record.group!r} is in split {mate.record.split!r} too ({mate.place})")
        except BadLine as reason:
            again.append(Bad(place, str(reason)))
            continue
        ids[record.id] = place
        prompts.setdefault(folded, Placed(place, record))
        if record.group:
            groups.setdefault(record.group, Placed(place, record))
        good.append(Placed(place, record))
    return good, again


def told(where: str, bad: Sequence[Bad], *, unit: str, tail: str) -> ElicitError:
    """The error that lists the first few rows that cannot be used."""
    shown = "; ".join(f"{place}: {reason}" for place, reason in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    count = f"1 bad {unit.removesuffix('s')}" if len(bad) == 1 else f"{len(bad)} bad {unit}"
    return ElicitError(f"{where}: {count}: {shown}{more}. {tail}")
