"""`power_sampling` (2510.14901): a sample of p^alpha over whole completions, by block-wise Metropolis-Hastings.

p is the model's distribution over completions at temperature 1; alpha above 1 favours completions that are probable as
a whole, which tempering one token at a time does not.

1. The length limit grows a block at a time. A completion that has not ended grows to the new limit by sampling at
   temperature 1/alpha (or another one, which the ratio below takes into account).
2. Then follow `steps` moves. Each draws a position m uniformly among the L tokens of the completion x, keeps the m
   tokens before it, and samples the rest anew at that temperature, up to the limit: a proposal x' of L' tokens.
3. The proposal is accepted with probability min(1, r):

    r = p(x')^alpha q(x | m) / L'  /  (p(x)^alpha q(x' | m) / L)

where `q(. | m)` is the probability with which the tokens from m on are sampled. 1/L and 1/L' are the probabilities of
drawing the same position in either direction: completions end at different lengths, and without these factors short
ones would be too rare.

Every step leaves the distribution proportional to p^alpha over completions up to the limit's length invariant, so after
the last block the chain converges to p^alpha itself.

Deviation: a completion that has ended does not grow, but moves continue, since it may end elsewhere. The reference
implementation leaves it unchanged from then on, as does `until_ended`: this is cheaper, but no longer samples p^alpha.

**Mixing.** At the paper's 1/alpha a proposal raises every token's probability to alpha by itself, so an opening that is
rare at temperature 1 is practically never tried, however probable its completion is as a whole: with alpha 4 an opening
of 2.6 % beside one of 97 % is proposed once in two million times. Where such an opening leads to working, the chain
stays with the bare answers, accepts nearly all moves, which lead from one to the next, and has not come near p^alpha.
With `temperature: 1` the same opening is tried in 2.6 % of the moves from the start. The limit is the same; what is
reached in a few hundred moves is not, so a comparison should have both arms.

Random numbers depend on (seed, task, problem, block, step), so the answer does not depend on the batch. Every proposed
token counts as cost, accepted or not. Rows and summary (`search`) have the shares of moves that were accepted and that
changed the completion; `one_opening`, 1 where all proposals began with the same token; and `opening_mass`, the
probability under p of the first tokens that were tried. An acceptance near 1 beside a single opening that is not all
there is means that the chain never left its mode; the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from elicit import seeds
from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding
from elicit.search import SearchResult

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Completion, Decoding, Request, Source
    from elicit.search import Query
    from elicit.tasks import Task


@dataclass(frozen=True)
class PowerSamplingOptions:
    """The options of power sampling: of the method, and of the search in its policy."""

    alpha: float = 4.0
    """The power; 1 is ordinary sampling."""
    block: int | None = None
    """Tokens by which the completion grows at a time; null: a sixteenth of the task's longest completion, as in the
    reference."""
    steps: int = 10
    """Metropolis-Hastings moves per block."""
    temperature: float | None = None
    """Temperature of the proposals; null: 1/alpha, as in the paper. It affects the chain's mixing, not its limit."""
    until_ended: bool = False
    """Stop changing a completion once it has ended, as the reference does: cheaper, but no longer p^alpha."""

    def __post_init__(self) -> None:
        check_positive(
            "power_sampling", alpha=self.alpha, block=self.block, steps=self.steps, temperature=self.temperature
        )

    @property
    def proposal_temperature(self) -> float:
        """Temperature at which tokens are proposed."""
        return self.temperature or 1 / self.alpha


