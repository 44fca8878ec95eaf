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
# # From a picture to an arm with controls
#
# A heat map is a hypothesis. Here one becomes an arm of a comparison: the difference that patching showed, taken as a
# vector on *train* problems, saved to a file, and judged on *test* problems beside its controls.

# %%
import tempfile
from pathlib import Path

import elicit
from elicit.activations import LogitDifference
from elicit.interop.vectors import save_vectors
from elicit.steering import vector_edit

model = elicit.load("cued")
task = model.bind(elicit.tasks.get("addition"))
problems = task.problems("train", 64)
plain, cued = [p.prompt for p in problems], [p.cue_prompt for p in problems]

# %% [markdown]
# ## 1. The picture, and the place where the effect is largest

# %%
sweep = model.patch(
    from_=cued, to=plain, measure=LogitDifference("<think>", "#"), layers=[0, 1], positions=range(-2, 1)
)
best = sweep.frame().query("kind == 'patched'").sort_values("effect").iloc[-1]
layer = int(best["layer"])
sweep

# %% [markdown]
# ## 2. The vector: the mean difference at that place, at its own length

# %%
caches = [model.cache(prompts, layers=[layer], positions="first") for prompts in (cued, plain)]
difference = (caches[0]["resid_post", layer] - caches[1]["resid_post", layer])[:, 0].mean(dim=0)
unit = model.residual_norms.medians[layer]
edit = vector_edit(difference, layer, 1.0, unit=unit, positions="first", label="cued less plain")
print(edit)

# %% [markdown]
# ## 3. An arm, with its controls
#
# The same length in random directions, the opposite sign, the same vector at every position. Nothing was chosen on
# test problems.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = save_vectors([edit], Path(folder) / "found", model=model)
    arms = {
        "base": {"method": "base"},
        "found": {"method": "vector", "path": str(path)},
        "found/random_vector": {"method": "random_vector", "parent": "found"},
        "found/wrong_sign": {"method": "same_vector", "parent": "found", "positions": "first", "factor": -1.0},
        "found/all_positions": {"method": "same_vector", "parent": "found", "positions": "all"},
    }
    results = elicit.compare(model, "addition", arms=arms, test=60, out=Path(folder) / "run")
    frame = results.to_df()
frame[["arm", "accuracy"]]
