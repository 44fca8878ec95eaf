# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does SFT generalize?
#
# "SFT memorizes, RL generalizes" mostly rests on single checkpoints, and published curves disagree: accuracy on
# domains that were not trained on *dips early and recovers late* (2604.06628), or it *peaks early and declines*
# (2509.12235). Whoever looks once sees whichever the checkpoint shows. So here we follow the whole training, name the
# shape of each curve from its bootstrap distribution instead of from its points, and ask three more things: do the
# steps of a trace have to be right (2505.13775)? Could the harm have been seen coming? And does a two-rate model of a
# dip describe what we measured?
#
# The organism is `cued`: half a million parameters, two skills (adding, and chains mod 7) that it shows only after a
# cue. We fine-tune on worked *additions* and watch both. About a minute on two cores; two training seeds and 80
# problems, so read the intervals.

# %%
import tempfile
from pathlib import Path

import elicit

folder = Path(tempfile.mkdtemp(prefix="elicit-notebook-"))
taught = {"method": "sft", "demonstrations": 64, "steps": 80, "checkpoints": [5, 10, 20, 40]}
results = elicit.compare(
    "cued",
    "addition",
    off_target={"mod_chain": {"task": "mod_chain"}},
    arms={
        "base": {"method": "base"},
        "sft": {**taught, "warn": {"mod_chain": {"task": "mod_chain"}}, "warn_every": 2},
        "sft/swapped": {**taught, "supervision": "swapped"},
        "sft/no_trace": {**taught, "supervision": "direct"},
    },
    seeds=2,
    test=80,
    trajectory={"probe": 16},
    out=folder / "run",
)

# %% [markdown]
# - `sft` learns from right traces. `checkpoints` keeps a copy of the weights after those steps; each is asked the same
#   problems of both tasks. `warn` watches gradients while it trains (section 4).
# - `sft/swapped` gets the same problems and right answers, behind *another* problem's trace of equal length.
# - `sft/no_trace` gets the bare answers.
#
# A policy with checkpoints is also an object: `policy.at(20)` is the policy as it was after 20 steps.
#
# ## 1. The curves
#
# The same figure as in the report (`elicit report`). Both tasks start at the base's accuracy; the step axis is
# logarithmic. Shade and bars: the *danger zone*, where stopping would have left the model worse than it was.

# %%
from IPython.display import HTML

from elicit.report import trajectories_html

HTML(trajectories_html(results.summary))

# %% [markdown]
# ## 2. The shapes, and how sure they are
#
# Six shapes are weighed against each other by how well each agrees with the bootstrap distribution of the curve
# (problems and seeds resampled). First comes a test whether there is any movement at all: `flat_p` is how often a
# constant curve would move as much. `danger` lists the steps at which the arm is worse than the base, all steps
# judged at once.

# %%
import pandas as pd

arms = results.summary["models"]["cued"]["tasks"]["addition"]["arms"]
followed = {arm: entry["trajectory"] for arm, entry in arms.items() if entry["trajectory"]}
shapes = pd.DataFrame(
    [
        {
            "arm": arm,
            "task": task,
            "shape": found["curve"]["shape"],
            "probability": round(found["curve"]["probabilities"][found["curve"]["shape"]], 2),
            "flat_p": round(found["curve"]["flat_p"], 3),
            "start": round(found["accuracy"][0]["value"], 3),
            "end": round(found["accuracy"][-1]["value"], 3),
            "danger": found["curve"]["danger"]["steps"],
        }
        for arm, trajectory in followed.items()
        for task, found in trajectory["tasks"].items()
    ]
)
shapes

# %% [markdown]
# Could we have stopped earlier? The usual rule takes the checkpoint with the lowest *in-domain* loss. `to_best` is
# what that would have lost on each task against its best checkpoint (chosen on other problems than it is judged on),
# `to_end` against training on. Positive is lost, in points.


# %%
def with_interval(value, ci):
    """In points; the interval is missing where every fold agrees."""
    return f"{100 * value:.1f}" + (f" [{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]" if ci else "")


