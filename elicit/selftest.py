"""Self-test of a model: check the properties on which the lab relies, on a few tokens.

    checks = self_test(model.engine)         # a tuple of Check(name, passed, detail)
    require(checks, model.name)              # raises ElicitError with the first that failed

1. finite: logits are finite.
2. hidden states: a hook on layer L sees transformers' own `hidden_states[L + 1]`.
3. norm: the last residual passed through the modules after the layers is the decoder's output.
4. head: logits computed from the decoder's output (as in scoring) are the model's logits.
5. causal: a token's residual depends neither on later tokens, right padding included, nor on the batch.
6. cache: the sampler's log-probability of a token equals that of a pass over the whole text.
7. left padding: the same for a row that is padded because another prompt in its batch is longer.
8. generate: transformers' own `generate` gives the same distribution, token by token.
9. steering: adding zero at the middle layer changes nothing, and adding a vector changes the output.

It takes about twelve forward passes over at most nine tokens. Properties that a few tokens cannot show (windows of a
thousand tokens, the end of the context) are checked by the test suite on small models of each architecture. Float32 is
compared closely; in half precision two computations of the same value differ, so only large differences are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from elicit.errors import ElicitError, one_line
from elicit.loading import architectures, rows
from elicit.loading.catalog import WEIGHTS
from elicit.loading.load import LoadedModel
from elicit.loading.logits import compute_model_logits
from elicit.sampling import Decoding, Engine, Request, Scored, generate, logprobs
from elicit.sampling.score import PackedBatch, hidden_states
from elicit.steering import Edit, PositionTracker, steer
from elicit.steering.positions import parse

_LONG, _SHORT, _NEW = 6, 3, 3


@dataclasses.dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    passed: bool
    detail: str
    """The comparison with its value; for a failure, the fault."""


class _CheckFailed(Exception):
    """A check failed; its text is the detail."""


def require_passed(checks: Sequence[Check], name: str) -> None:
    """Raise ElicitError with the first failed check. `name` is the model's name for the message."""
    failed = next((check for check in checks if not check.passed), None)
    if failed is not None:
        raise ElicitError(
            f"{one_line(name)} did not pass the self-test, so nothing is run on it. Failed: {failed.name} "
            f"({one_line(failed.detail, 250)})."
        )


#: Checks passed in this process, by weights, config, dtype and device.
_PROVED: dict[tuple[str, ...], tuple[Check, ...]] = {}


def self_test_once(engine: Engine, loaded: LoadedModel) -> tuple[Check, ...]:
    """Run the self-test of a loaded model, once per process for the same weights, config, dtype and device.

    Built-in models are skipped (the result is empty): the test suite covers them.

    Raises:
        ElicitError: names the check that failed.
    """
    path = loaded.source.path
    if path is not None and path.parent == WEIGHTS:
        return ()
    hf = loaded.hf
    identity = (loaded.weights_sha256, hf.config.to_json_string(), str(hf.dtype), str(hf.device))
    checks = _PROVED.get(identity) or self_test(engine)
    require_passed(checks, loaded.name)
    _PROVED[identity] = checks
    return checks


def self_test(engine: Engine) -> tuple[Check, ...]:
    """Run the checks in order, up to the first failure. The model and its position tracker are left unchanged."""
    checks: list[Check] = []
    run = _SelfTest(dataclasses.replace(engine, clock=PositionTracker(), end_ids=frozenset()))
    with torch.inference_mode():
        for name, details in run.iterate_checks():
            try:
                for detail in details:
                    last = detail
                checks.append(Check(name, True, last))
            except _CheckFailed as failure:
                checks.append(Check(name, False, str(failure)))
                break
            except torch.OutOfMemoryError:  # not a fault of the model
                raise
            except Exception as error:  # a model's own code may fail in any way
                checks.append(Check(name, False, f"{type(error).__name__}: {one_line(error, 200)}"))
                break
    return tuple(checks)


