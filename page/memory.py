"""Memory between visitors, where glibc is the allocator; elsewhere nothing happens.

It keeps an arena for each of up to eight threads a core, and gradio has forty: what they have freed stays theirs, in
pieces, and a server that holds 0.5 GB took 1.5 GB after a few visitors (`benchmarks/endurance.py`). Of any arena but
the first it never gives back the free end, up to 64 MB of it: with two, the same 20 redraws left from 424 to 444 MB
behind, with one 424 every time, in the same time of the processor.
"""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8  # of malloc.h


def one_arena() -> None:
    """Have all threads share one arena; before there are threads."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give what is free to the system."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
