"""The spec of a comparison, from YAML to models, arms, tasks and cells."""

from elicit.comparison.spec.spec import Spec as Spec
from elicit.comparison.spec.spec import TaskBinder as TaskBinder
from elicit.comparison.spec.spec import build_model_task as build_model_task
from elicit.comparison.spec.spec import build_task as build_task
from elicit.comparison.spec.spec import check_form as check_form
from elicit.comparison.spec.spec import check_spec as check_spec
from elicit.comparison.spec.spec import parse_spec as parse_spec
from elicit.comparison.spec.spec import read_limited_spec as read_limited_spec
from elicit.comparison.spec.spec import read_spec as read_spec
