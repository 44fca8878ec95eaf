"""The position language against a slow reading of the whole text, under every way of running a model."""

from __future__ import annotations

import re

import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.positions import parse_expression
from elicit.sampling import Decoding, Request, Scored, generate, logprobs
from elicit.steering import Steering, build_vocabulary, parse
from tests.steering.test_hooks import direction
from tests.support.models import tiny_model
from tests.zoo.models import model_of

PROMPTS = ["Question: What is 3 + 4?\nAnswer: ", "The answer is 20. Wait", "a = 1.5; b = 2"]
STEPS = 12
FORMS = (
    "at:0,3..5,-2", "at:2..-2", "offset:-3..2,6", "offset:..-2", "ramp:4", "every:3", "token:#TOKEN", 'token:"TEXT"',
    'after:"EDGE"', "step", "sentence", "answer", 'answer:"EDGE"', "token:#TOKEN & generated + at:1",
    "decay:6 & every:2",
)  # fmt: skip
MODELS = {
    "gpt2": lambda: tiny_model("gpt2"),
    "gemma2": lambda: tiny_model("gemma2"),
    "qwen2": lambda: tiny_model("qwen2"),
    "byte-level": lambda: model_of("llama3"),
    "sentencepiece": lambda: model_of("llama2-legacy"),
}


def fill(model, form, prompts=PROMPTS):
    """The form with tokens and strings that the model writes: taken from its own unsteered samples."""
    written = model.sample(prompts[:1], decoding=Decoding(max_new_tokens=STEPS))[0][0].tokens
    vocabulary = build_vocabulary(model.tokenizer)
    plain = [token for token in written if re.fullmatch(r"[ -~]+", vocabulary.text(token))]
    text = next((vocabulary.text(t) for t in plain if vocabulary.encode(vocabulary.text(t)) == (t,)), "a")
    edge = "".join(vocabulary.text(t) for t in plain[:2])[-2:] or "a"
    quoted = [string.replace("\\", "\\\\").replace('"', '\\"') for string in (text, edge)]
    return (
        form.replace("TOKEN", str(written[min(1, len(written) - 1)]))
        .replace("TEXT", quoted[0])
        .replace("EDGE", quoted[1])
    )


def slow_weight(model, form, ids, prompt_length, position):
    """The documented meaning, one position at a time, from the tokens up to it."""
    if " + " in form:
        return max(slow_weight(model, part, ids, prompt_length, position) for part in form.split(" + "))
    if " & " in form:
        product = 1.0
        for part in form.split(" & "):
            product *= slow_weight(model, part, ids, prompt_length, position)
        return product
    offset, (name, _, argument) = position - (prompt_length - 1), form.partition(":")
    if name in ("at", "offset"):
        for part in argument.split(","):
            low, dots, high = part.partition("..")
            bounds = [low or "-99999", (high or "99999") if dots else low]
            edges = []
            for text in bounds:
                value = int(text)
                if name == "offset":
                    edges.append(value + prompt_length - 1)
                else:
                    edges.append(value if value >= 0 else prompt_length + value)
            if edges[0] <= position <= edges[1]:
                return 1.0
        return 0.0
    if name == "generated":
        return float(offset >= 0)
    if name in ("ramp", "every", "decay"):
        count = int(argument)
        inside = {
            "ramp": min(1.0, (offset + 1) / count),
            "every": float(offset % count == 0),
            "decay": 1 - offset / count,
        }
        return max(0.0, inside[name]) if offset >= 0 else 0.0
    if name == "token" and argument.startswith("#"):
        return float(ids[position] == int(argument[1:]))
    vocabulary = build_vocabulary(model.tokenizer)
    string = eval(argument) if argument else ""
    if name == "token":
        own = list(vocabulary.encode(string))
        return float(list(ids[max(0, position + 1 - len(own)) : position + 1]) == own)
    before, token = vocabulary.join(ids[:position]), vocabulary.text(ids[position])
    if name in ("after", "step"):
        needle = string or "\n"
        text = before + token
        return float(any(text[:end].endswith(needle) for end in range(len(before) + 1, len(text) + 1)))
    if name == "sentence":
        stripped = (before + token).rstrip(" \t\n\r\f\v")
        lines = "\n" in (before + token)[len(stripped) :] and "\n" in token
        bare = stripped.rstrip("\"'”’)]*")
        marks = bare[-1:] in tuple("!?。！？") or (bare[-1:] == "." and not bare[-2:-1].isdigit())
        return float(lines or (marks and any(mark in token for mark in ".!?。！？\n")))
    bare = (before + token).rstrip(" \t\n\r\f\v:=$*({")
    if string:
        return float((before + token).rstrip(" \t\n\r\f\v:=$*({").endswith(string) or (before + token).endswith(string))
    return float(
        bool(re.search(r"(?i)####$|\\boxed$|\banswer\s*is$", bare))
        or re.search(r"(?i)answer\s*[:=][\s:=$*({]*$", before + token) is not None
    )


