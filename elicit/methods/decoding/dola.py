"""`dola`: the last layer contrasted with the most different earlier layer (2309.03883), greedy.

1. The residual after each candidate number of blocks goes through the final norm and the head: q_j. The model's own
   distribution is q_N.
2. The premature layer M is the candidate with the largest Jensen-Shannon divergence from q_N, at every token and for
   every row separately: (KL(q_N || m) + KL(q_j || m)) / 2 with m = (q_N + q_j) / 2, as in the paper (its equation 4).
3. Scores are log q_N - log q_M over the plausible tokens (q_N(x) >= alpha max q_N), -inf elsewhere.
4. The bucket of candidate layers (lower or upper half) is chosen on the select split, by accuracy, as the paper chooses
   it on a validation set; alpha is not tuned.

Deviations: the authors' code, and transformers' after it, calls `F.kl_div(log q, m)`, which is KL(m || q): the mean of
both against each of the two, the other way round than the paper. Which layer is the furthest may then be another one;
`divergence: reversed` is theirs. The contrast itself is the same in both: late minus early. Both apply the head to
residuals without the final norm (as `norm=False` does), and transformers used one premature layer for the whole batch.
The authors' repetition penalty (1.2) for long answers is left out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit import documents
from elicit.errors import ElicitError, unknown_name_error
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from jaxtyping import Float, Int

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.readouts.watching import Residuals
    from elicit.sampling import Decoding, Engine, Request
    from elicit.sampling.forward import DecodingState
    from elicit.tasks import Task

Bucket = Literal["low", "high"]


@dataclass(frozen=True)
class Dola(Method):
    """Decoding by contrasting layers."""

    exits: Literal["choose", "low", "high"] | tuple[int, ...] = "choose"
    """Candidate early exits: a half of the model's depth, or numbers of decoder blocks (0: the embeddings). choose:
    low or high, on the select split."""
    alpha: float = 0.1
    """Plausible tokens have at least this fraction of the largest probability."""
    norm: bool = True
    """Apply the final norm to early residuals before the head; the authors' code has False."""
    divergence: Literal["jensen_shannon", "reversed"] = "jensen_shannon"
    """Distance by which the premature layer is chosen: the paper's, or that of the authors' code, with the arguments of
    both KL terms exchanged."""
    select_problems: int = 64

    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        check_positive("dola", select_problems=self.select_problems)
        exits = self.exits if isinstance(self.exits, tuple) else (0,)  # those of a bucket depend on the model
        DolaReadout(exits, self.alpha, self.norm, self.divergence)  # checks them

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        trials = 2 * self.select_problems if self.exits == "choose" else 0
        answer = Generation(1, lengths.plain, 1, lengths.prompt, obstacle="earlier layers are read at every token")
        return CostEstimate(answer, (answer._replace(completions=trials, prompts=trials, rows=self.select_problems),))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for exits that the model does not have."""
        from elicit.fitting.selection import Candidate, choose_readout
        from elicit.policy import Policy

        candidates = []
        for exits in self._list_exit_candidates(base):
            check_exits(exits, base.n_layers)
            policy = Policy(
                base, task_decoding(task), readout=DolaReadout(exits, self.alpha, self.norm, self.divergence)
            )
            candidates.append(Candidate(policy, {"exits": list(exits)}))
        return choose_readout(candidates, task, self.select_problems)

    def _list_exit_candidates(self, base: BaseModel) -> list[tuple[int, ...]]:
        if isinstance(self.exits, tuple):
            return [self.exits]
        if self.exits == "choose":
            return [exits for exits in (list_bucket_exits(base, "low"), list_bucket_exits(base, "high")) if exits]
        bucket_exits = list_bucket_exits(base, self.exits)
        if not bucket_exits:
            raise ElicitError(
                f"dola: the {self.exits} bucket of {base.name} ({base.n_layers} layers, tied embeddings) is empty. "
                f"Type exits: [1] or other numbers below {base.n_layers}."
            )
        return [bucket_exits]


@dataclass(frozen=True)
class DolaReadout:
    """Contrast of the last layer with early exits. `alpha`, `norm` and `divergence` are those of `Dola`."""

    exits: tuple[int, ...]
    """Candidates, each a number of decoder blocks (0: the embeddings); at least one, below the model's depth."""
    alpha: float = 0.1
    norm: bool = True
    divergence: Literal["jensen_shannon", "reversed"] = "jensen_shannon"

    kind: ClassVar[str] = "dola"

    def __post_init__(self) -> None:
        object.__setattr__(self, "exits", tuple(self.exits))
        if not self.exits or len(set(self.exits)) < len(self.exits):
            raise ElicitError(f"dola: exits are {list(self.exits)}; expected at least one number of blocks, each once.")
        if not 0 <= self.alpha <= 1:
            raise ElicitError(f"dola: alpha is {self.alpha}; expected 0 to 1.")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps([self.kind, self.to_json()]).encode()).hexdigest()

    def __str__(self) -> str:
        return f"DoLa (exits after {', '.join(map(str, self.exits))} blocks, alpha {self.alpha:g})"

    @contextmanager
    def open_forward(self, model: BaseModel) -> Iterator[_DolaForward]:
        from elicit.readouts.watching import capture_residuals

        check_exits(self.exits, model.n_layers)
        with capture_residuals(model.layers, self.exits) as residuals:
            yield _DolaForward(self, residuals)

    def to_json(self) -> dict[str, Any]:
        usual = self.divergence == "jensen_shannon"  # policies from before there was a choice keep their hash
        plain = {"exits": list(self.exits), "alpha": self.alpha, "norm": self.norm}
        return plain | ({} if usual else {"divergence": self.divergence})

    def save_tensors(self, folder: Path) -> None:
        """Write nothing: there are no tensors."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> DolaReadout:
        documents.as_record(data, cls, cls.kind)
        return cls(**data)

    def contrast_logits(
        self, final: Float[torch.Tensor, "rows vocab"], early: Float[torch.Tensor, "exit rows vocab"]
    ) -> Float[torch.Tensor, "rows vocab"]:
        """Scores log q_N - log q_M from the logits of the last layer and of the candidates (banned ids: -inf)."""
        import torch

        from elicit.readouts.logits import find_plausible_tokens

        q_N, q_j = final.log_softmax(-1), early.log_softmax(-1)
        measure = jensen_shannon_divergence if self.divergence == "jensen_shannon" else reversed_divergence
        M = measure(q_N, q_j).argmax(0)
        q_M = q_j[M, torch.arange(len(M), device=M.device)]
        return torch.where(find_plausible_tokens(q_N, self.alpha), q_N - q_M, -torch.inf)


def jensen_shannon_divergence(
    p: Float[torch.Tensor, "*rows vocab"], q: Float[torch.Tensor, "*rows vocab"]
) -> Float[torch.Tensor, "*rows"]:
    """Jensen-Shannon divergence in nats, (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, from log-probabilities."""
    import torch

    m = torch.logaddexp(p, q) - math.log(2)

    def kl_to_mean(a: torch.Tensor) -> torch.Tensor:
        return torch.where(a > -torch.inf, a.exp() * (a - m), 0.0).sum(-1)

    return 0.5 * (kl_to_mean(p) + kl_to_mean(q))


def reversed_divergence(
    p: Float[torch.Tensor, "*rows vocab"], q: Float[torch.Tensor, "*rows vocab"]
) -> Float[torch.Tensor, "*rows"]:
    """(KL(m || p) + KL(m || q)) / 2 in nats with m = (p + q) / 2, from log-probabilities.

    Infinite where only one of them has mass; ids that neither can draw count nothing.
    """
    import torch

    m = torch.logaddexp(p, q) - math.log(2)

    def kl_from_mean(a: torch.Tensor) -> torch.Tensor:
        return torch.where(m > -torch.inf, m.exp() * (m - a), 0.0).sum(-1)

    return 0.5 * (kl_from_mean(p) + kl_from_mean(q))


def check_exits(exits: Sequence[int], n_layers: int) -> None:
    """Raise ElicitError for an exit that the model does not have."""
    for depth in exits:
        if not 0 <= depth < n_layers:
            raise ElicitError(
                f"dola: an early exit after {depth} blocks does not exist: this model has {n_layers}. Type numbers "
                f"from 0 (the embeddings) to {n_layers - 1}."
            )


def list_bucket_exits(model: BaseModel, name: Bucket) -> tuple[int, ...]:
    """List every second exit of the lower or upper half (at most 20 blocks of it), as transformers did.

    If the embeddings are tied to the head, `low` leaves out exits 0 and 1. May be empty in very shallow models.

    Raises:
        ElicitError: the bucket is unknown.
    """
    from elicit.loading import architectures

    n = model.n_layers
    tied = architectures.get_embedding(model.hf).weight is architectures.get_lm_head(model.hf).weight
    if name == "low":
        return tuple(range(2 if tied else 0, min(n // 2, 20), 2))
    if name == "high":
        return tuple(range(max(n // 2, n - 20), n, 2))
    raise unknown_name_error("dola bucket", name, ("low", "high"))


@dataclass
class _DolaForward:
    """The `Forward` of DoLa."""

    spec: DolaReadout
    residuals: Residuals

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[DecodingState, torch.Tensor]:
        from elicit.readouts.watching import index_prompts_by_row
        from elicit.sampling.prefill import prefill_prompts

        state, final = prefill_prompts(engine, requests, samples, decoding, whole=True)
        return state, self._contrast_exits(engine, final, index_prompts_by_row(samples))

    def step(
        self, engine: Engine, state: DecodingState, tokens: torch.Tensor, rows: np.ndarray, offset: int
    ) -> torch.Tensor:
        from elicit.sampling.forward import decode_step

        return self._contrast_exits(engine, decode_step(engine, state, tokens, rows, offset), None)

    def _contrast_exits(
        self, engine: Engine, final: torch.Tensor, order: Int[torch.Tensor, " rows"] | None
    ) -> torch.Tensor:
        import torch

        from elicit.loading import architectures
        from elicit.readouts.logits import mask_token_ids
        from elicit.sampling.score import project_to_logits

        norm = architectures.get_final_norm(engine.hf)
        early = []
        for depth in self.spec.exits:
            h = self.residuals[depth]
            logits = mask_token_ids(project_to_logits(engine, norm(h) if self.spec.norm else h), engine.banned_ids).to(
                final.device
            )
            early.append(logits if order is None else logits[order.to(final.device)])
        return self.spec.contrast_logits(mask_token_ids(final, engine.banned_ids), torch.stack(early))
