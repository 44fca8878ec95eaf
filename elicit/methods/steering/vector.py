"""`vector`: a steering vector from a file.

    h <- h + coefficient * v          (coefficient: v at its own length, as published vectors are applied)
    h <- h + strength * unit * v/|v|  (strength: in median residual norms of the layer)

Files: the lab's own (JSON with safetensors), safetensors, control vectors in GGUF (repeng, EasySteer, llama.cpp),
`.pt` by torch.save (a tensor, such as nnterp's `steer` takes, or a dict of tensors), `.npy`, and lm-eval's steering
(`.csv`, `.pt`). Layer L is the output of decoder block L: `elicit.vectors.tensors` has each library's convention.

Without a dose a vector is added as it is; a file that says what is done with it (the lab's, lm-eval's) is followed.
Several layers, strengths or coefficients are tried on the select split: the highest accuracy wins; among equals the
smaller strength (`ties`), then the earlier layer. With one setting nothing is chosen. The test split is not touched.

Controls: `random_vector`, `covariance_vector`, `same_vector`; where it searched, `searched_random_vector`. A vector
that no SAE gave has no feature, so controls and ablations by features are refused; use `feature` for those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.dose_options import check_doses, count_doses
from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.fitting.selection import Dose
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import Steering
    from elicit.tasks import Task
    from elicit.vectors.file import VectorFile

LayerSet = tuple[int, ...]


@dataclass(frozen=True)
class Vector(Method):
    """A vector from a file, at a given dose or one chosen on select."""

    path: str
    """The file."""
    name: str | None = None
    """The tensor that is meant, in a file with several."""
    layer: int | tuple[int, ...] | None = None
    """The layer; several: all of them together, as repeng's `layer_ids`. None: the file's, where it has one."""
    layers: tuple[int | tuple[int, ...], ...] | None = None
    """Layers to try instead; an entry may be several that are steered together."""
    strength: float | None = None
    """Strength at each layer: median residual norms of the layer (add, clamp), the factor (scale)."""
    strengths: tuple[float, ...] | None = None
    """Strengths to try instead."""
    coefficient: float | None = None
    """Raw coefficient instead: a multiple of the vector at its own length (add), the projection on it (clamp)."""
    coefficients: tuple[float, ...] | None = None
    """Raw coefficients to try instead."""
    positions: str | None = None
    """Positions of the edit. None: the file's; of a file that does not say, all, as the tools that write it do."""
    mode: Literal["add", "clamp", "scale", "ablate"] | None = None
    """What is done with the vector. None: the file's, else add."""
    ties: Literal["smallest", "largest"] = "smallest"
    """Strength that is taken among settings that do equally well on select."""
    train_problems: int = 64
    """Problems over whose texts the residual norms are measured."""
    select_problems: int = 64
    """Problems on which layer and dose are chosen, where there are several."""
    any_base: bool = False
    """Accept the lab's vectors for other weights, such as a base's on a tuned model."""

    traits: ClassVar[Traits] = Traits(family="steering", provides=("direction",))

    def __post_init__(self) -> None:
        if not self.path:
            raise ElicitError("vector: path is empty; give a file of vectors (.safetensors, .json, .gguf, .pt, .csv).")
        if self.positions is not None:
            check_positions("vector", self.positions)
        check_positive("vector", train_problems=self.train_problems, select_problems=self.select_problems)
        check_doses("vector", self.strength, self.strengths, self.coefficient, self.coefficients)
        if self.layer is not None and self.layers is not None:
            raise ElicitError("vector: give layer or layers, not both.")
        if () in (self.layer, self.layers) or () in (self.layers or ()):
            raise ElicitError("vector: layer and layers need at least one value.")
        if self.mode == "scale" and (self.coefficient is not None or self.coefficients is not None):
            raise ElicitError("vector: mode scale has a factor. Type it as strength.")
        if self.mode == "scale" and count_doses(self) == 0:
            raise ElicitError("vector: mode scale needs a factor. Type it as strength.")
        if self.mode == "clamp" and count_doses(self) == 0:
            raise ElicitError("vector: mode clamp needs a value. Type coefficient (the projection) or strength.")
        if self.mode == "ablate" and count_doses(self):
            raise ElicitError("vector: mode ablate takes the whole direction out; leave strength and coefficient out.")

    @property
    def searches(self) -> bool:
        """True if several settings are tried on select."""
        return max(1, len(self.layers or ())) * max(1, count_doses(self)) > 1

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        trials = max(1, len(self.layers or ())) * max(1, count_doses(self)) * self.select_problems
        fitting = Generation(trials, lengths.mixed_answer, trials, lengths.prompt, self.select_problems)
        return CostEstimate(
            Generation(1, lengths.mixed_answer, 1, lengths.prompt),
            (fitting,) if self.searches else (),
            read_tokens=self.train_problems * (lengths.prompt + lengths.worked),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a file that cannot be read, is not clear or does not fit the model."""
        from elicit.fitting.steering_choice import choose_edits
        from elicit.vectors.file import read_vector_file

        file = read_vector_file(self.path, base, name=self.name, any_base=self.any_base)
        layer_sets = self._list_layer_sets(file, base)
        train = task.problems("train", self.train_problems)
        if self.searches:
            task.problems("select", self.select_problems)  # their number is checked before anything is measured
        norms = base.residual_norms_of([problem.prompt + (task.worked(problem) or "") for problem in train])
        settings = [
            (self._build_edits(file, layers, dose, norms.medians), {} if dose is None else dose.notes)
            for layers in layer_sets
            for dose in self._list_doses()
        ]
        residual_norms = {"medians": list(norms.medians), "tokens": norms.tokens, "text_sha256": norms.text_sha256}
        return choose_edits(
            base,
            task,
            settings,
            n=self.select_problems,
            ties=self.ties,
            dose="strength" if self.coefficients is None else "coefficient",
            record={"source": file.to_record(), "residual_norms": residual_norms},
        )

    def _list_doses(self) -> list[Dose | None]:
        """The doses to try; None for the file's own."""
        from elicit.fitting.dose_options import list_given_doses

        return list(list_given_doses(self)) or [None]

    def _list_layer_sets(self, file: VectorFile, base: BaseModel) -> list[LayerSet | None]:
        """The sets of layers to try; None stands for what the file spells out.

        Raises:
            ElicitError: the file does not say which layer, or it has several, or not the ones that are asked for.
        """
        from elicit.loading import architectures

        requested = (self.layer,) if self.layer is not None else self.layers
        if requested is None:
            if file.edits:
                return [None]
            if None in file.vectors:
                raise ElicitError(f"vector: {file.path} does not say which layer its vector is for. Type layer: L")
            if len(file.vectors) > 1:
                available = sorted(layer for layer in file.vectors if layer is not None)
                first, second = available[:2]
                raise ElicitError(
                    f"vector: {file.path} has vectors for layers {first} to {available[-1]}. Which are used? "
                    f"Type layer: {first} for one, layer: [{first}, {second}] for several together, layers: "
                    f"[{first}, {second}] to try each."
                )
            requested = tuple(layer for layer in file.vectors if layer is not None)
        sets = [(entry,) if isinstance(entry, int) else entry for entry in requested]
        known = {edit.layer for edit in file.edits} if file.edits else set(file.vectors)
        for layer in (layer for entries in sets for layer in entries):
            architectures.check_layer(base.hf, layer)
            if layer not in known and None not in known:
                raise ElicitError(f"vector: {file.path} holds no vector for layer {layer}; it has {sorted(known)}.")  # type: ignore[type-var]
        return list(sets)

    def _build_edits(
        self, file: VectorFile, layers: LayerSet | None, dose: Dose | None, medians: Sequence[float]
    ) -> tuple[Steering, ...]:
        if file.edits:
            chosen = [edit for edit in file.edits if layers is None or edit.layer in layers]
            return tuple(self._change_edit(file, edit, dose, medians[edit.layer]) for edit in chosen)
        assert layers is not None
        edits = []
        for layer in layers:
            vector = file.vectors[layer if layer in file.vectors else None]
            label = f"{file.path.stem}@{layer}"
            edits.append(self._make_edit(vector, layer, dose, medians[layer], label, self.positions or "all"))
        return tuple(edits)

    def _change_edit(self, file: VectorFile, edit: Steering, dose: Dose | None, norm: float) -> Steering:
        """An edit that the file spells out, at the config's positions and dose."""
        import dataclasses

        positions = self.positions or edit.positions
        if dose is None and self.mode in (None, edit.mode):
            return dataclasses.replace(edit, positions=positions)
        if edit.reads:
            raise ElicitError(
                f"vector: {file.path} says {edit.mode} {edit.label}, which is followed as it is. Leave mode, strength "
                "and coefficient out."
            )
        return self._make_edit(edit.direction * edit.absolute, edit.layer, dose, norm, edit.label, positions)

    def _make_edit(
        self, vector: Any, layer: int, dose: Dose | None, norm: float, label: str, positions: str
    ) -> Steering:
        from elicit.fitting.selection import Dose
        from elicit.steering import Steering

        mode = self.mode or "add"
        if mode in ("scale", "ablate"):
            return Steering(vector, layer, 1.0 if dose is None else dose.value, mode, positions, 1.0, label)
        length = float(vector.norm()) if mode == "add" else 1.0
        strength = (dose or Dose(1.0, True)).to_strength(length, norm)
        return Steering(vector, layer, strength, mode, positions, norm, label)
