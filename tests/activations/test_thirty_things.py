"""The page `docs/guides/inside.md`: its own code is run, and every result is compared with another way to get it.

Other ways are the page's TransformerLens code (`theirs`), hooks on the bridge, and definitions in plain torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from docs.builder.paths import ROOT

Names = dict[str, Any]
PAGE = (ROOT / "docs/guides/inside.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
SETUP, *SECTIONS = re.split(r"^### \d+\. ", PAGE, flags=re.MULTILINE)


def _count_lines(code: str) -> int:
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Iterator[Names]:
    """Names of the page after all of its code; `theirs N` is what the TransformerLens code of row N made."""
    namespace: Names = {}
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("inside"))
    try:
        for code in _FENCE.findall(SETUP):
            exec(code, namespace)
        for number, section in enumerate(SECTIONS, 1):
            here, *other = _FENCE.findall(section)
            exec(here, namespace)
            if number == 11:
                namespace["induction pattern"] = namespace["pattern"]
            if number == 4:
                namespace["head pattern"] = namespace["pattern"]
            for code in other:
                exec(code, namespace)
                namespace[f"theirs {number}"] = namespace["theirs"]
        yield namespace
    finally:
        os.chdir(before)


def test_the_table_counts_the_lines_of_the_code_below():
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (\d+) \| (\d*) \|$", PAGE, flags=re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(1, 31))
    assert len(SECTIONS) == 30
    for (_, title, here, there), section in zip(rows, SECTIONS, strict=True):
        fences = _FENCE.findall(section)
        assert section.startswith(title)
        assert [str(_count_lines(code)) for code in fences] == [here, *([there] if there else [])]
        assert int(here) <= 3
        assert all(";" not in line for line in fences[0].splitlines())


def _near(ours: Any, expected: Any, tolerance: float = 1e-3) -> None:
    left, right = (
        (x if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))).detach().float() for x in (ours, expected)
    )
    torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


def _run(names: Names, hooks: list[Any] = [], ids: torch.Tensor | None = None) -> torch.Tensor:  # noqa: B006
    """Logits of the plain prompts (or `ids`) on the bridge, under hooks."""
    with torch.no_grad():
        logits = names["bridge"].run_with_hooks(names["tokens"] if ids is None else ids, fwd_hooks=hooks)
    assert isinstance(logits, torch.Tensor)
    return logits


def _bridge_cache(names: Names, texts: list[str]) -> Any:
    with torch.no_grad():
        return names["bridge"].run_with_cache(torch.tensor([names["model"].encode(text) for text in texts]))[1]


def _difference(names: Names, logits: torch.Tensor) -> torch.Tensor:
    think, number = (names["model"].continuation(text)[0] for text in ("<think>", "#"))
    return logits[..., think] - logits[..., number]


def _generate(names: Names, prompt: str, hooks: Callable[[int], list[Any]], steps: int) -> list[int]:
    """Greedy tokens by whole passes on the bridge; `hooks` of the prompt's last position."""
    model = names["model"]
    ids = list(model.encode(prompt))
    first = len(ids)
    for _ in range(steps):
        logits = _run(names, hooks(first - 1), torch.tensor([ids]))[0, -1].float()
        logits[list(model.banned_ids)] = -1e9
        ids.append(int(logits.argmax()))
    return ids[first:]


def _same_text(names: Names, samples: Any, hooks: Callable[[int], list[Any]]) -> None:
    for prompt, completions in list(zip(names["plain"], samples, strict=False))[:3]:
        tokens = list(completions[0].tokens)
        assert tokens == _generate(names, prompt, hooks, len(tokens))


def _score(names: Names, hooks: list[Any]) -> list[list[float]]:
    scores = []
    for prompt, answer in zip(names["plain"], names["answers"], strict=True):
        pair = names["model"].encode_pair(prompt, answer)
        logits = _run(names, hooks, torch.tensor([[*pair.prompt, *pair.completion]]))[0].float()
        logits[:, list(names["model"].banned_ids)] = -1e9
        rows = logits.log_softmax(-1)[len(pair.prompt) - 1 : -1]
        scores.append(rows.gather(1, torch.tensor(pair.completion)[:, None])[:, 0].tolist())
    return scores


def _flat(rows: Any) -> list[float]:
    return [value for row in rows for value in row]


def test_1_to_5_caches(names: Names):
    for layer in range(3):
        _near(names["cache"]["resid_post", layer], names["theirs 1"]["resid_post", layer])
        _near(names["reloaded"]["resid_post", layer], names["theirs 3"][f"blocks.{layer}.hook_resid_post"])
    for name in ("hook_attn_out", "hook_mlp_out", "attn.hook_z"):
        expected = names["theirs 2"][f"blocks.1.{name}"]
        _near(names["parts"][name.rpartition("hook_")[2], 1].reshape(expected.shape), expected)
    pattern = _bridge_cache(names, names["plain"][:1])["pattern", 1][:, 0]
    _near(names["head pattern"]["pattern", 1, 0], pattern)
    picture = names["head pattern"]._repr_html_()
    assert picture.count("<caption") == 1
    assert f">{float(pattern[0, -1, 0]):.2f}</td>" in picture
    norms = names["norms"].sort_values(["layer", "prompt", "offset"])["norm"].to_numpy()
    _near(norms, names["theirs 5"].flatten())


