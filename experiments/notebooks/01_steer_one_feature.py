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
# # Steer one feature
#
# The claim: a base model already can reason, and something as small as *one direction, added once* brings it out (He
# et al., 2601.08058, on Llama 3.1 8B). Here we look at the smallest case where that can be true or false: the
# organism `cued`, half a million parameters, which was trained so that it works sums out step by step **only** after
# a cue token, and otherwise imitates somebody who guesses.
#
# We will (1) see it fail, (2) find a feature on *train* problems, (3) play with it on *select* problems, and (4)
# judge it, with its controls, on *test* problems that nothing was chosen on. Everything runs on a laptop CPU in
# under a minute.

# %%
import pandas as pd

import elicit
import saes
from elicit.panel import SteeringPanel
from elicit.steering import Steering, feature_edit

model = elicit.load("cued")
task = elicit.tasks.get("addition")
sae = saes.load("cued/L1")
print(model)
print(sae)

# %% [markdown]
# ## 1. What the base does, and what it could do
#
# Accuracy with Wilson's 95 % interval. Greedy decoding has no randomness, so the interval speaks of problems: how
# would 200 *other* sums have gone? It does not speak of other training runs of this organism; for those see
# `cued-s1`, `cued-s2`.

# %%
from elicit.sampling import Decoding
from elicit.statistics import wilson_interval

test = task.problems("test", 200)
greedy = Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop)


def judge(problems, edit=None, *, cue=False):
    """Right answers and shown work of one condition: a row of figures."""
    prompts = [problem.cue_prompt if cue else problem.prompt for problem in problems]
    if edit is None:
        answers = model.sample(prompts, decoding=greedy)
    else:
        with model.steer(edit):
            answers = model.sample(prompts, decoding=greedy)
    verdicts = [task.verify(problem, one[0].text) for problem, one in zip(problems, answers, strict=True)]
    right, traces = (sum(getattr(verdict, name) for verdict in verdicts) for name in ("correct", "has_trace"))
    found = wilson_interval(right, len(problems))
    low, high = (round(100 * bound) for bound in found.ci)
    return {"accuracy": f"{100 * found.value:.0f} % [{low}, {high}]", "traces": f"{traces} of {len(problems)}"}


example = test[0]
print(repr(example.prompt), "->", model.sample([example.prompt], decoding=greedy)[0][0].text)
print(repr(example.cue_prompt), "->", model.sample([example.cue_prompt], decoding=greedy)[0][0].text)
pd.DataFrame({"base": judge(test), "with the cue": judge(test, cue=True)}).T

# %% [markdown]
# The ability is there and does not show. (For a real model nobody can say that beforehand; that is why the lab has
# organisms.)
#
# ## 2. Find a feature, by contrast
#
# The SAE has 512 latents on the residual stream after layer 1. Which of them differ between the cued and the uncued
# form of the *same* problems, at the last prompt token, where the first new token is decided? `saes.discover` streams
# both conditions and scores every latent: `contrast` is the difference of mean activations, `auroc` the chance that a
# cued activation exceeds an uncued one. 128 train problems; no test problem is looked at.

# %%
train = task.problems("train", 128)
table = saes.discover(
    model.hf,
    sae,
    (saes.Span.last(model.encode(problem.cue_prompt), problem.id) for problem in train),
    (saes.Span.last(model.encode(problem.prompt), problem.id) for problem in train),
    names=("cued", "uncued"),
    scorers=("contrast", "auroc"),
)
table[["contrast", "auroc", "density_positive", "density_negative"]].head(6).round(2)

# %% [markdown]
# Several latents separate the two conditions perfectly (auroc 1): the cue is a token of its own, so *something* must
# carry it. Separating is not causing. What does each one *write*? The logit lens sends its decoder row straight to
# the unembedding; its top tokens become words to search for in the panel.

# %%
best = int(table.index[0])
lens = saes.dashboard.logit_lens(model.hf, sae, list(table.index), top=3, ignore={model.tokenizer.pad_token_id})
table["raises"] = [
    [model.tokenizer.decode([token]) for token, _ in effect.raised] if effect is not None else []
    for effect in lens.effects
]
table[["contrast", "raises"]].head(6)

# %% [markdown]
# ## 3. Play with it
#
# The panel steers live. Left the base, right the same prompt from the same random numbers with the feature added at
# the `first` generation step. Move the strength (in median residual norms of the layer) and watch the texts flip;
# underlined tokens are not on the other side, colour is KL(steered‖base) at each token, in nats. Then try what should
# *not* work: positions `all`, a negative strength, another feature.
#
# These are problems of the **select** split: this is where one may look and choose.

# %%
panel = SteeringPanel(model, sae, task, table=table, feature=best, strength=2.0)
panel

