"""Features that differ between two conditions: `discover`, streaming, in bounded memory."""

from saes.discovery.conditions import Span
from saes.discovery.table import SCORERS, agreement, discover

__all__ = ["SCORERS", "Span", "agreement", "discover"]