def test_6_to_9_lenses(names: Names):
    reading, theirs = names["reading"], names["theirs 6"]
    residuals = torch.stack([names["cache"]["resid_post", layer] for layer in range(3)])
    hf = names["model"].hf
    with torch.no_grad():
        logits = hf.lm_head(hf.model.norm(residuals))
    logits[..., list(names["model"].banned_ids)] = -1e9
    lens = logits.log_softmax(-1)
    think = names["model"].continuation("<think>")[0]
    for prompt in range(8):
        top = torch.from_numpy(reading.prompts[prompt].top_ids[..., 0])
        assert (top == theirs[:, prompt]).float().mean() > 0.99  # ties
    followed = names["followed"].sort_values(["layer", "prompt", "position"])
    _near(followed["logprob <think>"].to_numpy(), lens[..., think].flatten())
    kl = (lens[-1].exp() * (lens[-1] - lens)).sum(-1).flatten(1).mean(1)
    _near(names["distance"], kl)
    assert names["tuned"].mean_kl()[0] < reading.mean_kl()[0]


def test_10_to_12_scores(names: Names):
    _near(_flat(names["logprobs"]), _flat(_score(names, [])))
    _near(names["induction"], names["theirs 11"])
    _near(names["alike"], names["theirs 12"])


def test_13_and_14_direct_contributions(names: Names):
    _near(names["by_layer"].totals, _difference(names, _run(names)[:, -1]))
    _near(names["by_head"].totals, names["by_layer"].totals)
    hf, cache = names["model"].hf, _bridge_cache(names, names["plain"])
    scale = cache["resid_post", 2][:, -1].square().mean(-1, keepdim=True).add(1e-6).rsqrt()
    direction = _difference(names, hf.lm_head.weight.T) * hf.model.norm.weight
    for i, component in enumerate(names["by_layer"].components):
        if "_out." in component:
            name, layer = component.split(".")
            expected = (cache[f"blocks.{layer}.hook_{name}"][:, -1] * scale) @ direction
            _near(names["by_layer"].values[i], expected.detach())
    added = (
        cache["blocks.1.attn.hook_z"].reshape(8, -1, 4, 32)[:, -1, 2]
        @ hf.model.layers[1].self_attn.o_proj.weight[:, 64:96].T
    )
    _near(names["by_head"].values[names["by_head"].components.index("z.1.2")], ((added * scale) @ direction).detach())


def _patch_by_bridge(names: Names, value: torch.Tensor, name: str, offset: int, head: int | None = None) -> Any:
    """Logit differences with `value` [prompt, ...] put at an offset of the plain prompts."""

    def put(tensor: torch.Tensor, hook: Any) -> torch.Tensor:
        edited = tensor.clone()
        view = edited.view(*edited.shape[:2], 4, -1)[:, :, head] if head is not None else edited
        view[:, view.shape[1] - 1 + offset] = value
        return edited

    return _difference(names, _run(names, [(name, put)])[:, -1])


def test_15_to_19_and_30_patches(names: Names):
    donors = _bridge_cache(names, names["cued"])
    sweep = names["sweep"]
    for layer in range(3):
        for o, offset in enumerate(sweep.offsets):
            value = donors["resid_post", layer][:, -1 + offset]
            _near(sweep.patched[0, layer, o, :, 0], _patch_by_bridge(names, value, f"blocks.{layer}.hook_out", offset))
    z = donors["blocks.1.attn.hook_z"].reshape(8, -1, 4, 32)[:, -1, 0]
    _near(names["heads"].patched[0, 0, 0, :, 0], _patch_by_bridge(names, z, "blocks.1.attn.o.hook_in", 0, 0))
    moved = names["cache"]["resid_post", 1][:, -1] + 3 * (
        names["vector"][1] / names["vector"][1].norm() * names["policy"].steering[0].unit
    )
    expected = _patch_by_bridge(names, moved, "blocks.1.hook_out", 0)
    _near(names["from_policy"].patched[0, 0, 0, :, 0], expected)
    value = donors["resid_post", 1][:, -1]
    verdicts = []
    for i, problem in enumerate(names["problems"]):

        def put(tensor: torch.Tensor, hook: Any, i: int = i) -> torch.Tensor:
            edited = tensor.clone()
            edited[:, len(names["tokens"][i]) - 1] = value[i]
            return edited

        ids = _generate(names, names["plain"][i], lambda last, put=put: [("blocks.1.hook_out", put)], 24)
        ends = [k for k, token in enumerate(ids) if token == names["model"].tokenizer.eos_token_id]
        text = names["model"].tokenizer.decode(ids[: ends[0]] if ends else ids)
        verdicts.append(names["task"].verify(problem, text))
    ours = names["answered"].patched[0, 0, 0]
    assert ours[:, 0].tolist() == [float(v.correct) for v in verdicts]
    assert ours[:, 1].tolist() == [float(v.has_trace) for v in verdicts]
    means = sweep.get_effects().mean(-1).ravel(), names["scores"].effects.mean(-1).ravel()
    assert names["agreement"] == pytest.approx(np.corrcoef(*means)[0, 1])


