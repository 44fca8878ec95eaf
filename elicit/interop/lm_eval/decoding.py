"""From lm-eval's generation arguments to a `Decoding`: a request decides what it names, the policy all the rest.

    until             the request's stop strings, where it has any; else the policy's own
    max_gen_toks      the request's (or max_new_tokens, max_tokens, max_completion_tokens); else the policy's own
    do_sample: false  greedy, and so is temperature: 0
    do_sample: true   sampling at the request's temperature; where it names none at the policy's own, else at 1
    top_k, top_p, min_p   the request's, where something is sampled

A policy that searches (self-consistency, best of n, ...) *is* a way of sampling. It keeps its own temperature and
filters whatever a request says of sampling, and so does every policy under `sampling="policy"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.sampling import Decoding

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "min_p")
#: Arguments of transformers' generate that may be said as long as they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "repetition_penalty": (1, 1.0),
    "length_penalty": (1, 1.0),
    "no_repeat_ngram_size": (0,),
    "use_cache": (True,),
    "early_stopping": (False,),
}


def resolve_decoding(policy_decoding: Decoding, arguments: Mapping[str, Any], *, keep_sampling: bool) -> Decoding:
    """The decoding of one request.

    Args:
        own: the policy's.
        asked: the request's generation arguments.
        keep_sampling: whether the policy's temperature and filters stand whatever is asked.

    Raises:
        ElicitError: an argument that the lab does not have, or one that means nothing.
    """
    known = ("until", *LENGTHS, *SAMPLING)
    for name, value in arguments.items():
        if name in _NEUTRAL and value in _NEUTRAL[name]:
            continue
        if name not in known:
            raise unknown_name_error("generation argument", name, known, where="lm-eval")
    changes: dict[str, Any] = {}
    if stops := _parse_stops(arguments.get("until")):
        changes["stop"] = stops
    length = next((arguments[name] for name in LENGTHS if arguments.get(name) is not None), None)
    if length is not None:
        changes["max_new_tokens"] = int(_parse_argument_number("max_gen_toks", length))
    if not keep_sampling:
        changes |= _resolve_sampling(policy_decoding, arguments)
    return policy_decoding.replace(**changes)


def overrides_sampling(policy_decoding: Decoding, arguments: Mapping[str, Any]) -> bool:
    """True if a request overrides the policy's own way of sampling."""
    return _resolve_sampling(policy_decoding, arguments) != {} and resolve_decoding(
        policy_decoding, arguments, keep_sampling=False
    ) != resolve_decoding(policy_decoding, arguments, keep_sampling=True)


def _resolve_sampling(policy_decoding: Decoding, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of temperature and filters."""
    sample, temperature = arguments.get("do_sample"), arguments.get("temperature")
    heat = None if temperature is None else _parse_argument_number("temperature", temperature)
    if sample is False or (sample is None and heat == 0):
        return {"temperature": 0.0, "top_k": None, "top_p": None, "min_p": None}
    if sample is None and heat is None and policy_decoding.temperature == 0:
        return {}  # greedy, where filters do nothing
    if sample and heat == 0:
        raise ElicitError("lm-eval: do_sample is true but temperature is 0. Type temperature=1.0, or do_sample=false.")
    filters = {"top_k": policy_decoding.top_k, "top_p": policy_decoding.top_p, "min_p": policy_decoding.min_p}
    for name in filters:
        if arguments.get(name) is not None:
            value = _parse_argument_number(name, arguments[name])
            filters[name] = None if value == 0 else int(value) if name == "top_k" else value
    return {"temperature": heat or policy_decoding.temperature or 1.0, **filters}


def _parse_stops(until: Any) -> tuple[str, ...]:
    stops = [until] if isinstance(until, str) else list(until or ())
    if not all(isinstance(stop, str) for stop in stops):
        raise ElicitError(f"lm-eval: until is {one_line(repr(until), 60)}; expected text or a list of texts.")
    return tuple(stop for stop in stops if stop)


def _parse_argument_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ElicitError(f"lm-eval: {name} is {one_line(repr(value), 40)}; expected a number.") from None
