"""Feature pages and their index: what a latent fires on, writes, resembles, and does to a model.

Own code, because SAEDashboard 0.8 (whose page, and Neuronpedia's, this one follows) pins transformers < 4.57,
transformer-lens < 3, datasets < 4 and jaxtyping < 0.3 and so cannot be installed beside this stack.

    found = dashboard.study(model.hf, model.tokenizer, sae, sequences, positive=cued, negative=uncued)
    dashboard.page(found, 379)                   # in a notebook: the page; in a terminal: the same figures
    dashboard.write(found, "dashboards/cued")    # index.html and one file per feature

Left out of what SAEDashboard shows: correlations with residual dimensions (the residual stream has no basis of its
own), and logit effects token by token (they are those of the lens times the activation).
"""

from saes.dashboard.bands import Activity, Band, Example
from saes.dashboard.collecting import Collected, collect
from saes.dashboard.contrasting import Contrast, Difference, contrast
from saes.dashboard.feature_page import FeaturePage, page
from saes.dashboard.index_page import check_target, index, write
from saes.dashboard.lens import Effect, Lens, logit_lens
from saes.dashboard.studies import Dose, Study, study
from saes.dashboard.text import Vocabulary, vocabulary

__all__ = [
    "study",
    "Study",
    "page",
    "FeaturePage",
    "write",
    "index",
    "check_target",
    "Dose",
    "collect",
    "Collected",
    "Activity",
    "Band",
    "Example",
    "logit_lens",
    "Lens",
    "Effect",
    "contrast",
    "Contrast",
    "Difference",
    "vocabulary",
    "Vocabulary",
]
