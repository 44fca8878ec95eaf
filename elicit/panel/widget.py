"""`SteeringPanel`: steer along SAE features in a notebook and see both texts.

The page asks by writing one trait and is answered in another, both ASCII JSON:

1. A control changes; the page waits a moment for the next change and, while an answer is out, for that answer. Only the
   newest setting is sent, so no queue builds up behind a slow model. What it shows meanwhile is marked as old.
2. Python checks the setting, computes the comparison, and answers with it or with what was wrong.

Needs the extra `notebook`. anywidget brings the page's side to Jupyter, VS Code and Colab; the panel's own script and
style travel inside the widget's state, and nothing is fetched.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError, require_extra
from elicit.model import BaseModel
from elicit.panel.arm import describe_arm
from elicit.panel.comparison import SideBySide, compare_side_by_side, decoding_of, sample_unsteered
from elicit.panel.edits import build_edit, measure_scale, strength_unit
from elicit.panel.features import feature_table_to_json
from elicit.panel.payload import comparison_to_json
from elicit.panel.setting import Setting, apply_changes
from elicit.panel.static import read_asset_files, write_grid_page
from elicit.panel.strengths import Grid, compare_strengths
from elicit.sampling import Completion, Decoding
from elicit.steering import Steering
from elicit.tasks import Problem, Split, Task
from elicit.text import script_json
from saes import SAE, check

if TYPE_CHECKING:
    import pandas as pd

require_extra("IPython", "notebook", "the steering panel")  # anywidget needs it and does not say so
anywidget = require_extra("anywidget", "notebook", "the steering panel")
traitlets = require_extra("traitlets", "notebook", "the steering panel")

#: What an exported page lets its reader slide through, in the mode's unit.
STRENGTHS = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


class SteeringPanel(anywidget.AnyWidget):  # type: ignore[misc, name-defined]
    """A live view of one model, unsteered and steered along an SAE feature.

    Args:
        saes: one SAE or several (of several layers, say).
        prompts: a task, whose problems of `split` are shown and judged, or a prompt, or several.
        table: scores and words per feature (indexed by feature number), searched and sorted in the panel; one, or a
            mapping from SAE name to table. `saes.discover` makes them.
        feature: where to begin; by default the table's first, or 0.
        positions: a position form: `first`, `generated`, `token:"Wait"`, ... (`elicit.positions.grammar`).
        n: number of problems.
        split: their split. The test split is for judging what was found, not for finding it.
        decoding: stop strings and length; its temperature is where the control begins.
        strengths: ends of the slider, in the mode's unit.
        transfer: whether an SAE of other known weights may be used (a base model's SAE on a tuned model).

    Raises:
        ElicitError: an SAE of other weights, and whatever the controls would refuse.
    """

    _esm = read_asset_files("view.js", "widget.js")
    _css = read_asset_files("panel.css")
    _setup = traitlets.Unicode("{}").tag(sync=True)
    _asked = traitlets.Unicode("").tag(sync=True)
    _shown = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        model: BaseModel,
        saes: SAE | Sequence[SAE],
        prompts: Task | str | Sequence[str],
        *,
        table: pd.DataFrame | Mapping[str, pd.DataFrame] | None = None,
        feature: int | None = None,
        strength: float = 0.0,
        mode: str = "add",
        positions: str = "first",
        n: int = 4,
        split: Split = "select",
        seed: int = 0,
        decoding: Decoding | None = None,
        strengths: tuple[float, float] = (-4.0, 4.0),
        transfer: bool = False,
    ) -> None:
        self.model = model
        self.saes = (saes,) if isinstance(saes, SAE) else tuple(saes)
        if not self.saes:
            raise ElicitError("panel: no SAE was given.")
        self.task, self.prompts = _resolve_prompts(model, prompts, split, n)
        for sae in self.saes:
            check(
                sae,
                model.hf,
                model_name=model.name,
                weights_sha256=model.weights_sha256,
                sequences=[model.encode(text) for text in self._prompt_texts(None)],
                transfer=transfer,
            )
        self._scale = measure_scale(model, self.task)
        self._decoding = decoding or decoding_of(self.task)
        self._base: dict[tuple[Any, ...], list[Completion]] = {}
        tables = _feature_tables(self.saes, table)
        if feature is None:
            rows = tables.get(self.saes[0].name, {}).get("rows")
            feature = rows[0][0] if rows else 0
        changes = {"feature": feature, "strength": strength, "mode": mode, "positions": positions, "seed": seed}
        start = Setting(0, 0, 0.0, temperature=self._decoding.temperature)
        self.setting = apply_changes(start, changes, saes=self._sae_names)
        self.result: SideBySide = self._compute_comparison(self.setting)
        prompts_label = (
            f"{len(self.prompts)} {split} problems" if self.task is not None else f"the {len(self.prompts)} given"
        )
        super().__init__(
            _setup=script_json(self._control_options(tables, strengths, prompts_label)), _shown=self._render_reply(None)
        )
        self.observe(self._on_asked, names="_asked")

    def __repr__(self) -> str:
        return f"SteeringPanel\n{self.result}"

    @property
    def steering(self) -> Steering:
        """The edit that the panel shows, for use anywhere else: `model.steer(panel.steering)`."""
        return self._build_edit(self.setting)

    def set(self, **changes: object) -> SideBySide:
        """Move controls from Python: `panel.set(feature=379, strength=2)`. Fields are those of `Setting`.

        Raises:
            ElicitError: an unknown field, or a value that cannot be used.
        """
        setting = apply_changes(self.setting, changes, saes=self._sae_names)
        self.result, self.setting = self._compute_comparison(setting), setting
        self._shown = self._render_reply(None)
        return self.result

    def grid(self, strengths: Sequence[float] = STRENGTHS) -> Grid:
        """Compute the panel's comparison at several strengths and at its own."""
        setting, edit = self.setting, self.steering
        prompts, task, decoding = self._resolve_inputs(setting)
        return compare_strengths(
            self.model,
            {f"{edit.label}: {edit.mode}, {edit.positions}": edit},
            [*strengths, setting.strength],
            prompts,
            task=task,
            decoding=decoding,
            seed=setting.seed,
            start=setting.strength,
        )

    def to_html(self, path: str | Path, *, strengths: Sequence[float] = STRENGTHS) -> Path:
        """Write what the panel shows as a page that opens offline; its slider moves through `strengths`."""
        return write_grid_page(self.grid(strengths), path, title=f"Steering {self.model.name}, side by side")

    def to_spec(self, path: str | Path | None = None) -> str:
        """What the panel shows as an arm with its controls: a spec for `elicit run`, written to `path` if given.

        Raises:
            ElicitError: the setting cannot be an arm (see `elicit.panel.arm`), or the file is there already.
        """
        setting = self.setting
        text = describe_arm(setting, self.saes[setting.sae].name, self.model.name, self.task)
        if path is not None:
            if Path(path).exists():
                raise ElicitError(f"panel: {path} is there already. Give another name.")
            Path(path).write_text(text)
        return text

    @property
    def _sae_names(self) -> list[str]:
        return [sae.name for sae in self.saes]

    def _prompt_texts(self, prompt: str | None) -> list[str]:
        return [item if isinstance(item, str) else item.prompt for item in self.prompts] if prompt is None else [prompt]

    def _build_edit(self, setting: Setting) -> Steering:
        return build_edit(self._scale, self.saes[setting.sae], setting)

    def _resolve_inputs(self, setting: Setting) -> tuple[Sequence[str | Problem], Task | None, Decoding]:
        decoding = self._decoding.replace(temperature=setting.temperature)
        return (self.prompts, self.task, decoding) if setting.prompt is None else ([setting.prompt], None, decoding)

    def _compute_comparison(self, setting: Setting) -> SideBySide:
        edit = self._build_edit(setting)
        prompts, task, decoding = self._resolve_inputs(setting)
        key = (setting.prompt, setting.temperature, setting.seed if setting.temperature > 0 else None)
        if key not in self._base:
            self._base = {key: sample_unsteered(self.model, self._prompt_texts(setting.prompt), decoding, setting.seed)}
        base = self._base[key]
        return compare_side_by_side(
            self.model, [edit], prompts, task=task, decoding=decoding, seed=setting.seed, base=base
        )

    def _on_asked(self, change: Mapping[str, Any]) -> None:
        """Answer the page whatever happens: an error that nobody sees would leave it waiting."""
        message = json.loads(change["new"])
        request = message.pop("request")
        try:
            setting = apply_changes(self.setting, message, saes=self._sae_names)
            self.result, self.setting = self._compute_comparison(setting), setting
        except ElicitError as error:
            self._shown = self._render_reply(request, error=str(error))
        except KeyboardInterrupt:
            self._shown = self._render_reply(request, error="interrupted; change a control to compute again")
        except Exception as error:
            self._shown = self._render_reply(request, error=f"internal fault, {type(error).__name__}: {error}")
            raise
        else:
            self._shown = self._render_reply(request)

    def _render_reply(self, request: str | None, *, error: str | None = None) -> str:
        """Build the reply to the page: the state of the controls and the comparison, or the error in its request."""
        reply: dict[str, Any] = {"request": request, "setting": dataclasses.asdict(self.setting)}
        if error is not None:
            return script_json({**reply, "error": error})
        feature = self.saes[self.setting.sae].feature(self.setting.feature)
        unit = strength_unit(self._scale, feature, self.setting.mode)
        return script_json({**reply, "unit": unit._asdict(), "view": comparison_to_json(self.result)})

    def _control_options(
        self, tables: Mapping[str, Any], strengths: tuple[float, float], prompts_label: str
    ) -> dict[str, Any]:
        """The fixed choices of the controls."""
        return {
            "model": self.model.name,
            "saes": [
                {
                    "name": sae.name,
                    "layer": sae.layer,
                    "features": sae.d_sae,
                    "linear": sae.linear,
                    "table": tables.get(sae.name),
                }
                for sae in self.saes
            ],
            "strengths": [float(end) for end in strengths],
            "given": prompts_label,
            "prompts": self._prompt_texts(None),
        }


def _resolve_prompts(
    model: BaseModel, prompts: Task | str | Sequence[str], split: Split, n: int
) -> tuple[Task | None, list[str | Problem]]:
    if isinstance(prompts, str):
        return None, [prompts]
    if isinstance(prompts, Sequence):
        return None, list(prompts)
    task = model.bind(prompts)
    return task, list(task.problems(split, n))


def _feature_tables(saes: Sequence[SAE], table: pd.DataFrame | Mapping[str, pd.DataFrame] | None) -> dict[str, Any]:
    """SAE name -> its features as the page searches them."""
    if table is None:
        return {}
    by_name = dict(table) if isinstance(table, Mapping) else {saes[0].name: table}
    known = {sae.name: sae for sae in saes}
    for name in by_name:
        if name not in known:
            raise ElicitError(f"panel: the table of {name!r} belongs to no SAE of this panel ({', '.join(known)}).")
    return {name: feature_table_to_json(feature_table, known[name].d_sae) for name, feature_table in by_name.items()}
