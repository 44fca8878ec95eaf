"""`train(model, sequences, layer=...)`: a sparse autoencoder of the residual stream, by SAELens's own trainer.

1. A sixteenth of the different sequences is kept to judge (`text.split`).
2. Residuals of the rest are harvested with native hooks, the forward pass ending at the layer, first tokens left out,
   and shuffled in a bounded buffer (`text.batches`).
3. SAELens's `SAETrainer` takes the steps; the decoder's bias starts at the mean residual (`trainer.build`).
4. Kinds with one threshold for all latents get it set from the text, so that inference keeps k latents (`threshold`).
5. The weights are written as they will be read, read back, and judged on the held-out text (`saes.evaluation`).

The same plan, text, model and number of threads give the same SAE bit for bit: batch n is a function of the plan and n,
initial weights are drawn by identity, and the global random state is neither read nor changed. A training with a folder
can be killed at any moment; the same call goes on from its last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from elicit import runs
from elicit.errors import ElicitError
from saes.activations import find_decoder_layers, unwrap_bridge
from saes.evaluation import evaluate
from saes.manifest import Manifest
from saes.plan import ARCHITECTURES, Plan
from saes.sae import SAE
from saes.training import folder, text, threshold, trainer

__all__ = ["ARCHITECTURES", "Plan", "Progress", "train"]

_REPORT_EVERY = 10
"""Steps."""


class Progress(NamedTuple):
    """Report of training, every few steps; the last three are of the batch at hand, while it is trained on."""

    tokens: int
    total: int
    loss: float
    explained_variance: float
    l0: float


def train(
    model: Any,
    sequences: Sequence[Sequence[int]],
    *,
    layer: int,
    width: int = 512,
    k: float = 8,
    tokens: int = 1_000_000,
    architecture: str = "topk",
    seed: int = 0,
    lr: float = 1e-3,
    batch: int = 1024,
    buffer: int | None = None,
    stored_as: str = "float32",
    out: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 30.0,
    model_name: str = "unknown",
    weights_sha256: str | None = None,
    source: str | None = None,
) -> SAE:
    """Train an SAE on the residual stream after decoder layer `layer`.

    Arguments that are not listed are the fields of `saes.plan.Plan`.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        sequences: token ids of running text, read again in another order when they are used up.
        out: folder for SAELens's files and our manifest, which also makes the training resumable. None: in memory.
        checkpoint_seconds: time between checkpoints.
        weights_sha256: hash of the model's weights, for the manifest.
        source: what the text is, in words.

    Returns:
        The SAE as read back from its files, with its evaluation card in `manifest.card`.

    Raises:
        ElicitError: a plan that makes no sense, a layer that does not exist, too little text, or a folder that holds
            something else or cannot be written.
    """
    plan = Plan(
        layer=layer, width=width, k=k, tokens=tokens, architecture=architecture, seed=seed, lr=lr, batch=batch,
        buffer=buffer, stored_as=stored_as,
    )  # fmt: skip
    if layer >= len(find_decoder_layers(model)):
        raise ElicitError(f"saes: layer {layer} does not exist. Layers are 0 to {len(find_decoder_layers(model)) - 1}.")
    plan = dataclasses.replace(plan, buffer=plan.buffer_for(unwrap_bridge(model).config.get_text_config().hidden_size))
    parts = text.split_text(sequences)
    spec = {"model": model_name, "weights_sha256": weights_sha256, "text_sha256": parts.sha256, **plan.to_json()}
    with contextlib.ExitStack() as stack:
        if out is None:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sae-")))
        else:
            target = Path(out)
            stack.enter_context(folder.claim_folder(target, spec))
        h = text.sample_residuals(model, plan.layer, parts.train)
        norm = float(h.norm(dim=-1).median())
        if folder.is_finished(target):
            sae = _read_trained_sae(target, str(out))
            folder.check_norm(target, sae.manifest.norm, norm)
            return sae
        trained = _run_steps(
            model, parts, plan, h, norm, target if out is not None else None, progress, checkpoint_seconds
        )
        training = _describe_training(plan, parts, source)
        if ARCHITECTURES[architecture].threshold:
            training["threshold"] = threshold.calibrate_threshold(trained, h, plan.k)
            training["threshold_from"] = f"set after training: k = {plan.k:g} latents a token over a sample of the text"
        manifest = Manifest(
            model=model_name, weights_sha256=weights_sha256, layer=layer, hook=plan.hook, architecture=architecture,
            k=float(k), norm=norm, tokens=plan.steps * plan.batch, text_sha256=parts.sha256, seed=seed,
            training=training,
        )  # fmt: skip
        name = str(out) if out is not None else f"{model_name}/L{layer} (in memory)"
        return _publish_sae(model, trained, parts.held_out, plan, manifest, target, name)


def _run_steps(
    model: Any,
    parts: text.Split,
    plan: Plan,
    h: Float[torch.Tensor, "token d_model"],
    norm: float,
    out: Path | None,
    progress: Callable[[Progress], None] | None,
    checkpoint_seconds: float,
) -> Any:
    """Take all steps, or those that are left. Returns SAELens's TrainingSAE with its scaling folded in."""
    sae_trainer = trainer.build_trainer(plan, h)
    if out is not None:
        folder.load_checkpoint(out, sae_trainer, norm)
    done = sae_trainer.n_training_steps
    assert plan.buffer is not None
    stream = text.iterate_residual_batches(
        model, plan.layer, parts.train, batch=plan.batch, buffer=plan.buffer, seed=plan.seed, start=done
    )
    saved = time.monotonic()
    while sae_trainer.n_training_steps < plan.steps:
        step = sae_trainer.step(next(stream))
        sae_trainer.n_training_steps += 1
        _check_finite(step.loss, sae_trainer.n_training_steps)
        last = sae_trainer.n_training_steps == plan.steps
        if out is not None and not last and time.monotonic() - saved >= checkpoint_seconds:
            folder.save_checkpoint(out, sae_trainer, norm)
            saved = time.monotonic()
        if progress is not None and (sae_trainer.n_training_steps % _REPORT_EVERY == 0 or last):
            progress(_measure_progress(sae_trainer.n_training_steps, plan, step))
    trainer.fold_input_scaling(sae_trainer)
    return sae_trainer.sae


