"""The glossary at the end of every page: how its figures were computed and what they do not cover."""

from __future__ import annotations

READING = """<dl>
<dt>accuracy, traces, finished</dt>
<dd>Share of problems, over the arm's own answers (one a problem and seed). The interval is Wilson's at the effective
sample size, clustered by problem: n counts problems. Where an arm has several seeds, the interval covers other training
seeds too, as that of a difference does: their part of the variance is added, and the t quantile of their few degrees of
freedom is weighed in. With one seed it speaks of this one trained model.</dd>
<dt>points to SFT, points to base</dt>
<dd>Paired difference on the same problems. Between single runs: exact McNemar test with Tango's score interval. Where
an arm has several seeds: a two-level t interval over training seeds and problems. p is after Holm's correction over
every comparison that a model's verdict speaks of: its arms against the base, against SFT, against the floors, and on a
model that never had the ability.</dd>
<dt>gap recovered</dt>
<dd>(arm − base) / (ceiling − base), free to leave 0 to 1. Withheld where the ceiling does not exceed the base by
two standard errors: a share of nothing is not a number. Percentile bootstrap over problems, with a seed part.</dd>
<dt>pass@k</dt>
<dd>1 − C(n−c, k)/C(n, k) per problem, averaged; the interval is that of an accuracy.</dd>
<dt>rival</dt>
<dd>The base's majority vote over as many samples as the arm's tokens pay for, paired over the problems both have. With
the fit included, the tokens generated (rollouts, pilot, tuning) and trained on while fitting, and those of the arms
that it is made from, are spread over the test problems of this run: over more answers they would weigh less. Tokens of
prompts do not count, and a token trained on counts as one generated, though it costs some three times the FLOPs.</dd>
<dt>sharpening, expansion</dt>
<dd>Sharpening is the gain at the first of the samples at temperature 1. Expansion counts problems that one side
solves in K samples and the other never does, K being the same for both.</dd>
<dt>leak</dt>
<dd>What the same arm gains over the base on a model that never had the ability.</dd>
<dt>KL, tokens</dt>
<dd>Means with t intervals, over texts, or over problems and seeds; KL over training seeds where an arm has
several.</dd>
<dt>–</dt>
<dd>Does not apply or is not known. It is never 0.</dd>
<dt>not covered</dt>
<dd>Each base model is one training run itself: how the same recipe would turn out with another seed is not in any
interval here.</dd>
</dl>"""
