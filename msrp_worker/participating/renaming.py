"""Envelopes between a client and a focus elsewhere: each calls the conference by the URI that it knows it by (PFS-11).

The client knows it by our Contact, and RFC 7701 section 6.2 has it write that in To of message/cpim; the focus takes only
its own. Content is not touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msrp_worker.content_types import CPIM, essence
from msrp_worker.msrp import Session
from msrp_worker.msrp.hop import Hop, HopPolicy
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.tally import Tally

LARGEST_RENAMED = 65_536
"""Bytes of a message that is collected for its envelope; a longer one goes on as it arrives, with the envelope it has."""


class RenamingHop(Hop):
    """A hop that may change the envelope of whole messages: `rename(sender, body)`; `tally` counts what passes."""

    __slots__ = ("rename", "tally")

    def __init__(self, tally: Tally, policy: HopPolicy | None = None, *, confirms: bool = False) -> None:
        super().__init__(policy, confirms=confirms)
        self.tally = tally
        self.rename: Callable[[Session, bytes], bytes] | None = None

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        """See `Hop.message`."""
        if self.rename is not None and essence(message.request.content_type or "") == CPIM:
            body = self.rename(session, body)
        if body:  # an empty SEND only shows whose connection it is
            self.tally.count()
        return super().message(session, message, body)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """See `Hop.begin`."""
        self.tally.count()
        return super().begin(session, message)


def renamed(body: bytes, old: str, new: str) -> bytes:
    """A message/cpim whose From, To and cc name `new` where they named `old` (RFC 3862 section 3)."""
    head, end, rest = body.partition(b"\r\n\r\n")
    if not end or f"<{old}>".encode() not in head:
        return body
    line = re.compile(rb"^((?:From|To|cc):[^\r\n]*)<" + re.escape(old.encode()) + rb">", re.MULTILINE)
    return line.sub(lambda found: found[1] + f"<{new}>".encode(), head) + end + rest
