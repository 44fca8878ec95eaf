"""The spec of a comparison: YAML in, checked plain data out. Imports no torch.

models: [cued, incapable]              # or {label: name-or-path}, {label: {name: org/name, assume: 1.7B}}
task: {task: addition, digits: 2}      # or just: addition
off_target: {chains: {task: mod_chain}}
arms:
  base: {method: base}
  sft: {method: sft, demonstrations: 16, checkpoints: [10, 20]}
  mean_steering: {method: mean_steering}
  mean_steering/random: {method: random_vector, parent: mean_steering}
seeds: 3
test: 200
samples: 0                             # or {n: 256, problems: 64, arms: [base, sft]}
budgets: {sft: {demonstrations: [4, 64]}}  # further arms sft/demonstrations-4 and -64, and a curve over what they cost
trajectory: {problems: 100, probe: 32}  # of arms with checkpoints
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from elicit.comparison.spec import assumed_size as assume
from elicit.comparison.spec import budgets, checkpoints, samples_spec
from elicit.comparison.spec.assumed_size import AssumedSize
from elicit.comparison.spec.checkpoints import Trajectory
from elicit.comparison.spec.dependencies import check_control_parents, check_controls, check_kinds, check_needs
from elicit.comparison.spec.model_overrides import ModelOverrides, TaskField, TasksField, index_by_name
from elicit.comparison.spec.name_checks import DEVICE_PATTERN, check_folder_names, check_panels, check_reference
from elicit.comparison.spec.path_resolution import resolve_paths
from elicit.comparison.spec.samples_spec import Samples
from elicit.comparison.spec.validation_errors import first_validation_error
from elicit.comparison.spec.yaml_loading import check_plain_data, parse_yaml_mapping, pop_limit, read_spec_text
from elicit.engines.choice import EngineChoice, check_engine_form
from elicit.errors import ElicitError, unknown_name_error
from elicit.fitting.other_task import TaskBinder as TaskBinder
from elicit.fitting.other_task import bind_described_task
from elicit.format_versions import FORMAT_VERSION, check_format_version
from elicit.loading import catalog
from elicit.method import Method
from elicit.methods.catalog import configure_method
from elicit.methods.outside import RecordedMethod
from elicit.tasks import Task
from elicit.tasks.catalog import label_of
from elicit.tasks.from_dict import build_task as build_task


class Spec(BaseModel):
    """A checked comparison. Its field names are those of the YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: dict[str, str]
    """Label -> name or path, as for `elicit.load`."""
    assume: dict[str, AssumedSize] = Field(default_factory=dict)
    """Label -> size (135M, 1.7B) or folder with a config that plans assume while the model's files are not here."""
    task: TaskField
    """The target task: methods are fitted on its train and select splits and compared on its test split."""
    arms: dict[str, dict[str, Any]]
    off_target: TasksField = Field(default_factory=dict)
    """Label -> other tasks every arm is also tested on."""
    panels: dict[str, ModelOverrides] = Field(default_factory=dict)
    """Model label -> overrides for that model: another task, fewer arms."""
    seeds: int = Field(default=1, ge=1, le=1000)
    """Number of run seeds: 0, 1, ..."""
    test: int = Field(default=200, ge=1, le=1_000_000)
    """Test problems of every task."""
    reference: str | None = None
    """The arm of supervised fine-tuning with which every other arm is compared; null: the arm named sft."""
    samples: Samples = Samples(n=0)
    """Samples at temperature 1 per problem, for pass@k: a number (0 for none), or {n, problems, arms}."""
    budgets: dict[str, dict[str, list[int | float]]] = Field(default_factory=dict)
    """Arm -> option -> further values of it: each is an arm, which `arms` holds too, and a point of a budget curve."""
    trajectory: Trajectory | None = None
    """Evaluation of the checkpoints of trained arms; null: on all test problems."""
    kl_problems: int = Field(default=32, ge=0, le=100_000)
    """Number of problems and of neutral sentences on which KL is measured; 0 for none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field(default="auto", pattern=DEVICE_PATTERN)
    cache_gib: float | None = Field(default=None, gt=0, le=4096, strict=False)
    """GiB of keys and values a batch may take while sampling; null: 1 on a CPU, up to 8 on a GPU."""
    engine: EngineChoice = "transformers"
    """Where completions and scores come from: in this process, or {vllm: {python or url}}."""
    processes: int = Field(default=1, ge=1, le=1024)
    """Processes that share one training of sft, critique or grpo: one a GPU, or several on a CPU."""

    _recorded: dict[str, RecordedMethod] = PrivateAttr(default_factory=dict)
    """Arms with methods from outside, as the run of this spec recorded them: their code need not be here."""

    @model_validator(mode="before")
    @classmethod
    def _split_sizes(cls, value: Any) -> Any:
        return assume.split_assumed_sizes(value)

    @field_validator("models", mode="before")
    @classmethod
    def _models_by_label(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            return index_by_name(value, [catalog.default_label(str(name)) for name in value])
        return value

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_by_name(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return index_by_name([{"method": name} for name in value], value)
        return value

    @field_validator("samples", mode="before")
    @classmethod
    def _normalize_samples_field(cls, value: Any) -> Any:
        return samples_spec.normalize_samples(value)

    @field_serializer("samples")
    def _serialize_samples(self, value: Samples) -> Any:
        return value.to_spec_value()

    def for_model(self, model: str) -> Spec:
        """The comparison for one model alone, with its overrides applied."""
        if not self.panels and list(self.models) == [model]:
            return self
        overrides = self.panels.get(model, ModelOverrides()).model_dump(exclude_none=True)
        arm_names = overrides.pop("arms", None)
        arms = {arm: options for arm, options in self.arms.items() if arm_names is None or arm in arm_names}
        sizes = {label: size for label, size in self.assume.items() if label == model}
        restriction = {"models": {model: self.models[model]}, "assume": sizes, "panels": {}, "arms": arms}
        return self.model_copy(update={**restriction, **overrides})

    @property
    def task_label(self) -> str:
        return label_of(str(self.task["task"]))

    def build_methods(self) -> dict[str, Method]:
        """Arm name -> checked config. Raises ElicitError naming the arm."""
        methods: dict[str, Method] = {}
        for arm, options in self.arms.items():
            if arm in self._recorded:
                methods[arm] = self._recorded[arm]
                continue
            where = f"arm {arm!r}"
            if "method" not in options:
                raise ElicitError(f"{where}: no method given. Type: {arm}: {{method: NAME}}. See: elicit ls methods")
            rest = {key: value for key, value in options.items() if key != "method"}
            methods[arm] = configure_method(str(options["method"]), rest, where=where)
        return methods

    @property
    def reference_arm(self) -> str:
        """The name of the arm of supervised fine-tuning with which others are compared; it need not exist."""
        return "sft" if self.reference is None else self.reference

    @property
    def trajectory_or_default(self) -> Trajectory:
        """Evaluation of checkpoints, as given or by default."""
        return Trajectory() if self.trajectory is None else self.trajectory

    def to_dict(self) -> dict[str, Any]:
        """The resolved spec as plain data, as written to the run directory."""
        fields = self.model_dump(mode="json")
        for name in ("assume", "reference", "budgets", "engine"):  # added later: a spec without them keeps its hash
            if fields[name] in ({}, None, "transformers"):
                del fields[name]
        if fields["processes"] == 1:
            del fields["processes"]
        return fields


def build_model_task(model: TaskBinder, description: Mapping[str, Any], *, where: str) -> Task:
    """Build a task bound to a loaded model: in the model's prompt format, or in English through its chat template."""
    return bind_described_task(model, description, where)


