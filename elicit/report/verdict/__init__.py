"""The conclusions that the figures of a run allow: facts by fixed rules (`judge`), then sentences (`words`).

No model, no judgement, no rounding up.

1. A *gain* of an arm is a paired difference to the base whose interval lies above 0 and whose Holm p is below 0.05,
   corrected over everything that the verdict speaks of (every arm against the base, SFT and the floors, and its leak);
   it is *notable* from 10 points. Families of mechanism (`families`) are judged one by one. Of a family's notable arms
   one speaks for it: `sft` itself, else an untrained arm before a trained one, an arm with controls before one
   without, then the one of highest accuracy. Every other arm is in the details. An arm that consults the verifier while
   answering is marked and speaks for none. Hybrid steering with one direction at one token counts as steering.
2. A share of the gap is quoted only where the summary gives one; a withheld share is reported with the reason.
3. A control that raises accuracy and is not shown to fall short of its parent (paired over the same problems) moves *as
   much*: the effect is then not specific. One whose interval lies above 0 moves *in part*. An arm named after one of
   the same method is a variant of it, no control. What supports a feature rather than controlling for it (a second SAE,
   its natural value, its removal) is judged apart (`judge_features`). An arm that chose among several settings is
   called specific only against a control that chose among as many; without one it is open whether it is.
4. "No arm gains more than 10 points" needs intervals that end below 10 points; else larger gains are "not ruled out".
5. What an arm gains on a model that never had the ability is taught. So is what a trained arm gains where neither the
   ceiling nor any inference-time arm shows the ability.
6. The rival of an arm is the base's majority vote at the same tokens: the arm is *more than* it only if the paired
   interval lies above 0. It is reported twice: at the tokens of the answers, and with those of the fit spread over
   the test problems.
7. An arm *sharpens* if its interval at pass@1 lies above the base's; expansion is counted with its K, and with it
   what only the base solves: at a small K two draws of the same model differ too.
8. Failed and unfinished arms and seeds, single training seeds, choices made on test problems, traces without accuracy,
   and losses off the target are always added (`judge_cautions`).

from elicit.report.verdict import judge_summary, write_verdict
for verdict in judge_summary(summary):     # typed facts
    print(write_headline(verdict))         # the finding in one sentence of everyday words
    print(write_verdict(verdict).lead)     # the dense sentences of a terminal
    list_claims(verdict)                   # the rows of the table on a page
"""

from elicit.report.verdict.claims import list_claims, list_detail_claims
from elicit.report.verdict.facts import Verdict
from elicit.report.verdict.headline import write_headline
from elicit.report.verdict.judge import judge_panel, judge_summary
from elicit.report.verdict.words import Paragraph, VerdictText, write_verdict

__all__ = [
    "Paragraph",
    "Verdict",
    "VerdictText",
    "judge_panel",
    "judge_summary",
    "list_claims",
    "list_detail_claims",
    "write_headline",
    "write_verdict",
]
