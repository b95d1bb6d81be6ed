"""Memory between visitors, where glibc is the allocator; elsewhere nothing happens.

It keeps an arena for each of up to eight threads a core, and gradio has forty: what they have freed stays theirs, in
pieces, and a server that holds 0.5 GB took 1.5 GB after a few visitors (`benchmarks/endurance.py`).
"""

from __future__ import annotations

import contextlib
import ctypes

ARENAS = 2  # enough for the model's thread and one that answers at a time
_M_ARENA_MAX = -8  # of malloc.h


def few_arenas() -> None:
    """Have all threads share a few arenas; before there are threads."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give what is free to the system."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
