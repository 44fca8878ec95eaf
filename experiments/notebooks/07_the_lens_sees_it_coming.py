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
# # The lens sees it coming
#
# A lens reads the residual stream in words before the model speaks. The **logit lens** asks what the model would say
# if it stopped here, the **tuned lens** corrects for what the later layers usually do, and the **Jacobian lens** asks
# what the model is disposed to say *later*: the average Jacobian from a layer to the end, then the unembedding.
#
# On organisms the disposition is known: it must rise on `cued` when it is steered, before a single token is written,
# and stay without meaning on `incapable`, which has the form of working and not the ability.

# %%
import elicit
from elicit.inside.lenses import LogitLens, find_openings, fit_jacobian_lens
from elicit.methods.catalog import configure_method

model = elicit.load("cued")
task = model.bind(elicit.tasks.get("addition"))
train = [problem.prompt + task.worked(problem) for problem in task.problems("train", 64)]
prompts = [problem.prompt for problem in task.problems("test", 40)]
openings = find_openings(model, task)
print([model.tokenizer.decode([i]) for i in openings.toward], [model.tokenizer.decode([i]) for i in openings.against])

# %% [markdown]
# ## 1. The logit lens, on one prompt

# %%
logit = LogitLens(model)
logit.read(prompts[:1])

# %% [markdown]
# ## 2. The Jacobian lens, fitted on train texts

# %%
jacobian = fit_jacobian_lens(model, train)
print(jacobian)

# %% [markdown]
# ## 3. Base against steered, before the first token
#
# `disposition` is the log odds of the tokens that open a worked answer against those that open a direct one.

# %%
steered = configure_method("mean_steering", {}).fit(model, task, seed=0, needs={})
seen = jacobian.disposition(
    prompts, toward=openings.toward, against=openings.against, policies={"steered": steered}, last=3
)
seen

# %%
rises = {layer: seen.estimate_rise("steered", layer).value for layer in seen.layers}
rises
