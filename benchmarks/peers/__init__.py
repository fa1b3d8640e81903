"""What everyframe is measured against."""

import everyframe  # noqa: F401  # before them: so that none of them reports what it runs