@dataclass(frozen=True)
class PowerSampling(PowerSamplingOptions, Method):
    """Sampling from the base model's distribution raised to a power."""

    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: a move resamples on average the later half of a completion and reads the first half."""
        block = self.block or -(-lengths.limit // 16)
        blocks = -(-lengths.limit // block)
        if self.until_ended:
            blocks = min(blocks, -(-int(lengths.plain) // block))
        moves = blocks * self.steps
        return CostEstimate(Generation(moves, lengths.plain / 2, moves, lengths.prompt + lengths.plain / 2))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.policy import Policy

        search = PowerSamplingSearch(self.alpha, self.block, self.steps, self.temperature, self.until_ended)
        return Policy(base, task_decoding(task, temperature=self.proposal_temperature), search=search)


@dataclass(frozen=True)
class ChainState:
    """A completion x with the terms of its acceptance ratio."""

    tokens: tuple[int, ...] = ()
    logp: tuple[float, ...] = ()
    """log p(x_t | x_<t) of each token, untempered."""
    logq: tuple[float, ...] = ()
    """log q(x_t | x_<t) of each token: the probability with which it is proposed."""
    text: str = ""
    ended: bool = False

    def replace_tail(self, prefix_length: int, completion: Completion) -> ChainState:
        """Keep the first `prefix_length` tokens and append a completion that was sampled after them."""
        return ChainState(
            self.tokens[:prefix_length] + completion.tokens,
            self.logp[:prefix_length] + completion.logprobs,
            self.logq[:prefix_length] + completion.measured,
            completion.text,
            completion.finished,
        )


def log_acceptance_ratio(now: ChainState, proposed: ChainState, prefix_length: int, alpha: float) -> float:
    """log r, the acceptance ratio of a move that keeps the first m = `prefix_length` tokens."""
    target = alpha * (math.fsum(proposed.logp[prefix_length:]) - math.fsum(now.logp[prefix_length:]))
    proposal = math.fsum(now.logq[prefix_length:]) - math.fsum(proposed.logq[prefix_length:])
    position_term = math.log(len(now.tokens)) - math.log(len(proposed.tokens))
    return target + proposal + position_term


@dataclass
class _Chain:
    query: Query
    state: ChainState = field(default_factory=ChainState)
    tokens: int = 0
    firings: int = 0
    moves: int = 0
    accepted: int = 0
    changed: int = 0
    openings: dict[int, float] = field(default_factory=dict)
    """First tokens that were sampled, with their log p at temperature 1."""

    def note_opening(self, prefix_length: int, completion: Completion) -> None:
        """Remember the first token of a completion that was sampled from the start."""
        if prefix_length == 0:
            self.openings[completion.tokens[0]] = completion.logprobs[0]

    def build_request(self, prefix_length: int, limit: int, *identity: object) -> Request:
        """Request the tokens after the first `prefix_length`, up to `limit` in all."""
        from elicit.sampling import Request

        query = self.query
        ids, key = query.ids + self.state.tokens[:prefix_length], query.derive_key("power", *identity)
        return Request(ids, (key,), query.forced + prefix_length, continued=prefix_length, limit=limit - prefix_length)

    def to_result(self) -> SearchResult:
        notes = {}
        if self.moves:
            notes = {
                "acceptance": self.accepted / self.moves,
                "changed": self.changed / self.moves,
                "one_opening": float(len(self.openings) == 1),
                "opening_mass": min(1.0, math.fsum(map(math.exp, self.openings.values()))),
            }
        state, query = self.state, self.query
        return SearchResult(query.opening + state.text, self.tokens, state.ended, self.firings, notes, state.tokens)


@dataclass(frozen=True)
class PowerSamplingSearch(PowerSamplingOptions):
    """One sample of p^alpha per question, from a chain of its own; all chains run in one batch."""

    kind: ClassVar[str] = "power_sampling"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        """Raise ElicitError for a decoding with filters: completions they exclude could never be proposed."""
        from elicit.sampling import generate

        if (decoding.top_k, decoding.top_p, decoding.min_p) != (None, None, None):
            raise ElicitError("power_sampling: top_k, top_p and min_p keep the chain from p^alpha. Leave them out.")
        proposing = decoding.replace(temperature=self.proposal_temperature)
        chains = [_Chain(query) for query in queries]

        def sample_proposals(requests: list[Request]) -> list[Completion]:
            batches = generate(model.engine, requests, proposing, forward, measure="drawn")
            return [completion for (completion,) in batches]

        longest = decoding.max_new_tokens
        size = self.block or math.ceil(longest / 16)
        for block, limit in enumerate([*range(size, longest, size), longest]):
            live = [chain for chain in chains if not (self.until_ended and chain.state.ended)]
            growing = [chain for chain in live if not chain.state.ended]
            requests = [chain.build_request(len(chain.state.tokens), limit, "grow", block) for chain in growing]
            for chain, grown in zip(growing, sample_proposals(requests), strict=True):
                chain.note_opening(len(chain.state.tokens), grown)
                chain.state = chain.state.replace_tail(len(chain.state.tokens), grown)
                chain.tokens += len(grown.tokens)
                chain.firings += grown.firings
            for step in range(self.steps):
                self._move_chains(live, limit, (block, step), sample_proposals)
        return [chain.to_result() for chain in chains]

    def _move_chains(
        self,
        chains: list[_Chain],
        limit: int,
        identity: tuple[int, int],
        sample_proposals: Callable[[list[Request]], list[Completion]],
    ) -> None:
        """Make one Metropolis-Hastings move in every chain."""
        uniforms = seeds.draw_uniforms([chain.query.derive_key("power", "move", *identity) for chain in chains], 2)
        prefix_lengths = [int(u * len(chain.state.tokens)) for chain, u in zip(chains, uniforms[:, 0], strict=True)]
        requests = [
            c.build_request(prefix_length, limit, "propose", *identity)
            for c, prefix_length in zip(chains, prefix_lengths, strict=True)
        ]
        for chain, prefix_length, u, completion in zip(
            chains, prefix_lengths, uniforms[:, 1], sample_proposals(requests), strict=True
        ):
            chain.note_opening(prefix_length, completion)
            proposed = chain.state.replace_tail(prefix_length, completion)
            chain.moves += 1
            chain.tokens += len(completion.tokens)
            chain.firings += completion.firings
            if u < math.exp(min(0.0, log_acceptance_ratio(chain.state, proposed, prefix_length, self.alpha))):
                chain.accepted += 1
                chain.changed += proposed.tokens != chain.state.tokens
                chain.state = proposed
