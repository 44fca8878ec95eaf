"""What runs inside vLLM's workers: edits of the residual stream, masked logits, trained weights.

A decoder layer of vLLM gives (hidden, residual), whose sum is the residual stream; an edit needs the sum and replaces
it. Which tokens of the flat batch an edit touches follows from absolute positions: a request's own prompt length and
the positions that this pass computes. So chunks of a prompt, a cached prefix and a request that is computed again after
preemption are treated alike, and two requests with other edits stand in one batch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from elicit_vllm.edits import Edit, RequestError, build_edit
from elicit_vllm.records import RECORDS, Record, find_record, to_ranges
from elicit_vllm.sampling import ARGUMENTS


class Touch(NamedTuple):
    """One edit on the tokens of the requests that carry it, in the current pass."""

    name: str
    edit: Edit
    requests: list[str]
    owners: np.ndarray
    """Index in `requests` of every touched token, in order."""
    rows: np.ndarray
    """Indices of the touched tokens in the flat batch."""
    positions: np.ndarray
    """Their absolute positions."""
    weights: np.ndarray


class SteeringWorker:
    """Mixed into vLLM's worker class (`worker_extension_cls`)."""

    model_runner: Any
    device: torch.device

    def elicit_install(self) -> dict[str, Any]:
        """Put hooks on the decoder layers, and on the logits. Returns facts about the model."""
        runner = self.model_runner
        model = runner.get_model()
        self._edits: dict[str, Edit] = {}
        self._touches: dict[int, list[Touch]] = {}
        layers = find_layers(model)
        model.register_forward_pre_hook(self._plan_pass, with_kwargs=True)
        for index, layer in enumerate(layers):
            layer.register_forward_hook(self._make_layer_hook(index))
        self._mask = _mask_logits(model)
        config = _text_config(model)
        return {
            "layers": len(layers),
            "vocabulary": int(config.vocab_size),
            "dtype": str(runner.dtype).removeprefix("torch."),
            "model": type(model).__name__,
        }

    def elicit_set_tokens(self, vocabulary: int, banned: list[int]) -> None:
        """Mask the logits of ids that are no tokens: those from `vocabulary` on, and `banned`."""
        self._mask.vocabulary, self._mask.banned = vocabulary, torch.tensor(banned, dtype=torch.long)

    def elicit_put_edit(self, name: str, path: str) -> int:
        """Read an edit from a safetensors file whose metadata has its JSON. Returns its layer."""
        with safe_open(path, framework="pt") as file:
            entry = json.loads(file.metadata()["edit"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self._edits[name] = build_edit(entry, tensors, self.device)
        return self._edits[name].layer

    def elicit_drop_edits(self, names: list[str]) -> None:
        for name in names:
            self._edits.pop(name, None)

    def elicit_take(self, requests: list[str]) -> dict[str, Any]:
        """Take the records of finished requests, as plain data."""
        return {request: _to_plain(RECORDS.pop(request, Record())) for request in requests}

    def elicit_load_weights(self, path: str | None) -> int:
        """Load the model's own weights again, with the named tensors of a file in their places. Returns how many.

        vLLM packs and joins weights once they are loaded, so a changed part means loading all.

        Raises:
            RequestError: the file names a tensor that the model's files do not have.
        """
        from vllm.model_executor.model_loader import get_model_loader

        runner = self.model_runner
        changed: dict[str, torch.Tensor] = {} if path is None else load_file(path)
        count = len(changed)
        loader: Any = get_model_loader(runner.vllm_config.load_config)

        def replaced() -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in loader.get_all_weights(runner.model_config, runner.get_model()):
                new = next((changed.pop(alias) for alias in _aliases(name) if alias in changed), None)
                yield name, tensor if new is None else new.to(tensor.device)

        runner.reload_weights(weights_iterator=replaced())
        _pack_tied_head(runner.get_model())
        if changed:
            raise RequestError(f"the model's files have no tensor {min(changed)!r}")
        return count

    def _plan_pass(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Find the tokens that edits touch in the pass that begins."""
        runner = self.model_runner
        count = runner.input_batch.num_reqs
        self._touches = {}
        if count == 0:
            return
        bounds = np.asarray(runner.query_start_loc.np[: count + 1])
        computed = np.asarray(runner.input_batch.num_computed_tokens_cpu[:count])
        carriers: dict[tuple[str, ...], list[tuple[int, Any]]] = {}  # requests by their edits, which act in order
        for row, request in enumerate(runner.input_batch.req_ids[:count]):
            arguments = (runner.requests[request].sampling_params.extra_args or {}).get(ARGUMENTS)
            if not arguments:
                continue
            if computed[row] == 0 and runner.requests[request].output_token_ids:
                find_record(arguments["id"]).recomputed = True
            if arguments["edits"]:
                carriers.setdefault(tuple(arguments["edits"]), []).append((row, arguments))
        touches = [touch for same in carriers.items() for touch in self._find_touches(*same, bounds, computed)]
        self._check_positions(kwargs.get("positions", args[1] if len(args) > 1 else None), touches)
        for touch in touches:
            self._touches.setdefault(touch.edit.layer, []).append(touch)

    def _find_touches(
        self, names: tuple[str, ...], carriers: list[tuple[int, Any]], bounds: np.ndarray, computed: np.ndarray
    ) -> Iterator[Touch]:
        """Find the tokens that each of `names` touches, over all requests (row, arguments) with these edits.

        Args:
            bounds: first token of every request in the flat batch, and the end.
            computed: tokens of every request that earlier passes have computed.
        """
        members = np.array([row for row, _ in carriers])
        lengths = bounds[members + 1] - bounds[members]
        owners = np.repeat(np.arange(len(members)), lengths)
        within = np.arange(len(owners)) - np.repeat(lengths.cumsum() - lengths, lengths)
        rows, positions = bounds[members][owners] + within, computed[members][owners] + within
        prompts = np.array([arguments["prompt"] for _, arguments in carriers])
        offsets = positions - (prompts[owners] - 1)
        for name in names:
            edit = self._edits[name]
            weights = edit.window.weights(offsets)
            inside = weights != 0
            if inside.any():
                requests = [arguments["id"] for _, arguments in carriers]
                yield Touch(name, edit, requests, owners[inside], rows[inside], positions[inside], weights[inside])

    def _check_positions(self, announced: torch.Tensor | None, touches: list[Touch]) -> None:
        """Compare the planned positions with those that the model is given; they are never taken on trust."""
        if not touches:
            return
        if announced is None:
            raise RuntimeError("vLLM did not announce the positions of this pass, so edits cannot be placed.")
        rows = np.concatenate([touch.rows for touch in touches])
        planned = np.concatenate([touch.positions for touch in touches])
        flat = announced if announced.ndim == 1 else announced[0]
        if not np.array_equal(flat[torch.from_numpy(rows).to(flat.device)].cpu().numpy(), planned):
            raise RuntimeError("vLLM runs other positions than its batch says, so edits cannot be placed.")

    def _make_layer_hook(self, index: int) -> Any:
        def edit_output(module: nn.Module, args: Any, output: Any) -> Any:
            touches = self._touches.get(index)
            if touches:
                hidden, residual = output[:2] if isinstance(output, tuple) else (output, None)
                for touch in touches:
                    _apply_touch(touch, hidden, residual)
            return output

        return edit_output


def find_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers: the list of modules as long as the config says.

    Raises:
        RuntimeError: none is, or only a part of the layers is in this process (pipeline parallelism).
    """
    count = _text_config(model).num_hidden_layers
    for _, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            if any(type(layer).__name__ == "PPMissingLayer" for layer in module):
                raise RuntimeError("pipeline parallelism splits the layers; edits need all of them in one process.")
            return module
    raise RuntimeError(f"{type(model).__name__} has no list of {count} decoder layers, so it cannot be steered.")


def _text_config(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    return config.get_text_config() if config is not None else None


def _pack_tied_head(model: Any) -> None:
    """Pack a head that is tied to the embedding once more: no file has it, so reloading leaves its old packing."""
    head: Any = getattr(model, "lm_head", None)
    if _text_config(model).tie_word_embeddings and hasattr(head, "quant_method"):
        head.quant_method.process_weights_after_loading(head)


class _Mask:
    """Ids whose logits become minus infinity."""

    vocabulary: int | None = None
    banned: torch.Tensor | None = None

    def apply(self, logits: torch.Tensor) -> None:
        if self.vocabulary is not None:
            logits[..., self.vocabulary :] = -torch.inf
        if self.banned is not None and len(self.banned):
            logits[..., self.banned.to(logits.device)] = -torch.inf


def _mask_logits(model: Any) -> _Mask:
    """Mask what `compute_logits` gives, so that samples and scores share one distribution. Returns the mask."""
    original, mask = model.compute_logits, _Mask()

    def compute_logits(*args: Any, **kwargs: Any) -> Any:
        logits = original(*args, **kwargs)
        if logits is not None:  # only one process of a tensor-parallel group has them
            mask.apply(logits)
        return logits

    model.compute_logits = compute_logits
    return mask


def _aliases(name: str) -> tuple[str, ...]:
    """Names that a tensor of a model's files may have in transformers: with or without the decoder's prefix."""
    prefixes = ("model.", "transformer.", "gpt_neox.")
    return (
        name,
        *(name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)),
        *(prefix + name for prefix in prefixes),
    )


def _apply_touch(touch: Touch, hidden: torch.Tensor, residual: torch.Tensor | None) -> None:
    """Edit the touched tokens in place. Their sum moves into `hidden`, so that it is rounded as the lab's is."""
    rows = torch.from_numpy(touch.rows).to(hidden.device)
    weights = torch.from_numpy(touch.weights).to(hidden.device, hidden.dtype)
    stream = hidden[rows] if residual is None else hidden[rows] + residual[rows]
    delta = touch.edit.delta(stream)
    hidden[rows] = stream + weights[:, None] * delta
    if residual is not None:
        residual[rows] = 0
    owners, positions = touch.owners, touch.positions
    if touch.edit.gates:
        fired = (delta != 0).any(dim=-1).cpu().numpy()
        owners, positions = owners[fired], positions[fired]
    starts = np.flatnonzero(np.diff(owners, prepend=-1)).tolist()
    for start, end in itertools.pairwise([*starts, len(owners)]):  # no pair if no gate has fired
        find_record(touch.requests[owners[start]]).note_touched(touch.name, positions[start:end].tolist())


def _to_plain(record: Record) -> dict[str, Any]:
    steps = [record.chosen[step] for step in sorted(record.chosen)]
    return {
        "chosen": [tuple(chosen.__dict__.values()) for chosen in steps],
        "recomputed": record.recomputed,
        "touched": {name: to_ranges(positions) for name, positions in record.touched.items()},
    }


def private_path(folder: Path, name: str) -> Path:
    """A file in the server's own folder; names are hex digests, so nothing else can be reached."""
    if not name.isalnum():
        raise ValueError(f"{name!r} is not a name that this server gives")
    return folder / f"{name}.safetensors"