stopping = {
    (arm, task): {
        "stopped at": found["stopping"]["step"],
        "to_best": with_interval(found["stopping"]["to_best"]["value"], found["stopping"]["to_best"]["ci"]),
        "to_end": with_interval(found["stopping"]["to_end"]["difference"], found["stopping"]["to_end"]["ci"]),
    }
    for arm, trajectory in followed.items()
    for task, found in trajectory["tasks"].items()
}
pd.DataFrame(stopping).T

# %% [markdown]
# ## 3. Do the steps of a trace have to be right?
#
# In 2505.13775 models trained on corrupted traces did about as well as those trained on right ones. Answers and the
# validity of traces are judged apart here, by a program: an answer can be right behind a wrong trace, and the other
# way round. At the last step, in per cent:


# %%
def last(trajectory, task, measure):
    one = trajectory["tasks"][task][measure][-1]
    return with_interval(one["value"], one["ci"])


measures = {"right": "accuracy", "shows work": "trace_rate", "every step valid": "valid_trace_rate"}
traces = pd.DataFrame(
    {
        (task, arm): {name: last(trajectory, task, key) for name, key in measures.items()}
        for task in ("addition", "mod_chain")
        for arm, trajectory in followed.items()
    }
).T
traces

# %% [markdown]
# `cued` cannot add without working: an answer it gets right, it got from its trace. So here the *content* of the trace
# carries the ability, and a swapped one cannot. That is a fact about this organism and no refutation of the paper,
# whose models may compute the answer elsewhere. The experiment `experiments/generalization/corrupted.yaml` asks it
# with more kinds of corruption, on a base that answers directly too.
#
# Look at `mod_chain` under `sft/swapped`, too. No corrupted trace of it was ever shown. What was taught is to *open* a
# trace, and behind that opening some of its own working comes out, right steps among it: form and ability part.
#
# ## 4. Could it have been seen coming?
#
# To first order, a step changes another task's loss by (the parameters' change) · (that loss's gradient). The running
# sum of that foretells the loss on `mod_chain` from probe gradients alone. Compare it with the loss as measured. The
# cosine tells whether the two tasks' gradients agree.

# %%
import plotly.graph_objects as go
from plotly.subplots import make_subplots

seen = arms["sft"]["warning"]
watched = seen["tasks"]["mod_chain"]
figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.06)
measured = [value - watched["loss"][0] for value in watched["loss"]]
for name, values, row, dash in (
    ("measured", measured, 1, "solid"),
    ("foretold", watched["integral"], 1, "dash"),
    ("cosine", watched["cosine"], 2, "solid"),
):
    figure.add_scatter(x=seen["steps"], y=values, name=name, mode="lines", line={"dash": dash}, row=row, col=1)
for step in watched["crossing"]["steps"]:
    if step is not None:
        figure.add_vline(x=step, line_dash="dot", row=1, col=1)
figure.update_yaxes(title_text="change of loss, nats/token", row=1, col=1)
figure.update_yaxes(title_text="cosine", row=2, col=1)
figure.update_xaxes(title_text="training step", row=2, col=1)
figure.update_layout(title="mod_chain while training on addition (mean of the seeds)", height=460)
figure

# %%
explained = watched["explained"]["integral"]
print(f"explained share of the loss changes: {explained:.2f} (1 is perfect, 0 what foretelling no change would give)")
print(f"alarm (rise of 0.02 nats/token) per seed: {watched['signals']['gradient']['alarm']}, shape: {watched['shape']}")
print(f"watching took {seen['share']:.0%} of the training time")

# %% [markdown]
# An alarm is worth something only if it comes before a dip of *accuracy*, and costs something where no dip follows.
# Two seeds of one arm cannot say how often; `experiments/generalization/warning.yaml` counts hits and false alarms
# over arms, tasks and seeds.
#
# ## 5. A model of the dip
#
# Suppose SFT teaches two things: a surface form quickly (rate ks), which costs accuracy elsewhere, and a procedure
# slowly (rate k), which pays. The gain is w (procedure - rho * surface). With r = ks / k it dips exactly where
# rho r > 1 (for r > 1), and ends above the start exactly where rho < 1. A stronger base learns the procedure faster.

