"""What the prices of one model's cells depend on: its sizes, its methods, and the lengths of its tasks."""

from __future__ import annotations

from typing import NamedTuple

from elicit.comparison.planning.lengths import CHARACTERS, estimate_lengths, find_model_folder
from elicit.comparison.planning.memory import ModelProfile, profile_model
from elicit.comparison.planning.token_costs import CellPrice, estimate_arm_cost, price_cell
from elicit.comparison.spec import Spec
from elicit.comparison.spec.assumed_size import find_assumed_config
from elicit.comparison.spec.cells import Cell
from elicit.loading import catalog
from elicit.loading.catalog import ModelSource
from elicit.method import CostEstimate, Method, TokenLengths


class ModelBasis(NamedTuple):
    """One model of a comparison."""

    label: str
    spec: Spec
    """Of this model alone."""
    source: ModelSource
    profile: ModelProfile | None
    """None where its size is unknown."""
    lengths: TokenLengths
    """Of the target task."""
    others: tuple[TokenLengths, ...]
    """Of the off-target ones."""
    methods: dict[str, Method]
    characters: float | None
    """Characters taken for a token where no tokenizer is here; None where tokens were counted."""

    def at_limit(self) -> ModelBasis:
        """The same with lengths as if every completion ran to its limit."""
        lengths, *others = (
            known._replace(plain=known.limit, thought=known.limit) for known in (self.lengths, *self.others)
        )
        return self._replace(lengths=lengths, others=tuple(others))

    def estimate_cost(self, arm: str) -> CostEstimate:
        return estimate_arm_cost(arm, self.methods, self.lengths)

    def price(self, cell: Cell, problems: int, spec: Spec | None = None) -> CellPrice:
        """Price a cell.

        Args:
            problems: test problems of every task.
            spec: this model's spec with other numbers of samples, in place of its own.
        """
        return price_cell(self.methods, cell, spec or self.spec, problems, self.lengths, self.others)


def read_model_basis(label: str, spec: Spec) -> ModelBasis:
    """Read it for the model `label` of a spec.

    Raises:
        ElicitError: a model does not exist, or files cannot be read.
    """
    spec = spec.for_model(label)
    source = catalog.resolve_model(spec.models[label])
    folder = find_model_folder(source)
    assumed = find_assumed_config(spec.assume.get(label))
    if folder is None and assumed is not None:
        folder = assumed.path
    lengths = estimate_lengths(spec, spec.task, source, folder)
    others = tuple(estimate_lengths(spec, description, source, folder) for description in spec.off_target.values())
    profile = profile_model(source, spec)
    if profile is not None:
        lengths = lengths._replace(layers=profile.layers)
    counted = folder is not None and (folder / "tokenizer.json").is_file()
    return ModelBasis(
        label, spec, source, profile, lengths, others, spec.build_methods(), None if counted else CHARACTERS
    )