def by_hand(model, edit, prompt):
    """Greedy, one prompt, no cache: the edit written out per position. Returns (tokens, positions touched)."""
    ids = list(model.encode(prompt))
    length, touched = len(ids), 0
    for _ in range(STEPS):
        weights = [slow_weight(model, edit.positions, ids, length, p) for p in range(len(ids))]

        def hook(module, args, output, weights=weights):
            h = (output[0] if isinstance(output, tuple) else output).clone()
            for p, weight in enumerate(weights):
                if weight:
                    h[:, p] = h[:, p] + weight * edit.strength * edit.unit * edit.direction
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handle = model.layers[edit.layer].register_forward_hook(hook)
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1]
        handle.remove()
        touched = sum(weight != 0 for weight in weights)
        logits[list(model.banned_ids)] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] in model.engine.end_ids:
            break
    return tuple(ids[length:]), touched


def through_transformers(model, edit, prompts, **options):
    rows = [list(model.encode(prompt)) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[model.pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    with model.steer(edit, prompt_lengths=[len(row) for row in rows]):
        out = model.hf.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=STEPS, do_sample=False, pad_token_id=model.pad_id,
            suppress_tokens=list(model.banned_ids) or None,
            eos_token_id=sorted(model.engine.end_ids) or None, **options,
        )  # fmt: skip
    cut = []
    for row in out[:, width:].tolist():
        end = next((i + 1 for i, token in enumerate(row) if token in model.engine.end_ids), len(row))
        cut.append(tuple(row[:end]))
    return cut


#: In the quick run every model meets a third of the forms, and every form a model or two.
PAIRS = [
    pytest.param(name, form, marks=() if (i + j) % 3 == 0 else pytest.mark.slow)
    for i, name in enumerate(MODELS)
    for j, form in enumerate(FORMS)
]


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_every_way_of_running_touches_the_same_positions(name, form):
    model = MODELS[name]()
    edit = Steering(direction(model), 1, 2.0, "add", fill(model, form), unit=3.0)
    expected = [by_hand(model, edit, prompt) for prompt in PROMPTS]
    with model.steer(edit) as firings:
        sampled = [one[0] for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
        alone = [model.sample([prompt], decoding=Decoding(max_new_tokens=STEPS))[0][0] for prompt in PROMPTS]
    assert [(c.tokens, c.firings) for c in sampled] == expected
    assert [(c.tokens, c.firings) for c in alone] == expected
    assert firings.total == 2 * sum(count for _, count in expected)
    tokens = [tokens for tokens, _ in expected]
    assert through_transformers(model, edit, PROMPTS, use_cache=True) == tokens
    assert through_transformers(model, edit, PROMPTS, use_cache=False) == tokens


def test_beams_reorder_what_was_read():
    """Beam search reorders the cache between calls; with and without a cache it must find the same texts."""
    for name in ("gpt2", "byte-level"):
        model = MODELS[name]()
        edit = Steering(direction(model), 1, 2.0, "add", fill(model, "token:#TOKEN + every:2"), unit=3.0)
        rows = [list(model.encode(prompt)) for prompt in PROMPTS]
        for row in rows:
            outputs = []
            for use_cache in (True, False):
                with model.steer(edit, prompt_lengths=len(row)):
                    out = model.hf.generate(
                        torch.tensor([row]), num_beams=3, max_new_tokens=STEPS, do_sample=False, use_cache=use_cache,
                        pad_token_id=model.pad_id,
                    )  # fmt: skip
                outputs.append(out.tolist())
            assert outputs[0] == outputs[1]


@pytest.mark.parametrize("name", ["gemma2", "byte-level"])
def test_rows_that_leave_keep_their_texts(name):
    """Sampled rows end at different times; each alone must give the same text, and its log-probabilities."""
    model = MODELS[name]()
    form = fill(model, 'token:#TOKEN + after:"EDGE" & generated + offset:-2..-1 + at:1')
    asked = [Request(model.encode(p), tuple(seeds.derive_key(p, i) for i in range(4)), 0, 0, limit)
             for p, limit in zip(PROMPTS, (5, 16, 9), strict=True)]  # fmt: skip
    decoding = Decoding(temperature=1.5, max_new_tokens=16)
    with model.steer(Steering(direction(model), 1, 2.0, "add", form, unit=3.0)):
        whole = generate(model.engine, asked, decoding)
        alone = [
            [generate(model.engine, [request._replace(keys=(key,))], decoding)[0][0] for key in request.keys]
            for request in asked
        ]
        scored = logprobs(
            model.engine, [Scored(r.ids, c.tokens) for r, one in zip(asked, whole, strict=True) for c in one]
        )
    assert len({len(c.tokens) for one in whole for c in one}) > 2, "rows must end at different times"
    flat = [c for one in whole for c in one]
    assert [(c.tokens, c.firings) for c in flat] == [(c.tokens, c.firings) for one in alone for c in one]
    for completion, again in zip(flat, scored, strict=True):
        torch.testing.assert_close(torch.tensor(completion.logprobs), torch.tensor(again), atol=2e-4, rtol=1e-4)


def test_forced_openings_are_read_as_generated_text():
    model = tiny_model("llama")
    prompt, forced = model.encode("the"), model.continuation("xyz")
    edit = Steering(direction(model), 1, 2.0, "add", f"token:#{forced[1]} & generated", unit=3.0)
    with model.steer(edit):
        forced_row = generate(model.engine, [Request(prompt + forced, (1,), len(forced))], Decoding(max_new_tokens=4))
        prompt_row = generate(model.engine, [Request(prompt + forced, (1,))], Decoding(max_new_tokens=4))
    later = sum(token == forced[1] for token in forced_row[0][0].tokens[:-1])
    assert forced_row[0][0].firings == 1 + later
    assert prompt_row[0][0].firings == sum(token == forced[1] for token in prompt_row[0][0].tokens[:-1])


def test_a_shared_prefix_is_run_with_each_prompt():
    """Prompts that share a long beginning, and an edit placed from each prompt's own end."""
    model = tiny_model("llama")
    prompts = ["the cat sat on a mat " * 10 + end for end in ("a", "bcd efg", "the end of it")]
    with model.steer(Steering(direction(model), 1, 2.0, "add", "offset:-12..-9", unit=3.0)):
        together = [one[0] for one in model.sample(prompts * 2, decoding=Decoding(max_new_tokens=4))]
        alone = [model.sample([prompt], decoding=Decoding(max_new_tokens=4))[0][0] for prompt in prompts]
    assert [(c.tokens, c.firings) for c in together] == [(c.tokens, c.firings) for c in alone * 2]
    assert {c.firings for c in together} == {4}


def test_a_cache_filled_outside_is_refused():
    model = tiny_model("llama")
    ids = torch.tensor([model.encode("the cat")])
    past = model.hf(ids, use_cache=True).past_key_values
    with (
        pytest.raises(ElicitError, match="filled outside"),
        model.steer(Steering(direction(model), 1, 1.0, "add", f"token:#{ids[0, 0]}"), prompt_lengths=2),
    ):
        model.hf(ids[:, :1], past_key_values=past, use_cache=True)


def test_a_manual_loop_over_a_cache_is_followed():
    """The first call makes the cache itself, so that its tokens are noted on what it returns."""
    model = tiny_model("llama")
    row = list(model.encode("the cat"))
    edit = Steering(direction(model), 1, 2.0, "add", f"token:#{row[1]} + every:2", unit=3.0)
    with torch.no_grad(), model.steer(edit, prompt_lengths=len(row)):
        whole = model.hf(torch.tensor([row + row]), use_cache=False).logits[0]
        out, pieces = model.hf(torch.tensor([row]), use_cache=True), []
        pieces.append(out.logits[0])
        for token in row:
            out = model.hf(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
            pieces.append(out.logits[0])
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    ["", "last", "first:0", "every:0", "at:", "at:a", "at:5..2", "offset:3-5", "token:Wait", 'token:""', "token:#",
     'step:"x"', "first +", "& first", "first first", 'after:"a', 3, None],
)  # fmt: skip
def test_what_is_not_a_form_lists_the_forms(text):
    with pytest.raises(ElicitError, match="is not a position form") as error:
        parse(text)
    assert 'after:"="' in str(error.value)
    assert "\n" not in str(error.value)


def test_a_string_that_no_token_spells_is_refused_before_anything_runs():
    model = tiny_model("llama")  # letters: no emoji
    with (
        pytest.raises(ElicitError, match="this tokenizer writes") as error,
        model.steer(Steering(direction(model), 1, 1.0, "add", 'token:"🙂cat"')),
    ):
        raise AssertionError("the context opened")
    assert "\n" not in str(error.value)
    with (
        pytest.raises(ElicitError, match="has ids 0 to"),
        model.steer(Steering(direction(model), 1, 1.0, "add", "token:#999999")),
    ):
        raise AssertionError("the context opened")


def test_old_forms_parse_as_windows_and_agree_with_the_language():
    for form in ("all", "prompt", "generated", "first", "first:3", "decay:4"):
        for length in (1, 3, 7):
            ids = list(range(10))
            assert parse(form).weights(ids, length).tolist() == parse_expression(form).weights(ids, length).tolist()
    assert parse("offset:-1..2").resolve(range(8), 4) == [2, 3, 4, 5]
    assert parse("at:-1").resolve(range(8), 4) == [3]
    with pytest.raises(ElicitError, match="lie elsewhere in each text"):
        parse("at:0").weight_at(0)


def test_a_positions_text_survives_saving(tmp_path):
    from elicit.steering import load_edits, save_edits

    edit = Steering(torch.ones(4), 1, 1.5, "add", 'token:"Wait" & generated + at:-1')
    save_edits([edit], tmp_path)
    assert load_edits(tmp_path)[0].sha256 == edit.sha256


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "qwen2"])
def test_the_bridge_acts_at_the_same_positions(name):
    model = MODELS[name]()
    row = list(model.encode("the cat sat"))
    for form in (f"token:#{row[2]} + every:2", "at:1,-2", "sentence + answer"):
        edit = Steering(direction(model), 1, 2.0, "add", form, unit=3.0)
        with torch.no_grad(), model.steer(edit, prompt_lengths=len(row)):
            bridged = model.bridge(torch.tensor([row + row]))
            native = model.hf(torch.tensor([row + row])).logits
        torch.testing.assert_close(bridged, native, atol=1e-4, rtol=1e-4)


def test_what_another_engine_and_another_tool_are_told():
    """Only windows go to vLLM, by one line; a recorded edit keeps its form whole."""
    from elicit.engines.vllm_edits import write_edit
    from elicit.report.data.recorded_edit import parse_edit

    edit = Steering(torch.ones(4), 1, 1.5, "add", 'first + token:": 5 " & generated')
    with pytest.raises(ElicitError, match="in this process alone") as error:
        write_edit(edit)
    assert "\n" not in str(error.value)
    assert write_edit(Steering(torch.ones(4), 1, 1.5, "add", "first")).layer == 1
    recorded = parse_edit(str(edit))
    assert (recorded.layer, recorded.positions, recorded.strength) == (1, edit.positions, 1.5)
