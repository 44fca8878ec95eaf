"""Search decoders, which generate more than one path before they answer."""

from elicit.search.best import LikeliestBestOfN, VerifiedBestOfN
from elicit.search.budget import BudgetForcingSearch
from elicit.search.catalog import load_search
from elicit.search.core import Query, Search, SearchResult, sample_completions, to_result
from elicit.search.cot import CotDecodingSearch
from elicit.search.custom import custom_generate
from elicit.search.majority import MajorityVote
from elicit.search.power import PowerSamplingSearch

__all__ = [
    "Query",
    "BudgetForcingSearch",
    "CotDecodingSearch",
    "SearchResult",
    "LikeliestBestOfN",
    "MajorityVote",
    "PowerSamplingSearch",
    "Search",
    "VerifiedBestOfN",
    "custom_generate",
    "to_result",
    "load_search",
    "sample_completions",
]
