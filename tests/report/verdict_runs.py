"""Small summaries that together lead to every kind of sentence of a verdict, and the page of what is written of them.

`python -m tests.report.verdict_runs` writes the page anew: `tests/report/verdict_page.txt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elicit.report.verdict import (
    Verdict,
    VerdictText,
    judge_summary,
    list_claims,
    list_detail_claims,
    write_headline,
    write_verdict,
)
from elicit.report.verdict.claim_facts import format_claim_figure
from tests.report.support import EDIT, arm, estimate, summary, versus

PAGE = Path(__file__).with_name("verdict_page.txt")
_TRAIN = {"flops": 1e9, "tokens": 10}
_FEATURE = {"features": [{"sae": "m/L1", "feature": 7, "layer": 1}]}
TIED = {
    "candidates": 20,
    "of": 20,
    "strength": 0.25,
    "strengths": [0.25, 2.0],
    "by": "accuracy",
    "rate": {"value": 0.0, "n": 64, "ci": [0.0, 0.06]},
}
RANK = {
    "better": 2,
    "as_good": 12,
    "share": {"value": 12 / 498, "n": 498, "ci": [0.014, 0.042]},
    "problems": 16,
    "own": {"value": 0.9, "n": 16, "ci": [0.7, 1.0]},
    "best": {"value": 1.0, "n": 16, "ci": [0.8, 1.0]},
}
_CHAIN = {"acceptance": estimate(0.98), "one_opening": estimate(1.0), "opening_mass": estimate(0.974)}
_VECTOR = {"steering": [EDIT.format("first")]}


def trained(method: str, accuracy: float, **changes: Any) -> dict[str, Any]:
    """A trained arm of three seeds."""
    return arm(accuracy, method=method, seeds=3, train=_TRAIN) | changes


def list_summaries() -> dict[str, dict[str, Any]]:
    """Summaries of one model each, by what they are about."""
    return {
        "steering with every effect of a control": _steering(),
        "steering that searched, with controls that did and did not": _searched(),
        "hybrid steering that is one vector": _single_vectors(),
        "an unspecific vector and rewards": _unspecific(),
        "a feature, its replication, sufficiency and necessity": _feature(),
        "cost, expansion, leak and variants": _costs(),
        "comparisons with SFT": _against_sft(),
        "fine-tuning at an arm's own spending": _at_budget(),
        "floors": _floors(),
        "cautions": _cautions(),
        "small gains, a family without any, the verifier": _small_gains(),
        "many families without a gain": _quiet(),
        "a model without the ability": _incapable(),
        "no clear ceiling": summary(base=0.01, ceiling=None, mean_steering=arm(0.01, base=0.01, ceiling=None)),
        "no ceiling": _no_ceiling(),
        "no gain at all": summary(sft=0.05, grpo=trained("grpo", 0.05)),
        "no base": _no_base(),
        "no SFT": summary(sft=None, mean_steering=arm(0.9, sft=None)),
        "nothing but a base": _only(),
        "nothing finished": _only(grpo={"method": "grpo", "status": "pending", "accuracy": None}),
    }


def write_page() -> str:
    """The sentences of every summary."""
    return "\n".join(
        f"=== {name}\n{write_headline(verdict)}\n{_write(write_verdict(verdict))}{_write_claims(verdict)}"
        for name, data in list_summaries().items()
        for verdict in judge_summary(data)
    )


def _write(text: VerdictText) -> str:
    lines = [text.lead]
    for title, paragraphs in (("families", text.families), ("details", text.details)):
        lines += [f"-- {title}"] if paragraphs else []
        for paragraph in paragraphs:
            lines += [f"{paragraph.heading}:", *(f"  {sentence}" for sentence in paragraph.sentences)]
        if title == "families":
            lines += text.closing
    lines += ["-- cautions"] if text.cautions else []
    return "\n".join([*lines, *text.cautions, ""])


def _write_claims(verdict: Verdict) -> str:
    """The rows of both tables of claims."""
    lines = []
    for title, claims in (("claims", list_claims(verdict)), ("other claims", list_detail_claims(verdict))):
        lines += [f"-- {title}"] if claims else []
        for claim in claims:
            figure = " ".join(format_claim_figure(claim))
            lines.append(f"{claim.subject} | {claim.claim} | {figure} | {claim.against} | {claim.reading}")
    return "".join(f"{line}\n" for line in lines)


def _task(data: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = data["models"]["m"]["tasks"]["addition"]
    return task


def _steering() -> dict[str, Any]:
    moved = {"method": "same_vector", "steering": [EDIT.format("all")]}
    turned = {"method": "same_vector", "steering": [EDIT.format("first").replace(": 1", ": -1")]}
    return summary(
        base=0.2,
        mean_steering=arm(0.9, base=0.2, **_VECTOR),
        mean_steering__all=arm(0.3, base=0.2, **moved),
        mean_steering__turned=arm(0.0, base=0.2, **turned),
        mean_steering__random=arm(0.2, base=0.2, method="random_vector", seed_accuracies=[0.1, 0.31, None, 0.2]),
        mean_steering__covariance=arm(0.2, base=0.2, method="covariance_vector"),
        mean_steering__error=arm(0.2, base=0.2, method="error_vector"),
    )


def _searched() -> dict[str, Any]:
    tuning = {"trials": 20, "n": 64}
    return summary(
        mean_steering=arm(0.9, tuning=tuning, **_VECTOR),
        mean_steering__random=arm(0.06, method="random_vector"),
        mean_steering__searched=arm(0.06, method="searched_random_vector", tuning=tuning),
        other_steering=arm(0.8, method="mean_steering", tuning=tuning, **_VECTOR),
        other_steering__random=arm(0.06, method="random_vector"),
        quiet_steering=arm(0.05, method="mean_steering", tuning=tuning, tied=TIED),
    )


def _single_vectors() -> dict[str, Any]:
    edit = "gated add of 3 categories at layer 1, generated: 2 residual norms (absolute 9) where the gate fires"
    single = {"steering": [edit], "directions": 1, "firings_per_problem": 1.0}
    return summary(
        mean_steering=arm(0.9, **_VECTOR),
        hybrid_steering=trained("hybrid_steering", 0.9, **single),
        hybrid_oracle=trained("hybrid_steering", 0.9, **single),
    )


def _unspecific() -> dict[str, Any]:
    grpo = {f"grpo__{method}": trained(f"grpo_{method}", 0.82) for method in ("random_reward", "format_only")}
    return summary(
        mean_steering=arm(0.9, **_VECTOR),
        mean_steering__random=arm(0.88, method="random_vector"),
        mean_steering__all=arm(0.89, method="same_vector", steering=[EDIT.format("first:4")]),
        mean_steering__random_sign=arm(0.89, method="unknown"),
        mean_steering__wider=arm(0.89, method="unknown"),
        critique=trained("critique", 0.6),
        critique__same_solutions=trained("same_solutions", 0.6),
        grpo=trained("grpo", 0.83),
        **grpo,
        grpo__wrong_label=trained("grpo_wrong_label", 0.06),
        rl_steering=trained("rl_steering", 0.7),
        rl_steering__start=arm(0.68, method="untrained_vector"),
        rl_steering__random_reward=trained("rl_steering_random_reward", 0.1),
        hybrid_steering=trained(
            "hybrid_steering",
            0.8,
            steering=[
                "gated add of 3 categories at layer 1, generated: 2 residual norms (absolute 9) where the gate fires"
            ],
        ),
        hybrid_steering__random_categories=trained("hybrid_control", 0.4, vs_parent=versus(-0.4)),
    )


def _feature() -> dict[str, Any]:
    edit = "add feature m/L1/7 at layer 1, prompt: 2 residual norms (absolute 9.5)"
    cosine = {"features": [{"sae": "m/L1-s1", "feature": 9, "cosine": 0.934}]}

    def below(accuracy: float, fall: float, method: str, **changes: Any) -> dict[str, Any]:
        return arm(accuracy, method=method, vs_parent=versus(fall), **changes)

    return summary(
        sae_steering=arm(0.95, method="sae_steering", steering=[edit], **_FEATURE),
        sae_steering__second=below(0.93, -0.02, "twin_feature", **cosine),
        sae_steering__third=below(0.10, -0.85, "twin_feature", **cosine),
        sae_steering__natural=below(0.05, -0.9, "clamp_feature", **_FEATURE),
        sae_steering__natural_8=below(0.95, 0.0, "clamp_feature", features=[{}] * 8),
        sae_steering__random_feature=arm(0.05, method="random_feature"),
        sae_steering__sweep=arm(0.9, method="feature_sweep", rank=RANK, features=[{"feature": 9, "cosine": 0.93}]),
        cue_prompt__one=below(0.95, 0.0, "ablate_feature", **_FEATURE),
        cue_prompt__few=arm(0.92, method="ablate_feature", features=[{}] * 3, vs_parent=versus(-0.06)),
        cue_prompt__all=below(0.45, -0.5, "ablate_feature", features=[{}] * 24),
        cue_prompt__all__random=arm(0.94, method="random_feature"),
        cue_prompt__all__vector=arm(0.93, method="random_vector"),
        cue_prompt__all__covariance=arm(0.92, method="covariance_vector"),
        cue_prompt__swapped=below(0.0, -0.95, "mean_ablation", features=[{}] * 16),
    )


def _costs() -> dict[str, Any]:
    def rival(difference: float, votes: int, *, capped: bool = False) -> dict[str, Any]:
        return {"k": votes, "difference": versus(difference), "capped": capped}

    def expansion(count: int) -> dict[str, Any]:
        share = estimate(count / 64, (0.01 if count else 0.0, count / 64 + 0.057), 64)
        draws = {"arm_ids": ["a", "b"][:count], "expected_draws": {"a": 310.2, "b": 12_000.4} if count else {}}
        return {"k": 256, "solved_only_by_arm": share, "solved_only_by_base": estimate(2 / 64, n=64)} | {
            "valid_trace": count == 0,
            **draws,
        }

    def leak(difference: float) -> dict[str, Any]:
        return {"model": "incapable", **versus(difference)}

    data = summary(
        grpo=trained(
            "grpo",
            0.83,
            rival=rival(0.3, 5),
            rival_total=rival(0.0, 900),
            sharpening=versus(0.93),
            expansion=expansion(0),
            crossover_k=64,
            leak=leak(0.2),
        ),
        grpo_full=trained(
            "grpo", 0.8, rival=rival(-0.2, 64, capped=True), sharpening=versus(0.01), expansion=expansion(5)
        )
        | {"leak": leak(0.02)},
        cot=arm(0.9, method="cot_decoding", rival=rival(0.3, 1), leak=leak(-0.2)),
        voting=arm(0.5, method="self_consistency", rival=rival(0.01, 5)),
        best_of_n=arm(0.99, method="best_of_n", verifier=True, leak=leak(0.3)),
        sft__mlp=trained("sft", 0.58),
    )
    _task(data)["arms"]["cot/aggregate"] = arm(0.88, method="cot_decoding")
    return data


def _against_sft() -> dict[str, Any]:
    data = summary(
        cot=arm(0.5, method="cot_decoding"),
        min_p=arm(0.62, method="min_p"),
        dola=arm(0.4, method="dola", vs_sft=None),
        mean_steering=arm(0.95),
    )
    _task(data)["arms"]["min_p"]["vs_sft"]["p_holm"] = None
    _task(data)["arms"]["sft"]["train"]["labels"] = None
    return data


def _at_budget() -> dict[str, Any]:
    def spent(labels: float | None, tokens: float) -> dict[str, Any]:
        return {"budget": {"labels": labels, "train_tokens": tokens, "answer_tokens": 20.0}}

    def beside(point: str, ratio: float, difference: float) -> dict[str, Any]:
        return {"arm": point, "ratio": ratio, **versus(difference)}

    data = summary(
        sft__4=trained("sft", 0.4, **spent(4, 1000.0)),
        grpo=trained(
            "grpo",
            0.9,
            **spent(256, 180_000.0),
            vs_sft_at_budget={
                "labels": beside("sft", 16.0, 0.3),
                "tokens": beside("sft", 22.75, 0.3),
                "flops": None,
            },
        ),
        cot=arm(
            0.5,
            method="cot_decoding",
            **spent(None, 0.0),
            vs_sft_at_budget={
                "labels": None,
                "tokens": beside("sft/4", 0.667, 0.1),
                "flops": beside("sft/4", 0.02, 0.1) | {"p_holm": None},
            },
        ),
    )
    _task(data)["arms"]["sft"] |= spent(16, 6000.0)
    _task(data)["budget_curves"] = {"sft": {"points": ["sft/4"], "labels": None, "tokens": None, "flops": None}}
    return data


def _floors() -> dict[str, Any]:
    def against(first: float, prompt: float) -> dict[str, Any]:
        return {"vs_floors": {"forbid_first": versus(first), "best_prompt": versus(prompt)}}

    return summary(
        forbid_first=arm(0.9, method="forbid_first"),
        best_prompt=arm(0.3, method="best_prompt", gap_recovered=None, gap_ci=None),
        mean_steering=arm(0.92, **_VECTOR, **against(0.02, 0.62)),
        cot=arm(0.25, method="cot_decoding", **against(-0.65, -0.05)),
        grpo=trained("grpo", 0.99, **against(0.09, 0.69)),
    )


def _cautions() -> dict[str, Any]:
    formal = {f"form{i}": arm(0.06, trace_rate=estimate(1.0, (0.96, 1.0))) for i in range(8)}
    data = summary(
        mean_steering=arm(
            0.9, off_target={"chains": estimate(0.1, (0.05, 0.15))}, rival={"k": 3, "capped": True}, **_VECTOR
        ),
        mean_steering__all=arm(0.0, finished_rate=estimate(0.02, (0.0, 0.05)), cut_in_thought=estimate(0.3)),
        **formal,
        sft_4=arm(0.7, method="sft", train={"labels": 4}),
        grpo=trained("grpo", 0.83, failed_seeds=[{"seed": 2, "error": "step 12:\nthe loss is NaN."}]),
        grpo_full={"method": "grpo", "status": "failed", "accuracy": None, "error": "all clipped"},
        min_p={"method": "min_p", "status": "pending", "accuracy": None},
        power=arm(0.06, method="power_sampling", search=_CHAIN),
        rl_steering=trained("rl_steering", 0.06),
        rl_steering__start=arm(0.4, method="untrained_vector"),
        critique=trained("critique", 0.06),
        critique__same_solutions=trained("same_solutions", 0.6),
        cot=arm(
            0.5, method="cot_decoding", edges=["k 10 is the largest of those tried (2 to 10)", "margin 0 is the least"]
        ),
    )
    task = _task(data)
    task["arms"]["base"]["off_target"] = {"chains": estimate(0.5, (0.4, 0.6))}
    task["thinking"] = {"switch": "enable_thinking", "given": False, "on": True}
    for name, on in (("off", False), ("unknown", None)):
        other = {"base": arm(0.05, method="base", vs_base=None)}
        thinking = {"switch": "enable_thinking", "given": False, "on": on}
        data["models"][name] = {"tasks": {"addition": {"n": 100, "arms": other, "thinking": thinking}}}
    return data


def _small_gains() -> dict[str, Any]:
    return summary(
        sft=0.03,
        mean_steering=arm(0.12, vs_base=versus(0.07, p=0.2), **_VECTOR),
        mean_steering_2=arm(0.11),
        mean_steering_3=arm(0.13),
        grpo=trained("grpo", 0.11),
        grpo_2=trained("grpo", 0.0),
        best_of_n=arm(0.12, method="best_of_n", verifier=True),
        cot=arm(0.6, method="cot_decoding", sft=0.03),
    )


def _quiet() -> dict[str, Any]:
    data = summary(
        grpo=trained("grpo", 0.0, vs_base=versus(-0.05)),
        grpo_2=trained("grpo", 0.0, vs_base=versus(-0.06)),
        critique=trained("critique", 0.3, vs_base=versus(0.25, p=0.3)),
        rl_steering=trained("rl_steering", 0.06, vs_base=versus(0.01, half=0.2)),
        cot={"method": "cot_decoding", "status": "failed", "accuracy": None, "error": "no"},
        mean_steering=arm(0.1, vs_base=versus(0.05)),
    )
    for i in range(4):
        _task(data)["arms"][f"min_p_{i}"] = arm(0.06, method="min_p", vs_base=versus(0.01, half=0.2))
    return data


def _incapable() -> dict[str, Any]:
    data = summary(ceiling=None, grpo=trained("grpo", 0.83, gap_recovered=None, gap_ci=None))
    data["models"]["m"]["capable"] = False
    return data


def _no_ceiling() -> dict[str, Any]:
    data = summary(ceiling=None, mean_steering=arm(0.05, ceiling=None))
    _task(data)["ceilings"] = []
    del _task(data)["arms"]["cue_prompt"]
    return data


def _no_base() -> dict[str, Any]:
    data = summary(mean_steering=arm(0.9))
    _task(data)["arms"]["base"] |= {"accuracy": None, "status": "pending"}
    data["models"]["other"] = {"tasks": {"addition": {"n": 100, "arms": {"sft": arm(0.5, method="sft")}}}}
    return data


def _only(**arms: Any) -> dict[str, Any]:
    data = summary()
    _task(data)["arms"] = {"base": _task(data)["arms"]["base"], **arms}
    return data


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
