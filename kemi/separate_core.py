"""What the worker is told of a separate core, so that an INVITE of its own goes back to it (COR-05, PFS-03)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kemi.request import Request
from kemi.sip_values import route_from


def way_back(request: Request, read: Callable[[str], str]) -> dict[str, Any]:
    """Fields of `SipRequest`, none where this Kamailio is the core. `read`: a pseudo-variable as text; `im.cfg` has left in
    them which Route value is the next one, and where the core reached us."""
    if not request.separate_core:
        return {}
    return {
        "side": "terminating" if request.serves_recipient else "originating",
        "core_route": route_from(read("$(hdr(Route)[*])"), read("$avp(im_back)")),
        "core_reached": read("$avp(im_reached)"),
        "core_socket": read("$avp(im_socket)"),
    }
