"""Split a step's rows into passes (micro-batches) whose activations fit into memory.

1. The budget is 2 GiB of activations on a CPU and a third of the free memory on a GPU. The bytes per token are
   estimated from the model's widths.
2. A step that fits is one pass, unchanged. Otherwise its rows are sorted by length, split into passes within the
   budget, and padded only to the longest of their own pass.
3. If the longest row alone does not fit, activations are recomputed in the backward pass (gradient checkpointing).
4. Every pass adds its share of the step to the gradients, so the sum is the gradient of the whole step: the loss
   of supervised training is a sum over tokens divided by the step's tokens, that of Dr. GRPO a sum over rows divided
   by the step's rows. Rollouts whose advantage is 0 have no gradient: a step of several passes leaves them out.
5. Logits are never kept: TRL's fused head computes them in tiles, for positions that have a label. (On a CPU it would
   score every position, including the prompt's; with a large vocabulary this is prevented.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from elicit.rotary import RotaryScaling, frequency_group, length_scaling
from elicit.training.parameters import is_small
from elicit.training.world import get_world

#: Bytes of activations in one pass on a CPU.
CPU_BUDGET = 2 << 30
#: Share of a GPU's free memory for activations.
_GPU_SHARE = 1 / 3
#: Values kept for the backward pass, per token and layer, in units of the residual's and of the MLP's width. Measured
#: on Llama-like blocks with an adapter on every projection; an upper estimate for the others.
_WIDTHS, _INNER = 32, 10


class PassLimits(NamedTuple):
    """Limits on the size of a pass."""

    tokens: int
    """Most tokens, padding included."""
    rows: int | None = None
    """Most rows, if limited."""
    checkpointing: bool = False
    """Recompute activations in the backward pass."""
    scaling: RotaryScaling | None = None
    """Rotary scaling that depends on the length of a pass: only rows of the same scaling may share one."""


def choose_pass_limits(
    hf: Any, longest: int, *, rows: int | None = None, checkpointing: bool | None = None
) -> PassLimits:
    """Choose the limits of passes for a model and the longest row it will see, in tokens.

    Args:
        rows: most rows in a pass.
        checkpointing: None enables it if the longest row does not fit otherwise.
    """
    saved_bytes, block, budget = (
        activation_bytes_per_token(hf),
        activation_bytes_per_token(hf, layers=1),
        _measure_activation_budget(hf.device),
    )
    recompute = longest * saved_bytes > budget if checkpointing is None else checkpointing
    inputs = count_layers(hf) * hf.config.get_text_config(decoder=True).hidden_size * hf.dtype.itemsize
    per_token = inputs + block if recompute else saved_bytes
    return PassLimits(max(longest, budget // per_token), rows, recompute, length_scaling(hf.config))


def activation_bytes_per_token(hf: Any, *, layers: int | None = None) -> int:
    """Estimated bytes of activations that one token leaves for the backward pass, in all layers or some."""
    config = hf.config.get_text_config(decoder=True)
    width = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    count = count_layers(hf) if layers is None else layers
    return count * (_WIDTHS * width + _INNER * inner) * int(hf.dtype.itemsize)


def count_layers(hf: Any) -> int:
    return int(hf.config.get_text_config(decoder=True).num_hidden_layers)


def _measure_activation_budget(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE) if device.type == "cuda" else CPU_BUDGET


def split_into_passes(
    lengths: Sequence[int], passes: PassLimits, group_keys: Sequence[int] | None = None
) -> list[list[int]]:
    """Split rows into passes: all in their order if they fit into one, else sorted by length.

    Args:
        group_keys: a key per row; only rows with equal keys share a pass.
    """
    groups = list(
        zip(group_keys or [0] * len(lengths), (frequency_group(passes.scaling, n) for n in lengths), strict=True)
    )
    most = passes.rows or len(lengths)
    if len(lengths) <= most and len(lengths) * max(lengths) <= passes.tokens and len(set(groups)) == 1:
        return [list(range(len(lengths)))]
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (groups[i], lengths[i], i)):
        room = batches and len(batches[-1]) < most and (len(batches[-1]) + 1) * lengths[row] <= passes.tokens
        if room and groups[batches[-1][0]] == groups[row]:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class LossPiece(NamedTuple):
    """Inputs of one pass, and the weight of its loss in the step's."""

    inputs: dict[str, Any]
    share: float
    labels: int
    """Tokens with a label."""
    tokens: int
    """Real tokens, prompts included."""


def split_supervised_batch(inputs: dict[str, Any], passes: PassLimits) -> list[LossPiece]:
    """Split a batch that is padded on the right. Its losses are already divided by the whole batch's tokens."""
    lengths = inputs["attention_mask"].sum(1).tolist()
    rows = split_into_passes(lengths, passes)
    if len(rows) == 1:
        return [LossPiece(inputs, 1.0, _count_labels(inputs), sum(lengths))]
    pieces = []
    for indices in rows:
        width = max(lengths[i] for i in indices)
        part = {name: _slice_tensor(value, indices, slice(0, width), len(lengths)) for name, value in inputs.items()}
        pieces.append(LossPiece(part, 1.0, _count_labels(part), sum(lengths[i] for i in indices)))
    return pieces


