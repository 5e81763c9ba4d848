"""One user, several spellings: addresses of messages (SIP, tel, im and pres URIs) in a form that compares."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

_SEPARATORS = re.compile(r"[-.()\s]")  # visual-separator of RFC 3966 section 3
_DEFAULT_PORTS = {"sip": ":5060", "sips": ":5061"}


@lru_cache(maxsize=4096)
def address_key(uri: str) -> str:
    """The part of a URI that names the user: equal for two URIs of the same one.

    sip and sips name the same user, parameters and headers do not count, host names compare without case,
    user parts with it (RFC 3261 section 19.1.4); tel numbers compare without separators (RFC 3966 section 5).
    """
    scheme, _, rest = uri.strip().partition(":")
    scheme = scheme.lower()
    rest = rest.partition("?")[0]
    if scheme == "tel":
        return "tel:" + _SEPARATORS.sub("", rest.partition(";")[0])
    user, at, host = rest.rpartition("@")
    host = host.partition(";")[0].lower().removesuffix(_DEFAULT_PORTS.get(scheme, "\0"))
    name = unquote(user.partition(";")[0]) + at
    return f"{'sip' if scheme == 'sips' else scheme}:{name}{host}"