# %%
import numpy as np

from elicit.analysis.figures import compute_dip_map, compute_two_bases
from elicit.analysis.timescales import Timescales

steps = np.geomspace(1, 2000, 200)
bases = compute_two_bases(
    Timescales(w=0.4, rho=0.6, ks=0.05, k=0.01), Timescales(w=0.4, rho=1.2, ks=0.05, k=0.002), steps
)
figure = go.Figure()
for curve, colour in zip(bases.curves, ("#1a9172", "#d1711f"), strict=True):
    figure.add_scatter(x=steps, y=100 * curve.gain, name=f"{curve.name} base", line={"color": colour})
    if curve.turn is not None:
        figure.add_scatter(
            x=[curve.turn.step],
            y=[100 * curve.turn.gain],
            mode="markers",
            marker={"color": colour, "size": 10},
            name=f"trough at step {curve.turn.step:.0f}",
        )
    if curve.danger is not None:
        end = min(curve.danger[1], steps[-1])
        figure.add_vrect(x0=steps[0], x1=end, fillcolor=colour, opacity=0.08, line_width=0)
figure.add_hline(y=0, line_width=1)
figure.update_xaxes(type="log", title_text="training step")
figure.update_yaxes(title_text="points over the base, other tasks")
figure.update_layout(title="Model: a strong and a weak base. Shade: worse than the base", height=420)
figure

# %%
grid = compute_dip_map(np.geomspace(1.05, 30, 60), np.linspace(0.02, 1.5, 60))
figure = go.Figure(go.Heatmap(x=grid.r, y=grid.rho, z=grid.depth, colorscale="Blues", colorbar={"title": "depth / w"}))
figure.add_scatter(x=grid.r, y=grid.boundary, mode="lines", name="rho r = 1", line={"color": "#d1711f", "width": 3})
figure.add_hline(y=1, line_dash="dot")
figure.update_xaxes(type="log", title_text="r: how much faster the surface is learned")
figure.update_yaxes(title_text="rho: what the surface costs", range=[0.02, 1.5])
figure.update_layout(
    title="Model: depth of the dip. Below the line there is none; above the dotted one it never recovers", height=440
)
figure

# %% [markdown]
# ### Does it describe what we measured?
#
# Five parameters on six checkpoints: it will fit almost anything, so fitting is no evidence. AIC asks whether it
# explains the curve *better than plainer shapes* do for the parameters it takes (one of them, a sigmoid in log steps,
# begins late without any dip), and the profile likelihood which of its parameters these checkpoints determine at all.

# %%
from elicit.analysis.timescale_fit import fit_timescales

other = followed["sft"]["tasks"]["mod_chain"]
accuracy = [one["value"] for one in other["accuracy"]]
fitted = fit_timescales(followed["sft"]["steps"], accuracy, n=other["n"], resamples=100)
scores = pd.DataFrame(fitted.scores)[["name", "parameters", "chi2", "aic", "weight"]].round(2)
print(fitted.identifiability.words)
print("regimes of the refits:", {name: round(share, 2) for name, share in fitted.regimes.items()})
scores

# %% [markdown]
# (The fit takes checkpoints as independent. They answer the same problems, which `fit(..., covariance=...)` can be
# told; `elicit.analysis.resampling.resampled(correct, 0).covariance` has it from the rows.)
#
# ## What this shows, and what it does not
#
# - One organism, which is one training run itself; two training seeds; 80 problems. Two seeds hardly know their own
#   spread: `experiments/generalization/trajectories.yaml` has three, four tasks, LoRA and reinforcement.
# - `cued` hides a skill that it has. SFT on one task that helps on the other *brings out* working, which both share;
#   it need not have taught anything. For bases that lack the skill see the ladder of sizes (`ladder.yaml`).
# - A shape is the most probable of six, not a law. Where a rival is near, the figure says so with a question mark.
# - The model of section 5 is a way to think. Whether it is *the* explanation of a dip needs more checkpoints than
#   parameters, by far.