def _count_labels(inputs: dict[str, Any]) -> int:
    return int((inputs["labels"][:, 1:] != -100).sum())


def split_rollout_batch(inputs: dict[str, Any], passes: PassLimits, *, by_prompt: bool) -> list[LossPiece]:
    """Split a step of rollouts: prompts are padded on the left, completions on the right.

    Args:
        by_prompt: only prompts of equal length share a pass, so that none is padded. Needed for absolute positions and
            for rotary scaling by length, which would count the padding.
    """
    prompts, completions = (inputs[f"{part}_mask"].sum(1).tolist() for part in ("prompt", "completion"))
    lengths = [p + c for p, c in zip(prompts, completions, strict=True)]
    count = len(lengths)
    # The width of a single pass: TRL's padding for the whole step.
    whole = inputs["prompt_ids"].shape[1] + inputs["completion_ids"].shape[1]
    scaled = {frequency_group(passes.scaling, n) for n in (*lengths, whole)}
    if len(scaled) == 1 and len(split_into_passes([whole] * count, passes, prompts if by_prompt else None)) == 1:
        return [LossPiece(inputs, 1.0, sum(completions), sum(lengths))]
    live = [i for i, advantage in enumerate(inputs["advantages"].tolist()) if advantage != 0]
    live = live or [min(range(count), key=lambda i: lengths[i])]
    chosen = split_into_passes([lengths[i] for i in live], passes, [prompts[i] for i in live] if by_prompt else None)
    pieces = []
    for indices in ([live[j] for j in group] for group in chosen):
        before = slice(inputs["prompt_ids"].shape[1] - max(prompts[i] for i in indices), None)
        after = slice(0, max(completions[i] for i in indices))
        part = {
            name: _slice_tensor(value, indices, before if name.startswith("prompt") else after, count)
            for name, value in inputs.items()
        }
        labels = sum(completions[i] for i in indices)
        pieces.append(LossPiece(part, len(indices) / count, labels, sum(lengths[i] for i in indices)))
    return pieces


def _slice_tensor(value: Any, rows: list[int], columns: slice, count: int) -> Any:
    """Select rows of a tensor with `count` rows, and columns if it has columns; other values are unchanged."""
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or len(value) != count:
        return value
    return value[rows][:, columns] if value.ndim == 2 else value[rows]


def make_passes_trainer(trainer_class: Any, pieces: Callable[[dict[str, Any]], list[LossPiece]]) -> Any:
    """Make a trainer class that computes a step's loss in passes."""

    class PassesTrainer(trainer_class):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            parts = _even_out(pieces(inputs))
            *before, last = parts
            if before and num_items_in_batch is None and "labels" in inputs:
                num_items_in_batch = sum(part.labels for part in parts)
            loss_so_far = 0.0
            logged = {name: len(values) for name, values in self._metrics["train"].items()}
            for part in before:
                with self.accelerator.no_sync(model):
                    loss = super().compute_loss(model, part.inputs, num_items_in_batch=num_items_in_batch) * part.share
                    self.accelerator.backward(loss)
                loss_so_far += float(loss.detach())
            loss = super().compute_loss(model, last.inputs, num_items_in_batch=num_items_in_batch)
            _merge_pass_metrics(self._metrics["train"], logged, [part.labels for part in parts])
            tokens = get_world().gather(sum(part.tokens for part in parts))
            self._metrics["train"]["trained_tokens"].append(sum(tokens))
            return loss * last.share + loss_so_far if before else loss

    return PassesTrainer


def _even_out(parts: list[LossPiece]) -> list[LossPiece]:
    """As many passes as every other process has: those that are missing repeat the shortest one with weight 0."""
    missing = max(get_world().gather(len(parts))) - len(parts)
    shortest = min(parts, key=lambda part: part.tokens)
    return [shortest._replace(share=0.0, labels=0, tokens=0)] * missing + parts


def _merge_pass_metrics(metrics: dict[str, list[Any]], logged: dict[str, int], tokens: list[int]) -> None:
    """Merge the values logged by the passes into one, weighted by tokens."""
    for name, values in metrics.items():
        new = values[logged.get(name, 0) :]
        if len(new) == len(tokens) > 1:
            mean = sum(value * n for value, n in zip(new, tokens, strict=True)) / max(1, sum(tokens))
            values[logged.get(name, 0) :] = [mean]


@contextmanager
def restrict_head_to_labels(hf: Any) -> Iterator[None]:
    """Make TRL's fused head compute logits only for positions with a label, also on a CPU.

    Not for small models, whose results are compared bit by bit with those of earlier versions.
    """
    from trl.trainer import utils

    if is_small(hf) or not hasattr(utils, "_use_triton"):
        yield
        return
    before = utils._use_triton
    utils._use_triton = lambda device: True  # in this module the name has no other use; the kernels import their own
    try:
        yield
    finally:
        utils._use_triton = before