def test_19_a_path(names: Names):
    """mlp_out.0 to head 1.0 directly: attention of layer 1 alone reads it, so the sender's change enters its input."""
    source, own = (_bridge_cache(names, texts) for texts in (names["others"], names["plain"]))
    change = source["blocks.0.hook_mlp_out"] - own["blocks.0.hook_mlp_out"]
    kept: list[torch.Tensor] = []
    hooks = [
        ("blocks.1.hook_in", lambda h, hook: h + change),
        ("blocks.1.attn.o.hook_in", lambda z, hook: kept.append(z.clone())),
    ]
    _run(names, hooks)
    changed = kept[0].reshape(8, -1, 4, 32)[:, :, 0]

    def put(z: torch.Tensor, hook: Any) -> torch.Tensor:
        edited = z.clone()
        edited.view(*z.shape[:2], 4, -1)[:, :, 0] = changed.view(8, -1, 32)
        return edited

    expected = _difference(names, _run(names, [("blocks.1.attn.o.hook_in", put)])[:, -1])
    _near(names["paths"].patched[0, 0, 0, :, 0], expected)


def test_20_to_23_replacements(names: Names):
    def zero(z: torch.Tensor, hook: Any) -> torch.Tensor:
        edited = z.clone()
        edited.view(*z.shape[:2], 4, -1)[:, :, 0] = 0
        return edited

    _same_text(names, names["ablated"], lambda last: [("blocks.1.attn.o.hook_in", zero)])
    _near(_flat(names["mean_ablated"]), _flat(names["theirs 21"]))
    halves = [(f"blocks.{layer}.attn.hook_out", lambda out, hook: 0.5 * out) for layer in range(3)]
    _near(_flat(names["halved"]), _flat(_score(names, halves)))
    donor = _bridge_cache(names, names["cued"][:1])["resid_post", 1][0, -1]

    def put(h: torch.Tensor, hook: Any) -> torch.Tensor:
        edited = h.clone()
        edited[:, len(names["tokens"][0]) - 1] = donor
        return edited

    _same_text(names, names["patched"], lambda last: [("blocks.1.hook_out", put)])


def test_24_to_26_steering(names: Names):
    vector = names["vector"][1] / names["vector"][1].norm()
    size = 1.5 * names["model"].residual_norms.medians[1]

    def hooks(last: int) -> list[Any]:
        def add(h: torch.Tensor, hook: Any) -> torch.Tensor:
            edited = h.clone()
            edited[:, last] += size * vector
            return edited

        return [("blocks.1.hook_out", add)]

    _same_text(names, names["steered"], hooks)
    _near(names["logits"].detach(), names["theirs 25"].detach(), 2e-3)
    _near(names["without"]["resid_post", 2], names["theirs 26"]["blocks.2.hook_out"].detach())


def test_27_and_28_features(names: Names):
    _near(names["activations"], names["theirs 27"].detach())
    ends = [_bridge_cache(names, names[which])["resid_post", 1][:, -1] for which in ("cued", "plain")]
    contrast = names["sae"].encode(ends[0]).mean(0) - names["sae"].encode(ends[1]).mean(0)
    ours = names["table"]["contrast"]
    _near(ours.to_numpy(), contrast[list(ours.index)].detach())
    assert int(names["table"].index[0]) == int(contrast.argmax())


def test_29_shifts_of_a_policy(names: Names):
    edit = names["policy"].steering[0]
    vector = names["vector"][1] / names["vector"][1].norm()

    def add(h: torch.Tensor, hook: Any) -> torch.Tensor:
        edited = h.clone()
        edited[:, -1] += 3.0 * edit.unit * vector
        return edited

    banned = list(names["model"].banned_ids)
    both = [_run(names, hooks)[:, -1].float().clone() for hooks in ([], [("blocks.1.hook_out", add)])]
    for logits in both:
        logits[:, banned] = -1e9
    base, arm = (logits.log_softmax(-1) for logits in both)
    kl = (base.exp() * (base - arm)).sum(-1)
    shifts = names["shifts"]
    _near(shifts.shifts["steered"].kl[:, shifts.offsets.index(0)], kl)
    _near(shifts.get_direction("steered", 1), 3.0 * edit.unit * vector)
