"""Bounds that several rooms hold what they are given to."""

from __future__ import annotations

#: threads of an engine or a training, and streams at once: more is a slip of the keyboard on every machine that this is for
MAX_THREADS = 256
#: the largest seed that numpy takes for all of its generators
MAX_SEED = 2**32 - 1
