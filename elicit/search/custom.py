"""Searches as decoding loops of transformers' `generate`.

    loop = elicit.search.custom_generate(CotDecodingSearch(k=10), tokenizer, answer=last_number, stop=("\\n",))
    model.generate(**tokenizer(prompts, padding=True, return_tensors="pt"), custom_generate=loop, max_new_tokens=64)

`answer` returns the position of a completion's answer as (start, end) characters, or None; searches that compare
answers need it. Random numbers depend on (seed, prompt, sample): equal prompts get equal completions at any batch size.

`generate` removes `streamer` and `tokenizer` from its arguments before it calls a loop, so stop strings are given here,
and streaming is not possible. Any other option that a search cannot honour is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch

from elicit.errors import ElicitError
from elicit.loading import rows
from elicit.loading.continuing import encode_continuation
from elicit.sampling import PLAIN, Decoding, Engine, Forward
from elicit.search.core import Query, Search, sample_completions, to_result
from elicit.steering import PositionTracker
from elicit.tasks import Problem, Task
from elicit.tasks.core import Verdict

Span = tuple[int, int]
#: Arguments that `generate` passes to every loop and that are computed anew here.
_PREPARED = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep", "cache_position"}
_WARPERS = {"TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"}
_UNDERSTOOD = {*_WARPERS, "SuppressTokensLogitsProcessor", "MaxLengthCriteria", "EosTokenCriteria"}
_UNSUPPORTED_OUTPUTS = (
    "return_dict_in_generate",
    "output_scores",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
)


@dataclass(frozen=True)
class _ModelView:
    """The part of a model's interface that searches use."""

    engine: Engine
    tokenizer: Any

    def continuation(self, text: str) -> tuple[int, ...]:
        return encode_continuation(self.tokenizer, text)


@dataclass(frozen=True)
class _AnswerTask:
    """The part of a task's interface that searches use, from a function that finds the answer in a text."""

    answer: Callable[[str], Span | None] | None

    def answer_span(self, problem: Problem, completion: str) -> Span | None:
        if self.answer is None:
            raise ElicitError("custom_generate: this search compares answers. Say how to find them with answer=...")
        return self.answer(completion)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        span = self.answer_span(problem, completion)
        return Verdict(None if span is None else completion[slice(*span)], False, False, None)


def custom_generate(
    search: Search | None,
    tokenizer: Any,
    *,
    answer: Callable[[str], Span | None] | None = None,
    stop: Iterable[str] = (),
    seed: int = 0,
    clock: PositionTracker | None = None,
    forward: Forward = PLAIN,
) -> Callable[..., torch.Tensor]:
    """Make a function for `model.generate(..., custom_generate=...)` of a transformers causal LM.

    Args:
        search: the search; None is the lab's sampler with the decoding options of `generate`.
        answer: finds the answer in a completion, as (start, end) characters; None where there is none.
        stop: strings that end a completion.
        seed: seed of the random numbers.
        clock: the model's position tracker (`BaseModel.clock`), if it is steered.
        forward: result of an open readout (`with readout.open_forward(base) as forward`); the model is then `base.hf`.

    Raises:
        ElicitError: the search uses a task's verifier. Later, by `generate`: an option cannot be honoured.
    """
    if search is not None and search.verifier:
        raise ElicitError(f"custom_generate: {search.kind} needs a task's verifier, and generate has none.")
    stops, task = tuple(stop), cast(Task, _AnswerTask(answer))
    ticking = clock or PositionTracker(tokenizer)

    def run_search(
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        _check_generate_options(generation_config, [*(logits_processor or ()), *(stopping_criteria or ())], kwargs)
        view = cast(Any, _ModelView(_build_engine(model, tokenizer, generation_config, ticking), tokenizer))
        decoding = _build_decoding(generation_config, input_ids.shape[1], stops)
        queries = [_build_query(row, seed) for row in _strip_padding(input_ids, kwargs.get("attention_mask"))]
        if search is not None:
            results = search.run(view, queries, decoding, task, forward)
        else:
            batches = sample_completions(view, queries, decoding, forward, 1)
            results = [to_result(query, completions, 0) for query, completions in zip(queries, batches, strict=True)]
        return _append_answers(input_ids, [result.ids for result in results], view.engine.pad_id)

    return run_search


def _check_generate_options(config: Any, chain: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise ElicitError for options of `generate` that are not supported."""
    for processor in chain:
        if type(processor).__name__ not in _UNDERSTOOD:
            raise _make_unsupported_error(
                type(processor).__name__, "give stop strings to custom_generate, and leave others out"
            )
    for name in ("num_beams", "num_return_sequences"):
        if (getattr(config, name) or 1) != 1:
            raise _make_unsupported_error(f"{name}={getattr(config, name)}", "a search gives one answer per prompt")
    for name in _UNSUPPORTED_OUTPUTS:
        if getattr(config, name):
            raise _make_unsupported_error(f"{name}=True", "a search gives token ids and nothing else")
    cache = kwargs.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        raise _make_unsupported_error("past_key_values that are not empty", "pass the whole prompt")
    for name, value in kwargs.items():
        if name not in _PREPARED and value is not None and value is not False:
            raise _make_unsupported_error(name, "leave it out")


def _make_unsupported_error(what: str, remedy: str) -> ElicitError:
    return ElicitError(f"custom_generate: {what} is not supported by the lab's searches; {remedy}.")


def _build_engine(model: Any, tokenizer: Any, config: Any, clock: PositionTracker) -> Engine:
    ends = config.eos_token_id
    end_ids = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
    pad = config.pad_token_id if config.pad_token_id is not None else tokenizer.pad_token_id
    if pad is None:
        raise ElicitError("custom_generate: the pad token is missing. Pass pad_token_id=... to generate.")
    # A pad token inside the text would look like its end; rows without a token are not text.
    banned = {*(config.suppress_tokens or ()), *({pad} - end_ids), *rows.find_unassigned_ids(tokenizer, model)}
    return Engine(model, tokenizer, clock, end_ids, pad, tuple(sorted(banned)))


def _build_decoding(config: Any, width: int, stop: tuple[str, ...]) -> Decoding:
    """Build the decoding for a generation config."""
    longest = config.max_length - width
    if not config.do_sample:
        return Decoding(max_new_tokens=longest, stop=stop)
    temperature = 1.0 if config.temperature is None else config.temperature
    top_p = None if config.top_p is None or config.top_p >= 1 else config.top_p
    return Decoding(temperature, config.top_k or None, top_p, config.min_p, longest, stop)


def _strip_padding(ids: torch.Tensor, mask: torch.Tensor | None) -> list[tuple[int, ...]]:
    """Remove the padding of every prompt."""
    real = torch.ones_like(ids) if mask is None else mask
    return [tuple(row[keep.bool()].tolist()) for row, keep in zip(ids, real, strict=True)]


def _build_query(ids: tuple[int, ...], seed: int) -> Query:
    return Query(Problem("", "", ""), ids, 0, "", (seed, "generate", ids))


def _append_answers(prompts: torch.Tensor, answers: list[tuple[int, ...]], pad: int) -> torch.Tensor:
    """Concatenate prompts and answers, padded at the end, as `generate` returns them."""
    new = prompts.new_full((len(answers), max(map(len, answers))), pad)
    for row, answer in enumerate(answers):
        new[row, : len(answer)] = torch.tensor(answer, device=prompts.device)
    return torch.cat([prompts, new], dim=1)
