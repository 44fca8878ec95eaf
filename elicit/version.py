"""The version of the package: this line is the only place where it stands. pyproject.toml and `elicit` read it here."""

__version__ = "0.2.0.dev0"
