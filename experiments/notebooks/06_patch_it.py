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
# # Patch it: components, paths, and a fast approximation
#
# Notebook 05 found *where* the mode is decided: at the last prompt token, in layer 0. Here we ask which parts do it.

# %%
import elicit
from elicit.activations import LogitDifference

model = elicit.load("cued")
task = model.bind(elicit.tasks.get("addition"))
problems = task.problems("test", 60)
plain, cued = [p.prompt for p in problems], [p.cue_prompt for p in problems]
measure = LogitDifference("<think>", "#")

# %% [markdown]
# ## 1. Attention or MLP?

# %%
parts = model.patch(from_=cued, to=plain, measure=measure, sites=["attn_out", "mlp_out"], positions=[0])
parts

# %% [markdown]
# ## 2. Which head?

# %%
heads = model.patch(
    from_=cued, to=plain, measure=measure, sites=[f"z.0.{head}" for head in range(4)], positions=[0], controls=()
)
heads.frame()[["layer", "head", "effect", "low", "high", "share"]].round(2)

# %% [markdown]
# ## 3. All patches at once, to first order
#
# Attribution patching needs one backward pass for every site, position and head. It is an approximation; the exact
# sweep says how good it is here. Nothing guarantees that it is: the decision is a saturated switch.

# %%
sites = ["resid_post", "attn_out", "mlp_out"]
exact = model.patch(from_=cued, to=plain, measure=measure, sites=sites, controls=())
scores = model.attribute(from_=cued, to=plain, measure=measure, sites=sites)
correlation = scores.compare_with(exact)
print(f"correlation with the exact patches: {correlation:.2f}")
scores

# %% [markdown]
# ## 4. A path
#
# Path patching holds everything between two sites still, so that only what travels along the residual stream arrives.
# Source and target must have equal lengths: here the source is another sum with the same number of tokens, and the
# question is which component of layer 0 tells the last layer's MLP which problem it is. Between two uncued prompts the
# mode does not change, so only small effects are to be expected.

# %%
same = [problem for problem in problems if len(problem.prompt) == len(problems[0].prompt)]
texts = [problem.prompt for problem in same]
paths = model.patch_paths(
    from_=texts[1:] + texts[:1], to=texts, measure=measure, senders=["attn_out.0", "mlp_out.0"], receiver="mlp_out.2"
)
paths.frame()[["site", "layer", "effect", "low", "high"]].round(3)
