"""The methods of a model that read and replace its activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from elicit.activations.attribution import AttributionScores, attribute_patches
from elicit.activations.cache import cache_activations
from elicit.activations.cached import ActivationCache
from elicit.activations.logit_attribution import LogitAttribution, attribute_logits
from elicit.activations.measures import Answers, LogitDifference, LogitMeasure
from elicit.activations.path import patch_paths
from elicit.activations.replacing import replace_activations
from elicit.activations.results import PatchSweep
from elicit.activations.sweep import measure_plainly, sweep_patches
from elicit.errors import ElicitError
from elicit.sampling import Engine, Scored
from elicit.steering.position_picture import PositionPicture, show_positions


@runtime_checkable
class Applies(Protocol):
    """A policy: the model runs as it while its context is open."""

    def apply(self) -> AbstractContextManager[Any]: ...


class ActivationMethods(ABC):
    """`cache`, `patch`, `replace`, `attribute`, `attribute_logits` and `patch_paths` of a base model."""

    @property
    @abstractmethod
    def engine(self) -> Engine: ...

    @abstractmethod
    def encode(self, text: str) -> tuple[int, ...]: ...

    @abstractmethod
    def encode_pair(self, prompt: str, completion: str) -> Scored: ...

    def show_positions(self, positions: str, prompt: str, completion: str = "") -> PositionPicture:
        """The tokens of a text that a position form touches, and with which weight: a picture in a notebook.

        Raises:
            ElicitError: an unknown form, or a string that the tokenizer cannot write.
        """
        pair = self.encode_pair(prompt, completion) if completion else Scored(self.encode(prompt), ())
        return show_positions(self.engine.tokenizer, positions, pair.prompt, pair.completion)

    def cache(
        self,
        prompts: Sequence[str],
        completions: Sequence[str] | None = None,
        *,
        sites: str | Sequence[str] = "resid_post",
        layers: Sequence[int] | None = None,
        positions: str | Sequence[int] = "all",
        to: str | Path | None = None,
    ) -> ActivationCache:
        """Activations on prompts (and completions that follow them): `cache["resid_post", 3]` is [prompt, column, d].

        Within `model.steer` or `policy.apply()` they are the steered model's.

        Args:
            sites: of resid_pre, resid_mid, resid_post, attn_out, mlp_out, z, pattern; `name.layer` or
                `name.layer.head`; or TransformerLens's hook names.
            layers: None: every layer.
            positions: a position form, or offsets from the last prompt token (0).
            to: a folder to which the tensors are streamed; None keeps them in memory.

        Raises:
            ElicitError: an unknown site or position, an architecture whose sites are not known, or tensors that do not
                fit into memory.
        """
        return cache_activations(
            self.engine, self._encode_all(prompts, completions), sites, layers=layers, positions=positions, folder=to
        )

    def patch(
        self,
        *,
        from_: Sequence[str] | ActivationCache | Applies,
        to: Sequence[str],
        measure: LogitMeasure | Answers,
        sites: str | Sequence[str] = "resid_post",
        layers: Sequence[int] | None = None,
        positions: str | Sequence[int] = "all",
        controls: Sequence[str] = ("shuffled", "mean"),
        seed: int = 0,
    ) -> PatchSweep:
        """Patch activations of one run into another, at every site and position, one at a time, with controls.

        Args:
            from_: prompts, one for each of `to`; or a policy, which runs on the prompts of `to`; or a cache.
            to: prompts of the run that is patched; aligned with the source at the last prompt token.
            measure: `LogitDifference(toward, against)`, `Answers(task, problems)`, or a measure of one's own.
            controls: "shuffled" (another prompt's source) and "mean" (the mean over the target prompts).

        Raises:
            ElicitError: unequal numbers of prompts, an unknown site, position or control, or a model that cannot be
                patched.
        """
        target = self._encode_all(to, None)
        options: dict[str, Any] = {"sites": sites, "layers": layers, "positions": positions, "controls": controls}
        if isinstance(from_, Applies):
            with from_.apply():
                cache = cache_activations(self.engine, target, sites, layers=layers)
                values = measure_plainly(self.engine, target, measure)
            return sweep_patches(self.engine, cache, target, measure, source_values=values, seed=seed, **options)
        source = from_ if isinstance(from_, ActivationCache) else self._encode_all(from_, None)
        return sweep_patches(self.engine, source, target, measure, seed=seed, **options)

    def attribute(
        self,
        *,
        from_: Sequence[str] | ActivationCache,
        to: Sequence[str],
        measure: LogitMeasure,
        sites: str | Sequence[str] = "resid_post",
        layers: Sequence[int] | None = None,
        positions: str | Sequence[int] = "all",
    ) -> AttributionScores:
        """First-order estimate of every patch that `patch` would do, from one backward pass (2310.10348).

        Arguments and errors are those of `patch`.
        """
        source = from_ if isinstance(from_, ActivationCache) else self._encode_all(from_, None)
        options: dict[str, Any] = {"sites": sites, "layers": layers, "positions": positions}
        return attribute_patches(self.engine, source, self._encode_all(to, None), measure, **options)

    def patch_paths(
        self,
        *,
        from_: Sequence[str],
        to: Sequence[str],
        measure: LogitMeasure,
        senders: str | Sequence[str],
        receiver: str,
        layers: Sequence[int] | None = None,
    ) -> PatchSweep:
        """Patch the paths from senders to one receiver through the residual stream alone (2211.00593).

        Args:
            from_, to: prompts of equal lengths, pair by pair.
            senders: sites such as "z.0.3", or "mlp_out" for every layer before the receiver.
            receiver: "attn_out.L", "mlp_out.L", "z.L.H", or "resid_post.L" of the last layer for the logits.

        Raises:
            ElicitError: pairs of unequal lengths, or sites that are not such a path.
        """
        pairs = self._encode_all(from_, None), self._encode_all(to, None)
        return patch_paths(self.engine, *pairs, measure, senders=senders, receiver=receiver, layers=layers)

    def replace(
        self,
        sites: str | Sequence[str],
        function: Callable[[torch.Tensor], torch.Tensor],
        *,
        positions: Sequence[int] | None = None,
    ) -> AbstractContextManager[None]:
        """While the context is open, replace sites by `function` of them: ablations, hooks and patches of one's own.

        Reaches `sample`, `score` and `cache`; not `bridge`, whose own hooks do the same.

        Args:
            sites: as in `cache`; without a number in every layer.
            function: takes and returns [batch, pos, d_model], for "z.L.H" [batch, pos, d_head].
            positions: offsets from the last prompt token (0); None: every position.

        Raises:
            ElicitError: an unknown site, a pattern, a result of another shape, or a site that no forward pass reached.
        """
        return replace_activations(self.engine, sites, function, positions)

    def attribute_logits(
        self, prompts: Sequence[str], measure: LogitDifference, *, heads: bool = False
    ) -> LogitAttribution:
        """Direct contributions of embedding, attentions (or heads) and MLPs to a logit difference (2211.00593).

        Raises:
            ElicitError: a measure with one token, or a model whose logits are not such a sum.
        """
        return attribute_logits(self.engine, self._encode_all(prompts, None), measure, heads=heads)

    def _encode_all(self, prompts: Sequence[str], completions: Sequence[str] | None) -> list[Scored]:
        if isinstance(prompts, str) or isinstance(completions, str):
            raise ElicitError("cache and patch take lists of texts. Type: [prompt]")
        if completions is None:
            return [Scored(self.encode(prompt), ()) for prompt in prompts]
        if len(completions) != len(prompts):
            raise ElicitError(f"cache: {len(prompts)} prompts and {len(completions)} completions; expected one each.")
        return [self.encode_pair(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
