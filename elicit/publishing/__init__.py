"""Reports of runs and pages of SAE features as one static site: a folder that opens offline and can be put on a server.

SITE/  index.html  site.json  runs/NAME/report.html  saes/NAME/index.html  saes/NAME/features/N.html

Every link is relative. `site.json` names the entries, and marks the folder as one that may be replaced.
"""

from elicit.publishing.feature_pages import copy_feature_pages, describe_feature_pages, is_feature_pages
from elicit.publishing.run_pages import write_run_pages
from elicit.publishing.site import Entry, Publication, check_site_target, write_site

__all__ = [
    "Entry",
    "Publication",
    "check_site_target",
    "copy_feature_pages",
    "describe_feature_pages",
    "is_feature_pages",
    "write_run_pages",
    "write_site",
]
