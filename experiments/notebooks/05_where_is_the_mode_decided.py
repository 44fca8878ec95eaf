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
# # Where is the mode decided?
#
# The organism `cued` works sums out only after a cue; without it, it writes a guess. Somewhere between the cue token
# and the first word of the answer the model must decide. We put one activation of a *cued* run into an *uncued* one,
# at every layer and position in turn, and look at two things: the logit of the token that opens worked answers less
# that of the one that opens direct ones, and the accuracy of the answers that follow.
#
# Two controls stand beside each patch. `shuffled` takes the activation from *another* problem's cued run: what it also
# brings is the condition's, and nothing of this problem's solution. `mean` puts the mean over the uncued prompts there:
# nothing of the cue enters, so it must bring nothing.

# %%
import elicit
from elicit.activations import Answers, LogitDifference

model = elicit.load("cued")
task = model.bind(elicit.tasks.get("addition"))
problems = task.problems("test", 60)
plain = [problem.prompt for problem in problems]
cued = [problem.cue_prompt for problem in problems]
print(repr(plain[0]), repr(cued[0]), repr(problems[0].opening))

# %% [markdown]
# ## 1. Everything there is to see
#
# `model.cache` keeps any site on any prompts. Prompts differ in length, so columns are offsets from the last prompt
# token, which is offset 0 (`[:, -1]`). The picture shows the median norm.

# %%
cache = model.cache(cued, sites=["resid_post", "attn_out", "mlp_out", "pattern"])
print(cache["resid_post", 1].shape, cache["pattern", 0].shape)
model.cache(cued[:1], sites="pattern", layers=[0])

# %% [markdown]
# ## 2. Patch every layer and position
#
# One call. Effects are means over problems with 95 % intervals (`.frame()`); red brings the worked opening.

# %%
sweep = model.patch(from_=cued, to=plain, measure=LogitDifference("<think>", "#"), positions=range(-5, 1))
sweep

# %%
sweep.frame().query("offset == 0").round(2)

# %% [markdown]
# The last prompt token carries all of it, from the first layer on: the cue is read there in layer 0 and the decision is
# made at once. What the cue changes at the other positions is not read again.
#
# ## 3. Does one site bring the ability?
#
# A logit is not an ability. Now whole answers are generated after the patched prompt.

# %%
answers = model.patch(from_=cued, to=plain, measure=Answers(task, problems), positions=[-1, 0])
answers

# %% [markdown]
# One site of one token brings the accuracy of the cued run, with this problem's cued activation or with another's. So
# what is transported is "work it out", and the working itself is done by the base afterwards.
