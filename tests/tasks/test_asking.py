"""How questions are put to real models: what is rendered is what transformers renders for the whole conversation."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from elicit.errors import ElicitError
from elicit.policy import Prompting
from elicit.tasks import English, get
from tests.support.tiny import char_tokenizer

CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + '</s>' }}"
    "{% endif %}{% endfor %}"
)
WORDS = {"direct": "{question} Be brief.", "think": "{question} Think."}


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    found = char_tokenizer()
    found.chat_template = template
    found.bos_token = "<s>"
    return found


def chat(template: str):
    speaker = tokenizer(template)
    return lambda messages: speaker.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize("template", [CHATML, LLAMA], ids=["chatml", "llama"])
@pytest.mark.parametrize("shots", [0, 1, 3])
@pytest.mark.parametrize("system", [None, "Answer well."])
def test_prompts_are_what_transformers_renders(template: str, shots: int, system: str | None) -> None:
    if template == LLAMA and system is not None:
        pytest.skip("this template has no system turn")
    render = chat(template)
    task = get("sums", dialect=English(), prompts={**WORDS, "shots": shots, "system": system}).bind(render, "m")
    bare = get("sums", dialect=English(), prompts={**WORDS, "chat": False}).inner
    head = [] if system is None else [{"role": "system", "content": system}]
    turns = [
        turn
        for problem in bare.problems("train", shots, seed=0)
        for turn in (user(problem.prompt + " Be brief."), said(problem.answer))
    ]
    for problem, plain in zip(task.problems("test", 5), bare.problems("test", 5), strict=True):
        assert problem.id == plain.id
        assert problem.prompt == render([*head, *turns, user(plain.prompt + " Be brief.")])
        assert problem.cue_prompt == render([*head, user(plain.prompt + " Think.")])
        assert dict(problem.other_prompts)["bare"] == render([*head, user(plain.prompt)])


@pytest.mark.parametrize("template", [CHATML, LLAMA], ids=["chatml", "llama"])
def test_examples_in_front_are_turns_of_the_chat(template: str) -> None:
    render = chat(template)
    task = get("sums", dialect=English(), prompts=WORDS).bind(render, "m")
    one, two, asked = task.problems("train", 3)
    pairs = [(one, task.worked(one)), (two, task.worked(two))]
    before, replaces = task.examples(pairs)
    words = [task.inner.problems("train", 3)[i].prompt + " Be brief." for i in range(3)]
    whole = render([user(words[0]), said(pairs[0][1]), user(words[1]), said(pairs[1][1]), user(words[2])])
    assert Prompting(before=before, replaces=replaces).render(asked) == (whole, "")


def test_without_a_template_examples_are_blocks_of_text() -> None:
    task = get("sums", dialect=English(), prompts={**WORDS, "shots": 1}).bind(None, "m")
    problem = task.problems("test", 1)[0]
    shown = task.inner.problems("train", 1, seed=0)[0]
    question = task.inner.problems("test", 1)[0].prompt
    first = f"Question: {shown.prompt} Be brief.\nAnswer: {shown.answer}\n\n"
    assert problem.prompt == f"{first}Question: {question} Be brief.\nAnswer:"
    assert task.stop == ("\nQuestion:",)
    assert task.direct(problem) == f" {problem.answer}"
    assert problem.opening is not None
    assert task.worked(problem).startswith(problem.opening)


@pytest.mark.parametrize("template", [None, chat(CHATML)], ids=["plain", "chat"])
def test_a_right_candidate_is_the_worked_solution_as_it_continues_the_prompt(template) -> None:
    task = get("sums", dialect=English(), prompts=WORDS).bind(template, "m")
    problem = task.problems("train", 1)[0]
    candidates = [task.noisy(problem, seed) for seed in range(12)]
    assert {candidate.text for candidate in candidates if candidate.correct} == {task.worked(problem)}
    spaced = {candidate.text.startswith(" ") for candidate in candidates}
    assert spaced == {template is None}


def test_judging_is_the_inner_tasks() -> None:
    task = get("products", dialect=English(), prompts=WORDS).bind(chat(CHATML), "m")
    problem = task.problems("test", 1)[0]
    assert task.verify(problem, task.worked(problem)).correct
    assert task.verify(problem, f"It is {int(problem.answer) + 1}.").correct is False
    span = task.answer_span(problem, f"The answer is {problem.answer}, I think.")
    assert span == (14, 14 + len(problem.answer))
    candidates = [(problem, task.noisy(problem)) for problem in task.problems("test", 20)]
    judged = [(problem, noisy) for problem, noisy in candidates if noisy is not None and noisy.error != "skip"]
    assert {noisy.correct for _, noisy in judged} == {True, False}
    for problem, noisy in judged:  # a candidate that leaves a step out ends in the right answer
        assert task.verify(problem, noisy.text).correct == noisy.correct


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"chatt": True}, "unknown field of prompts 'chatt'. Did you mean 'chat'?"),
        ({"direct": "no field"}, "prompts: direct is 'no field'; expected text with {question} in it."),
        ({"shown": "all"}, "unknown prompts: shown 'all'. Known: direct, worked"),
        ({"shots": -1}, "prompts: shots is -1; expected a whole number from 0."),
        ({"chat": "yes"}, "prompts: chat is 'yes'; expected true, false or auto."),
        ({"others": {"cue": "{question}"}}, "expected a name other than plain, cue, forced"),
        ({"between": "", "question": " "}, "prompts: question and between are both empty"),
    ],
)
def test_bad_prompts(prompts: dict, message: str) -> None:
    with pytest.raises(ElicitError) as caught:
        get("sums", prompts=prompts)
    assert message in str(caught.value)


def test_a_chat_needs_a_template() -> None:
    task = get("sums", prompts={"chat": True})
    with pytest.raises(ElicitError, match=r"Type: task = model.bind\(task\)"):
        task.problems("test", 1)
    with pytest.raises(ElicitError, match=r"of gpt2 has none\. Type: prompts: \{chat: false\}"):
        task.bind(None, "gpt2")