def _check_finite(loss: torch.Tensor, step: int) -> None:
    if not bool(torch.isfinite(loss)):
        raise ElicitError(f"saes: the loss is {loss.item()} at step {step}. Type a smaller lr.")


@torch.no_grad()
def _measure_progress(steps: int, plan: Plan, step: Any) -> Progress:
    x = step.sae_in
    unexplained = (step.sae_out - x).square().sum() / (x - x.mean(0)).square().sum()
    l0 = (step.feature_acts > 0).float().sum(-1).mean()
    return Progress(steps * plan.batch, plan.steps * plan.batch, step.loss.item(), 1 - float(unexplained), float(l0))


def _describe_training(plan: Plan, parts: text.Split, source: str | None) -> dict[str, Any]:
    """Describe the other settings that determined the SAE."""
    import sae_lens
    import transformers

    return {
        "source": source,
        "sequences": len(parts.train),
        "held_out_sequences": len(parts.held_out),
        **{name: getattr(plan, name) for name in ("width", "lr", "batch", "buffer", "stored_as")},
        "threads": torch.get_num_threads(),
        "versions": {
            "sae_lens": sae_lens.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _publish_sae(
    model: Any, trained: Any, held_out: text.Ids, plan: Plan, manifest: Manifest, target: Path, name: str
) -> SAE:
    """Write, read back, judge what was read, and put it in its place together with the card."""
    # Named like the scratch of elicit.runs, so that what a kill leaves is swept up next time.
    with (
        runs.writing_to(target),
        tempfile.TemporaryDirectory(prefix=".new-", suffix=".tmp", dir=target) as scratch_name,
    ):
        scratch = Path(scratch_name)
        metadata = {
            "model_name": manifest.model,
            "hook_name": plan.hook,
            "model_class_name": "TransformerBridge",
            "seqpos_slice": [text.SKIP, None],
        }
        folder.write_sae(scratch, trained, stored_as=plan.stored_as, metadata=metadata)
        runs.write_json(scratch / "manifest.json", manifest.model_dump())
        card = evaluate(model, _read_trained_sae(scratch, name), held_out)
        folder.publish_files(scratch, target, manifest.model_copy(update={"card": card}))
    return _read_trained_sae(target, name)


def _read_trained_sae(path: Path, name: str) -> SAE:
    from saes.loading.folder import load_from_folder

    return load_from_folder(path, name, device="cpu")
