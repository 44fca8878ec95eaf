"""The former place of `elicit.interop.lm_eval.functions`, which task files written by version 0.1 import."""

from elicit.interop.lm_eval.functions import judge as judge
from elicit.interop.lm_eval.functions import problems as problems
