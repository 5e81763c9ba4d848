"""A refusal as a value: what a check of the focus says no with."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from msrp_worker.sip.port import Headers

TOO_MANY: Final = "Too many participants"
"""Warning text of 7.2.1.2-6 and 7.2.1.4-4."""
_NOT_IN_WARNING: Final = str.maketrans({"\\": None, '"': "'"})


class Refused(Struct, frozen=True):
    """The final response to a request; `requirement` is the row that demands it."""

    status: int
    reason: str
    requirement: str
    warning: str = ""
    more: Headers = ()
    """Further headers of the response."""

    def headers(self, host: str) -> Headers:
        """Warning (RFC 3261 section 20.43), where there is something to say, and what else belongs to the status."""
        if not self.warning:
            return self.more
        text = "".join(character if character.isprintable() else " " for character in self.warning)
        return (("Warning", f'399 {host} "{text.translate(_NOT_IN_WARNING)}"'), *self.more)


def forbidden(requirement: str, warning: str = "") -> Refused:
    """403."""
    return Refused(403, "Forbidden", requirement, warning)


def too_many(requirement: str) -> Refused:
    """486, as 7.2.1.2-6 and 7.2.1.4-4 have it."""
    return Refused(486, "Busy Here", requirement, TOO_MANY)


def not_acceptable(warning: str) -> Refused:
    """488: the offer cannot be answered (CNF-04, CNF-21)."""
    return Refused(488, "Not Acceptable Here", "CNF-04", warning)
