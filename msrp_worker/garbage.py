"""When Python looks for unreachable cycles: seldom, as messages make none, and never among what is there for good."""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 50, 100)
"""Container objects made and not freed before the young ones are looked at, and how many such looks make an older one
(the defaults are 700, 10, 10). A chunk through the hop then costs 0.5 us less; what waits to be found is a few MiB."""


def settle() -> None:
    """Call once everything is started: what is there now stays, and a full collection would look at all of it again, for
    15 ms in which no message moves (MED-08)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
