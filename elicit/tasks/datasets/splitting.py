"""Tables to records: usable rows, each in exactly one split.

With the dataset's own splits, train keeps nine tenths of its rows and gives the rest (by hash) to select, unless a
split is mapped to select too. Equal prompts (white space apart) must not occur in two splits: a test problem that was
trained on does not test anything. When duplicates are dropped, test keeps its rows and train loses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.tasks.core import SPLITS, Split, split_of
from elicit.tasks.datasets.column_mapping import map_row, simplify_cell
from elicit.tasks.datasets.formats import RecordFormat
from elicit.tasks.datasets.records import ProblemRecord, check_new_id, parse_record
from elicit.tasks.datasets.tables import Table
from elicit.tasks.jsonl_fields import BadLine, Row

DROPS = ("duplicates", "unusable")
_SHOWN = 3


class LocatedRecord(NamedTuple):
    """A record and its location in the source."""

    location: str
    record: ProblemRecord


class RejectedRow(NamedTuple):
    location: str
    reason: str


def select_tables(where: str, tables: Mapping[str, Table], splits: object, split: object) -> dict[Split | None, Table]:
    """Table for each split; the key None means "divide by hash".

    Args:
        splits: the user's mapping from our splits to the dataset's, or None.
        split: the one split of the dataset to divide by hash, or None.

    Raises:
        ElicitError: a missing split, or several splits and no choice among them.
    """
    exist = list(tables)
    if splits is not None and split is not None:
        raise ElicitError(
            f"{where}: give splits (the dataset's own) or split (one of them, divided by hash), not both."
        )
    if split is not None:
        return {None: tables[_check_split_name(where, split, exist)]}
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
            raise unknown_name_error("split", ours, SPLITS, where=f"{where}: splits", hint="Write OURS: THEIRS.")
    source_splits = [_check_split_name(where, theirs, exist) for theirs in splits.values()]
    for theirs in source_splits:
        if source_splits.count(theirs) > 1:
            raise ElicitError(f"{where}: splits: {theirs!r} serves two splits, so problems would be in both.")
    return {ours: tables[theirs] for ours, theirs in zip(splits, source_splits, strict=True)}


def _check_split_name(where: str, name: object, exist: Sequence[str]) -> str:
    if not isinstance(name, str) or name not in exist:
        raise unknown_name_error("split", name, exist, where=where)
    return name


def parse_rows(
    rows: Iterable[Row], columns: Mapping[str, str] | None, form: RecordFormat, *, prefix: str = ""
) -> tuple[list[LocatedRecord], list[RejectedRow]]:
    """Records and rejected rows of one table, in its order. Without `columns`, all cells are known fields."""
    good: list[LocatedRecord] = []
    bad: list[RejectedRow] = []
    for location, cells in rows:
        try:
            if isinstance(cells, BadLine):
                raise cells
            record = _parse_row(cells, columns, form)
        except BadLine as reason:
            bad.append(RejectedRow(prefix + location, str(reason)))
            continue
        good.append(LocatedRecord(prefix + location, record))
    return good, bad


def _parse_row(cells: dict[str, Any], columns: Mapping[str, str] | None, form: RecordFormat) -> ProblemRecord:
    fields = dict(cells) if columns is None else map_row(cells, columns)
    if isinstance(fields.get("prompt"), list):
        fields["prompt"] = simplify_cell(fields["prompt"])
    fields, choices = form.prepare_fields(fields)
    record = parse_record(fields)._replace(choices=choices)
    _check_own_answers(record, form)
    return record


def _check_own_answers(record: ProblemRecord, form: RecordFormat) -> None:
    """Raise BadLine if a row's own answer, worked solution or correct candidate would be judged wrong."""
    reader = form.make_reader(record)
    if problem := reader.explain_unusable_target():
        raise BadLine(f"'answer' {problem}")
    right = [("'worked'", record.worked), ("'theorem'", record.theorem)]
    right += [("'noisy' is called correct but", record.noisy)] if record.noisy_correct else []
    for what, text in right:
        parsed = None if text is None else reader.parse_answer(text)
        if text is not None and (parsed is None or not reader.is_correct(text, parsed)):
            answer_text = one_line(repr(parsed.answer if parsed else None), 40)
            raise BadLine(f"{what} ends in {answer_text}, not in the answer {one_line(repr(reader.gold), 40)}")


def assign_splits(parts: Mapping[Split | None, list[LocatedRecord]]) -> list[LocatedRecord]:
    """Records with the split of their table; if no table serves select, train gives it some of its own."""
    placed = []
    for split in sorted(parts, key=lambda split: -1 if split is None else -SPLITS.index(split)):
        for location, record in parts[split]:
            assigned = split
            if split == "train" and "select" not in parts and split_of(record.group or record.id) == "select":
                assigned = "select"
            placed.append(LocatedRecord(location, record._replace(split=assigned)))
    return placed


def remove_duplicates(placed: Iterable[LocatedRecord], *, unit: str) -> tuple[list[LocatedRecord], list[RejectedRow]]:
    """(records that share no id, prompt or, across splits, group with an earlier one; the rejected others)."""
    good: list[LocatedRecord] = []
    duplicates: list[RejectedRow] = []
    ids: dict[str, str] = {}
    prompts: dict[str, LocatedRecord] = {}
    groups: dict[str, LocatedRecord] = {}
    for location, record in placed:
        folded = " ".join(record.prompt.split())
        twin = prompts.get(folded)
        mate = groups.get(record.group) if record.group else None
        try:
            check_new_id(record, ids)
            if twin is not None and (record.group is None or record.group != twin.record.group):
                raise BadLine(f"same prompt as {twin.location} under another id; give both {unit} the same 'group'")
            if mate is not None and mate.record.split != record.split and "train" in (mate.record.split, record.split):
                raise BadLine(f"group {record.group!r} is in split {mate.record.split!r} too ({mate.location})")
        except BadLine as reason:
            duplicates.append(RejectedRow(location, str(reason)))
            continue
        ids[record.id] = location
        prompts.setdefault(folded, LocatedRecord(location, record))
        if record.group:
            groups.setdefault(record.group, LocatedRecord(location, record))
        good.append(LocatedRecord(location, record))
    return good, duplicates


def bad_rows_error(where: str, bad: Sequence[RejectedRow], *, unit: str, tail: str) -> ElicitError:
    """Error that lists the first few unusable rows."""
    listing = "; ".join(f"{location}: {reason}" for location, reason in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    count = f"1 bad {unit.removesuffix('s')}" if len(bad) == 1 else f"{len(bad)} bad {unit}"
    return ElicitError(f"{where}: {count}: {listing}{more}. {tail}")