def read_spec(path: Path) -> Spec:
    """Read and check a spec file.

    Raises:
        ElicitError: names the file and the field, with the value and what was expected.
    """
    return parse_spec(read_spec_text(path), where=str(path), folder=path.parent)


def read_limited_spec(path: Path) -> tuple[Spec, int | None]:
    """A spec file with its limit: the spec.yaml of a run directory holds one, so that the run can be repeated from it.

    Raises:
        ElicitError: as `read_spec`.
    """
    plain = parse_yaml_mapping(read_spec_text(path), str(path))
    limit = pop_limit(plain, str(path))
    return check_spec(plain, where=str(path), folder=path.parent), limit


def parse_spec(text: str, *, where: str = "spec", folder: Path | None = None) -> Spec:
    """Check a spec given as YAML text. Relative paths of models and JSONL files start at `folder`."""
    return check_spec(parse_yaml_mapping(text, where), where=where, folder=folder)


def check_spec(data: Mapping[Any, Any], *, where: str = "spec", folder: Path | None = None) -> Spec:
    """Check plain data as a spec, including its arms, its tasks and their files."""
    spec = check_form(data, where=where, folder=folder)
    check_tasks(spec, where)
    return spec


def check_tasks(spec: Spec, where: str) -> None:
    """Check that controls have their parents, and that every task can be made of its files."""
    with _errors_at(where):
        check_control_parents(spec.build_methods())
        for model_spec in (spec, *map(spec.for_model, spec.models)):  # panels may replace the spec's own tasks
            build_task(model_spec.task, where="task")
            for label, description in model_spec.off_target.items():
                build_task(description, where=f"off_target {label!r}")