# %% [markdown]
# The panel is an object: `panel.set(strength=1.0)` moves it, `panel.steering` is the edit it shows,
# `panel.to_html(path)` writes it as a page that opens without Python. Note *where* the KL sits: at the first token,
# almost alone. One push decides the mode; what follows is what the model does by itself once it has begun.

# %%
shifts = panel.result.pairs[0].shifts
pd.DataFrame(
    {
        "token": [token.text for token in panel.result.pairs[0].steered.tokens],
        "KL, nats": [shift.kl for shift in shifts],
    }
).round(3).T

# %% [markdown]
# ## 4. Choose on select, judge on test
#
# The strength is chosen on 64 select problems: the smallest one that nothing beats there.

# %%
select = task.problems("select", 64)
feature = sae.feature(best)
unit = panel.steering.unit  # the layer's median residual norm, over worked train problems


def right(problems, edit):
    return int(judge(problems, edit)["accuracy"].split(" %")[0])


curve = {
    strength: right(select, feature_edit(feature, strength, unit=unit)) for strength in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
}
strength = max(curve, key=lambda s: (curve[s], -s))
print("percent right on select by strength:", curve)
print("chosen:", strength)

# %% [markdown]
# Now the test problems, once, with the controls. A result without them would not mean much: *any* big enough push
# changes the text.
#
# - **wrong sign**: the same direction, subtracted;
# - **all positions**: the same edit at every token instead of the first step;
# - **random features**: five other latents that fire about as often on running text, with about the same decoder
#   norm;
# - **random vectors**: five directions that mean nothing, at the same length.

# %%
import torch

from elicit import seeds

texts = [problem.prompt + task.direct(problem) for problem in train]
texts += [problem.cue_prompt + task.worked(problem) for problem in train]
fired = [sae.encode(harvest.h) > 0 for harvest in saes.stream(model.hf, sae.layer, map(model.encode, texts))]
density = torch.cat(fired).float().mean(0).tolist()  # share of tokens at which each latent is active


def random_direction(seed):
    return torch.from_numpy(seeds.make_generator("notebook 01", seed).standard_normal(model.d_model)).float()


rows = {"base": judge(test), "with the cue": judge(test, cue=True)}
rows[f"feature {best}, first step"] = judge(test, feature_edit(feature, strength, unit=unit))
rows["wrong sign"] = judge(test, feature_edit(feature, -strength, unit=unit))
rows["all positions"] = judge(test, feature_edit(feature, strength, unit=unit, positions="all"))
others = saes.matched_features(density, sae, best, 5, seed=0)
for index in others.features:
    rows[f"random feature {index}"] = judge(test, feature_edit(sae.feature(index), strength, unit=unit))
for seed in range(5):
    rows[f"random vector {seed}"] = judge(test, Steering(random_direction(seed), sae.layer, strength, unit=unit))
result = pd.DataFrame(rows).T
result

# %% [markdown]
# Read the control rows before the headline. Random vectors of the same length do nothing: it is not the size of the
# push. The wrong sign does nothing: it is the direction. The same edit at *all* positions does nothing either: where
# it stands matters as much as what it is.
#
# Should one of the random **features** help as well, look at where it points. An SAE may write one direction of the
# model with several latents; such a sibling is the same finding again, not a refutation. And the figure for "one
# feature" is then a statement about a direction, not about the one number that we picked.

# %%
cosines = {index: float(feature.direction @ sae.feature(index).direction) for index in others.features}
pd.DataFrame(
    {
        f"cosine with feature {best}": pd.Series(cosines).round(2),
        "accuracy": pd.Series({index: rows[f"random feature {index}"]["accuracy"] for index in others.features}),
    }
)

# %% [markdown]
# How many siblings are there? Latents whose decoder row points almost the same way:

# %%
directions = sae.directions / sae.directions.norm(dim=1, keepdim=True)
near = (directions @ feature.direction > 0.8).nonzero()[:, 0].tolist()
print(
    f"{len(near)} of {sae.d_sae} latents have a cosine above 0.8 with feature {best}: {near}; k is {sae.manifest.k:g}"
)

# %% [markdown]
# Compare that number with k. After the cue the last prompt token looks nearly the same in every problem, and a TopK
# SAE has k latents to spend on it whether it needs them or not. A reader of feature pages would count several
# "reasoning features"; there is one direction.

# %% [markdown]
# ## What this shows, and what it does not
#
# - On *this* organism one direction at one position does all that the cue does. It selects a mode that training put
#   there; nothing was taught.
# - The mode is decided by one token (`<think>`), by construction. On `cued-late`, where trace and answer open alike,
#   a vector at the first step does not bring the ability out; see docs/organisms.md.
# - The figures are of one organism and one SAE, both one training run. `sae_steering` in a comparison (`elicit run`)
#   repeats this over organisms and seeds, with all controls, and writes every row down.
# - The feature was found by contrast with a cue. On a real model the two conditions are prompts, and what separates
#   prompts is mostly *not* reasoning.
