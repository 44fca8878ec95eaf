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
# # Compare methods
#
# One model, several ways to make it reason, one protocol: the same problems, the same random numbers, paired
# statistics, and every figure beside its control. `elicit.compare` is the command `elicit run` from Python; what it
# writes is a run directory that `elicit report` and `elicit verify` read, and that resumes when it was interrupted.
#
# We compare on the organism `cued`, which hides the ability to add, with few problems and two seeds, so that it takes
# half a minute. docs/results/quickstart.md is the same with more of everything.

# %%
import tempfile
from pathlib import Path

import elicit

folder = Path(tempfile.mkdtemp(prefix="elicit-notebook-"))
results = elicit.compare(
    "cued",
    "addition",
    arms={
        "base": {"method": "base"},
        "cue_prompt": {"method": "cue_prompt"},
        "sft": {"method": "sft"},
        "sae_steering": {"method": "sae_steering", "layers": [1], "candidates": 2, "strengths": [1.0, 1.5, 2.0, 2.5]},
        "sae_steering/all_positions": {"method": "same_vector", "parent": "sae_steering", "positions": "all"},
        "sae_steering/random_vector": {"method": "random_vector", "parent": "sae_steering"},
    },
    seeds=2,
    test=100,
    out=folder / "run",
)

# %% [markdown]
# - `base` is the model as it is; `cue_prompt` the condition that is known to bring the ability out: the *ceiling*.
# - `sft` is trained on 16 worked demonstrations, once per seed. It is the reference of every paired difference.
# - `sae_steering` finds one feature by contrast on train problems, chooses its strength on select problems, and is
#   judged on test problems. It changes one residual, once.
# - `sae_steering/...` are its controls, named after it: they change one thing about it.
#
# ## The table

# %%
results

# %% [markdown]
# `gap_recovered` is (arm − base) / (ceiling − base): 0 is the base, 1 the ceiling. `vs_sft` is a *paired* difference
# on the same problems, `p_holm` its p-value after Holm's correction over the arms. With two training seeds the seed
# part of an interval is a guess from two numbers, so p stays near 0.05 even where 96 points lie between two arms:
# that is no fault of the test, it is what two trainings can say. Use three seeds or more for a claim.
#
# The same as a data frame, to work with:

# %%
frame = results.to_df()
frame[["arm", "n", "seeds", "accuracy", "ci_low", "ci_high", "trace_rate", "tokens_per_problem"]].round(3)

# %% [markdown]
# ## Which problems flipped?
#
# Averages hide whether two arms solve the *same* problems. `flips` lists those that two arms judge differently, with
# both completions.

# %%
flips = results.flips("base", "sae_steering")
print(len(flips), "of 100 problems differ between base and sae_steering")
flips.head(4)

# %% [markdown]
# And where do SFT (first seed) and the one-feature edit part? Read a few before believing a difference of two points.

# %%
results.flips("sft", "sae_steering").head(4)

# %% [markdown]
# ## What was chosen, and on what
#
# A method writes down what it tuned. The dose-response below is of the **select** split; the test problems above were
# not touched by it.

# %%
import pandas as pd

record = elicit.open_run(results.run).cell("cued", "sae_steering").status["record"]
print(record["steering"])
print("chosen on", record["chosen_on"])
pd.DataFrame(record["dose_response"])

# %% [markdown]
# ## Keep it
#
# The report is one HTML file that opens offline, with the rows behind every figure. The run directory can be checked
# (`elicit verify RUN`), extended (call `compare` again with more arms, tasks or samples and the same `out`) and
# resumed.

# %%
report = results.save_html(folder / "report.html")
print(f"{report.name}: {report.stat().st_size / 1024:.0f} kB")

# %% [markdown]
# ## What to be careful about
#
# - The intervals speak of these trained models on other problems. The organism itself is one training run; `cued-s1`
#   and `cued-s2` are the same recipe with other seeds.
# - SFT's hyper-parameters are stated and not tuned. A difference of a few points to it is a difference to *this* SFT.
# - `incapable` is the organism that never learned to add. Run the same comparison on it: whatever gains there is
#   teaching, or a fault of the lab.