def check_form(
    data: Mapping[Any, Any],
    *,
    where: str = "spec",
    folder: Path | None = None,
    recorded: Mapping[str, RecordedMethod] | None = None,
) -> Spec:
    """Check plain data as a spec, and its arms. Tasks are not made, so that their files need not be there.

    Args:
        recorded: arms whose methods are taken as a run recorded them.
    """
    check_format_version(data, "spec", where)
    data = {field: value for field, value in data.items() if field != FORMAT_VERSION}
    for field, value in data.items():
        if field not in Spec.model_fields:
            raise unknown_name_error("field", field, Spec.model_fields, where=where)
        check_plain_data(value, f"{where}: field {field!r}")
    samples_spec.check_samples_fields(data.get("samples"), where)
    checkpoints.check_trajectory_fields(data.get("trajectory"), where)
    check_engine_form(data.get("engine", "transformers"), where)
    budgets.check_budgets_form(data.get("budgets", {}), where)
    try:
        spec = Spec.model_validate(dict(data))
    except ValidationError as error:
        raise first_validation_error(error, where) from None
    spec._recorded = dict(recorded or {})
    if folder is not None:
        update = resolve_paths(folder, spec.models, spec.task, spec.arms, spec.off_target, spec.panels, spec.assume)
        spec = spec.model_copy(update=update)
    if spec.budgets:
        with _errors_at(where):
            update = budgets.expand_budgets(spec.budgets, spec.arms, spec.panels, spec.build_methods())
        spec = spec.model_copy(update=update)
    check_folder_names({"model": spec.models, "arm": spec.arms, "off_target task": spec.off_target}, where)
    for label in spec.assume:
        if label not in spec.models:
            raise unknown_name_error("model", label, spec.models, where=f"{where}: assume")
    if not spec.models or not spec.arms:
        raise ElicitError(f"{where}: a comparison needs at least one model and one arm.")
    samples_spec.check_samples_arms(spec.samples, spec.arms, spec.test, where)
    with _errors_at(where):
        spec.build_methods()
        checkpoints.check_trajectory(spec.trajectory, spec.arms, spec.test, where)
        check_panels(spec.panels, spec.models, spec.arms)
        check_reference(spec.reference, spec.build_methods(), where)
        for model_spec in map(spec.for_model, spec.models):
            methods = model_spec.build_methods()
            check_needs(methods)
            check_kinds(methods)
            check_controls(methods)
            checkpoints.check_base_arm(model_spec.arms, methods, where)
            _check_target(model_spec, where)
    return spec


@contextmanager
def _errors_at(where: str) -> Iterator[None]:
    """Put the place in front of errors that do not name it."""
    try:
        yield
    except ElicitError as error:
        raise error if str(error).startswith(where) else ElicitError(f"{where}: {error}") from None


def _check_target(spec: Spec, where: str) -> None:
    target = spec.task_label if isinstance(spec.task.get("task"), str) else None
    if target in spec.off_target:
        raise ElicitError(f"{where}: {target!r} is the target task; it cannot be off target too.")
