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
# # Train an SAE, and ask whether to believe it
#
# A sparse autoencoder rewrites each residual as a sum of a few directions out of many. Training one on the organism
# takes seconds; the questions after it take longer. Does it explain the residuals? Does the model still work on its
# reconstructions? Are its features the model's, or the training run's?
#
# The same from the command line, resumable and in a folder: `elicit sae train cued --layer 1`.

# %%
import pandas as pd

import elicit
import saes

model = elicit.load("cued")
task = elicit.tasks.get("addition")

# %% [markdown]
# ## 1. Text
#
# An SAE knows what its text shows it. The organism writes two kinds: direct answers, and worked ones after the cue.
# Both must be there, or the feature that tells them apart has no reason to exist. Train problems only.

# %%
problems = task.problems("train", 1000)
texts = [problem.prompt + task.direct(problem) for problem in problems]
texts += [problem.cue_prompt + task.worked(problem) for problem in problems]
sequences = [model.encode(text) for text in texts]
print(repr(texts[0]), repr(texts[-1]), f"{sum(map(len, sequences)):,} tokens", sep="\n")

# %% [markdown]
# ## 2. Train
#
# TopK: every token may use its `k` = 8 largest latents, out of 256, so there is no sparsity penalty to tune. 60,000
# tokens are the text above a little more than once; the shipped SAEs saw more.

# %%
sae = saes.train(
    model.hf,
    sequences,
    layer=1,
    width=256,
    k=8,
    tokens=60_000,
    seed=0,
    model_name=model.name,
    weights_sha256=model.weights_sha256,
    source="1,000 train problems of addition, direct and worked",
)
sae

# %% [markdown]
# ## 3. The card
#
# Judged on select problems, which this SAE has not seen. `explained variance` is about residuals, `CE recovered`
# about the model: how much of the loss that is at stake (mean ablation against the untouched model) survives when the
# residual is *replaced* by the reconstruction. An SAE can do well on the first and badly on the second.

# %%
held = task.problems("select", 150)
held_out = [model.encode(problem.prompt + task.direct(problem)) for problem in held]
held_out += [model.encode(problem.cue_prompt + task.worked(problem)) for problem in held]
shipped = saes.load("cued/L1")


cards = {
    name: saes.evaluate(model.hf, one, held_out) for name, one in (("trained here", sae), ("shipped cued/L1", shipped))
}


def with_interval(estimate):
    low, high = estimate["ci"]
    return f"{estimate['value']:.4f} [{low:.4f}, {high:.4f}]"


def figures(card, one):
    loss = card["cross_entropy"]
    return {
        "latents": one.d_sae,
        "trained on, tokens": one.manifest.tokens,
        "explained variance": with_interval(card["explained_variance"]),
        "latents per token (L0)": card["l0"]["value"],
        "dead on this text": f"{card['dead']['value']:.0%}",
        "cross-entropy, model": with_interval(loss["clean"]),
        "cross-entropy, reconstruction": with_interval(loss["reconstruction"]),
        "CE recovered": with_interval(loss["recovered"]),
    }


pd.DataFrame({name: figures(cards[name], one) for name, one in zip(cards, (sae, shipped), strict=True)})

# %% [markdown]
# A dead latent is one that never fires *on this text*. Few dead latents are no virtue by themselves: a small
# dictionary has no room for dead ones.
#
# ## 4. Its features
#
# Which latents tell cued from uncued prompts, at the last prompt token?

# %%
few = problems[:128]


def contrast(one):
    cued = (saes.Span.last(model.encode(problem.cue_prompt), problem.id) for problem in few)
    plain = (saes.Span.last(model.encode(problem.prompt), problem.id) for problem in few)
    return saes.discover(model.hf, one, cued, plain, names=("cued", "uncued"), scorers=("contrast", "auroc"))


table = contrast(sae)
best = int(table.index[0])
table[["contrast", "auroc", "density_positive", "density_negative"]].head(5).round(2)

# %% [markdown]
# The page of a feature says what it fires on, what it writes (logit lens), what resembles it, and how it differs
# between the conditions. A page by itself works without a network; `saes.dashboard.write(study, folder)` writes all
# of them.

# %%
study = saes.dashboard.study(
    model.hf,
    model.tokenizer,
    sae,
    held_out,
    features=[int(index) for index in table.index[:8]],
    positive=[model.encode(problem.cue_prompt) for problem in few],
    negative=[model.encode(problem.prompt) for problem in few],
    text="select problems of addition, direct and worked",
)
saes.dashboard.page(study, best)

# %% [markdown]
# ## 5. Does the feature do anything?
#
# The test that counts is causal: added once, at the first generation step of *uncued* prompts. Select problems,
# because we are still looking around.

# %%
from elicit.panel import compare_side_by_side
from elicit.steering import feature_edit

unit = sae.manifest.norm  # median residual norm of the SAE's own training text
answers = {}
for name, one, index in (("trained here", sae, best), ("shipped cued/L1", shipped, int(contrast(shipped).index[0]))):
    for strength in (1.0, 2.0, 3.0):
        found = compare_side_by_side(
            model, [feature_edit(one.feature(index), strength, unit=unit)], held[:50], task=task
        )
        answers[f"{name}, feature {index}", strength] = (
            f"{found.count_right('steered')} of 50 (base {found.count_right('base')})"
        )
pd.Series(answers, name="right on select problems").unstack()

# %% [markdown]
# ## 6. Whose feature is it?
#
# Train again with another seed: a feature of the *model* should come back, one of the *training run* need not (Paulo
# and Belrose, 2501.16615, find that many do not). `saes.twin` gives the nearest decoder row in the other SAE, with
# the typical cosine of all live features for comparison: a twin of 0.9 means little where every feature has one.

# %%
again = saes.train(model.hf, sequences, layer=1, width=256, k=8, tokens=60_000, seed=1, model_name=model.name)
live = (table["density"] > 0).sort_index().to_numpy()
print("same recipe, seed 1:", saes.twin(sae.feature(best), again))
print("shipped cued/L1:    ", saes.twin(sae.feature(best), shipped))

# %% [markdown]
# ## What to be careful about
#
# - This organism's text is simple, so its SAEs look better than any SAE of a real model.
# - The feature was found by a contrast and tested by steering; that it *marks* the mode and that it *causes* the mode
#   are two findings. The second is section 5.
# - Strength here is in the norm of the SAE's own text. Compare strengths only in one unit (`sae_steering` and the
#   panel use worked train problems).
