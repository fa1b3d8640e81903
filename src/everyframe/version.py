"""Which everyframe this is: the one place that says so."""

__version__ = "0.1.0"


class RenamedWarning(FutureWarning):
    """A name of an earlier version was used; it still works."""