class _SelfTest:
    """Forward passes of one self-test and their comparisons."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.layers = list(architectures.get_decoder_layers(engine.hf))
        self.tolerance = 1e-3 if engine.hf.dtype in (torch.float32, torch.float64) else 0.25
        self.ids = _ordinary_tokens(engine, _LONG)
        self.residuals: list[torch.Tensor] = []

    def iterate_checks(self) -> Iterator[tuple[str, Iterator[str]]]:
        yield "finite", self.check_finite_logits()
        yield "hidden states", self.check_hidden_states()
        yield "norm", self.check_final_norm()
        yield "head", self.check_head()
        yield "causal", self.check_causality()
        yield "cache", self.check_cache(0)
        yield "left padding", self.check_cache(1)
        yield "generate", self.check_generate()
        yield "steering", self.check_steering()

    def check_finite_logits(self) -> Iterator[str]:
        ids = torch.tensor([self.ids], device=self.engine.hf.device)
        with (
            _record_outputs(self.layers) as residuals,
            _record_outputs([architectures.get_decoder(self.engine.hf)]) as decoded,
        ):
            self.out = self.engine.hf(input_ids=ids, output_hidden_states=True, use_cache=False)
        if len(residuals) != len(self.layers) or not decoded:
            raise _CheckFailed(f"{len(residuals)} of {len(self.layers)} layers were called by a forward pass")
        self.residuals = [residuals[i] for i in range(len(self.layers))]
        self.final = decoded[0]
        if not bool(torch.isfinite(self.out.logits).all()):
            raise _CheckFailed(f"logits are not finite numbers in {str(self.engine.hf.dtype).removeprefix('torch.')}")
        yield f"{self.out.logits.numel()} logits"

    def check_hidden_states(self) -> Iterator[str]:
        states = self.out.hidden_states
        if states is None or len(states) != len(self.layers) + 1:
            raise _CheckFailed(f"{0 if states is None else len(states)} hidden states of {len(self.layers)} layers")
        for i, (actual, expected) in enumerate(zip(self.residuals[:-1], states[1:-1], strict=True)):
            yield self.require_equal(actual, expected, f"after layer {i}")
        if (
            _relative_distance(self.residuals[-1], states[-1]) > 0
        ):  # in most models the last hidden state is after the norm
            yield self.require_equal(self.final, states[-1], "after the norm")
        yield f"{len(self.layers)} layers"

    def check_final_norm(self) -> Iterator[str]:
        last = architectures.get_final_norm(self.engine.hf)(self.residuals[-1])
        yield self.require_equal(last, self.final, "the decoder's output")

    def check_head(self) -> Iterator[str]:
        yield self.require_equal(compute_model_logits(self.engine.hf, self.final[0]), self.out.logits[0], "logits")

    def check_causality(self) -> Iterator[str]:
        """Compare the long row alone with a batch of it and its own prefix, padded on the right."""
        ids = torch.tensor([self.ids, [*self.ids[:_SHORT], *[self.engine.pad_id] * (len(self.ids) - _SHORT)]])
        real = torch.tensor([[True] * len(self.ids), [i < _SHORT for i in range(len(self.ids))]])
        packed = PackedBatch([0, 1], ids, real, torch.tensor([1, 1]))
        both = hidden_states(self.engine, packed)
        yield self.require_equal(both[1, :_SHORT], self.final[0, :_SHORT], "a prompt and its continuation")
        yield self.require_equal(both[0], self.final[0], "a row alone and in a batch")

    def check_cache(self, row: int) -> Iterator[str]:
        if row == 0:
            requests = [Request(tuple(self.ids), (0,)), Request(tuple(self.ids[:_SHORT]), (0,))]
            self.drawn = [samples[0] for samples in generate(self.engine, requests, Decoding(max_new_tokens=_NEW))]
        prompt, completion = tuple(self.ids[: (_LONG, _SHORT)[row]]), self.drawn[row]
        again = logprobs(self.engine, [Scored(prompt, completion.tokens)])[0]
        yield self.require_near(completion.logprobs, again, "log p of drawn tokens, with a cache and without")

    def check_generate(self) -> Iterator[str]:
        hf = architectures.unwrap_model(self.engine.hf)
        ids = torch.tensor([self.ids], device=hf.device)
        out = hf.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=_NEW,
            do_sample=False,
            num_beams=1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        expected, actual = [], []
        for position, logits in enumerate(out.logits):
            token = self.drawn[0].tokens[position]
            expected.append(float(_exclude_banned_logits(self.engine, logits[0]).log_softmax(-1)[token]))
            actual.append(self.drawn[0].logprobs[position])
            if int(out.sequences[0, len(self.ids) + position]) != token:
                break  # a tie, an end or the pad token: the texts differ from here on
        yield self.require_near(actual, expected, "log p of drawn tokens, by the sampler and in generate")

    def check_steering(self) -> Iterator[str]:
        layer, plain = len(self.layers) // 2, self.final
        for size, same in ((0.0, True), (1.0, False)):
            direction = size * self.residuals[layer][0, -1].clone()
            edit = Edit(layer, parse("all"), direction.to, "self-test")
            ids = torch.tensor([self.ids])
            real = torch.ones_like(ids, dtype=torch.bool)
            with steer(architectures.get_decoder(self.engine.hf), self.layers, self.engine.clock, [edit]):
                states = hidden_states(self.engine, PackedBatch([0], ids, real, torch.tensor([1])))
            if same:
                yield self.require_equal(states, plain, "adding 0")
            elif _relative_distance(states, plain) == 0:
                raise _CheckFailed(f"adding a vector after layer {layer} does not change the output")
        yield f"layer {layer}"

    def require_equal(self, actual: torch.Tensor, expected: torch.Tensor, what: str) -> str:
        distance = _relative_distance(actual, expected)
        if not distance <= self.tolerance:
            raise _CheckFailed(f"{what}: {distance:.2g} apart, relative to their size; at most {self.tolerance:g}")
        return f"{what}: {distance:.1g} apart"

    def require_near(self, actual: Sequence[float], expected: Sequence[float], what: str) -> str:
        distance = max(abs(a - b) for a, b in zip(actual, expected, strict=True))
        limit = 4 * self.tolerance
        if not distance <= limit:
            raise _CheckFailed(f"{what}: {distance:.2g} nats apart; at most {limit:g}")
        return f"{what}: {distance:.1g} nats apart"


def _relative_distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square difference over the root mean square of the second; infinite if shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    a, b = actual.float(), expected.to(actual.device).float()
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def _exclude_banned_logits(engine: Engine, logits: torch.Tensor) -> torch.Tensor:
    return logits.float().index_fill(0, rows.make_id_tensor(engine.banned_ids, logits.device), -torch.inf)


def _ordinary_tokens(engine: Engine, count: int) -> list[int]:
    """Distinct ordinary tokens spread over the vocabulary."""
    special = {*engine.tokenizer.all_special_ids, *engine.banned_ids, *engine.end_ids, engine.pad_id}
    usable = [
        i for i in sorted(rows.token_ids(engine.tokenizer)) if i < rows.count_rows(engine.hf) and i not in special
    ]
    return [usable[(k * len(usable)) // count] for k in range(count)]


@contextmanager
def _record_outputs(modules: Sequence[nn.Module]) -> Iterator[dict[int, torch.Tensor]]:
    """Record each module's output by its index: the tensor, or the first of several."""
    seen: dict[int, torch.Tensor] = {}

    def make_hook(number: int) -> Any:
        def record_output(_module: nn.Module, _args: Any, output: Any) -> None:
            seen[number] = output if isinstance(output, torch.Tensor) else output[0]

        return record_output

    handles = [module.register_forward_hook(make_hook(i)) for i, module in enumerate(modules)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
