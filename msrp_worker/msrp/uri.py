"""MSRP URIs: parse, build and compare (RFC 4975 sections 6, 6.1 and 9).

`parse_uri` turns text into an `MsrpUri`, `str()` turns it back; `parse_path` does the same for the
lists of To-Path, From-Path and `a=path`. Both raise `UriError` (a `ValueError`) on text outside the grammar.
`MsrpUri.matches` is the comparison of section 6.1, which is not equality: host names compare without case,
addresses by value, userinfo and URI parameters not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote

DEFAULT_PORT = 2855
"""The port registered for MSRP (RFC 4975 section 15.4): recommended, never implied by a URI without port."""
MAX_URI_LENGTH = 1024
"""Characters of one URI; longer ones carry nothing and cost memory in every session that keeps them."""
MAX_PATH_HOPS = 16
"""URIs in one path; relay chains of real deployments have two to four."""

_UNRESERVED = r"A-Za-z0-9\-._~"
_PCT = r"%[0-9A-Fa-f]{2}"
_SUB_DELIMS = r"!$&'()*+,;="

# MSRP-URI = msrp-scheme "://" authority ["/" session-id] ";" transport *( ";" URI-parameter)
# authority = [ userinfo "@" ] host [ ":" port ]                     ; RFC 3986 section 3.2
# session-id = 1*( unreserved / "+" / "=" / "/" )
# transport = "tcp" / "ws" / 1*ALPHANUM                              ; "ws": RFC 7977 section 5.2.1
# URI-parameter = token ["=" token]
#
# reg-name of RFC 3986 may hold sub-delims, ";" among them. Here ";" always begins the transport: MSRP URIs
# without session-id would be ambiguous otherwise, and no host name contains one.
_TKN = r"[!#-'*+\-.0-9A-Z^-~]+"
_URI = re.compile(
    r"(?P<scheme>msrps?)://"
    rf"(?:(?P<userinfo>(?:[{_UNRESERVED}{_SUB_DELIMS}:]|{_PCT})*)@)?"
    rf"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[{_UNRESERVED}!$&'()*+,=]|{_PCT})+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    rf"(?:/(?P<session_id>[{_UNRESERVED}+=/]+))?"
    r";(?P<transport>[A-Za-z0-9]+)"
    rf"(?P<parameters>(?:;{_TKN}(?:={_TKN})?)*)",
    re.IGNORECASE,
)
_PCT_UNRESERVED = re.compile(_PCT)


class UriError(ValueError):
    """Text that is not an MSRP URI or not a path of them; the message says which part is wrong."""


@dataclass(frozen=True, slots=True)
class MsrpUri:
    """One MSRP URI. `scheme` and `transport` are lower case, everything else stands as it was written.

    `host` has no brackets around an IPv6 address. `session_id` is None where the URI names a device, such as
    a relay.
    """

    scheme: str
    host: str
    port: int | None
    session_id: str | None
    transport: str = "tcp"
    userinfo: str | None = None
    parameters: tuple[str, ...] = ()

    @property
    def secure(self) -> bool:
        """True where the connection to this hop must be protected with TLS (RFC 4975 section 6)."""
        return self.scheme == "msrps"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.userinfo}@" if self.userinfo is not None else ""
        port = f":{self.port}" if self.port is not None else ""
        session = f"/{self.session_id}" if self.session_id is not None else ""
        parameters = "".join(f";{parameter}" for parameter in self.parameters)
        return f"{self.scheme}://{user}{host}{port}{session};{self.transport}{parameters}"

    def comparison_key(self) -> tuple[str, str, int | None, str | None, str]:
        """A value that is equal for two URIs exactly if they match after section 6.1."""
        return (self.scheme, normal_host(self.host), self.port, self.session_id, self.transport)

    def matches(self, other: MsrpUri) -> bool:
        """Compare after RFC 4975 section 6.1."""  # MED-03
        return self.comparison_key() == other.comparison_key()

    def is_address(self) -> bool:
        """True where the host is a numeric address and so needs no DNS (section 6.2)."""
        return _address(self.host) is not None


def parse_uri(text: str) -> MsrpUri:
    """Parse one MSRP URI; raises UriError."""
    if len(text) > MAX_URI_LENGTH:
        raise UriError(f"MSRP URI longer than {MAX_URI_LENGTH} characters")
    match = _URI.fullmatch(text)
    if match is None:
        raise UriError(f"not an MSRP URI: {text[:80]!r}")
    scheme, userinfo, host, port, session_id, transport, parameters = match.groups()
    number = None
    if port is not None:
        number = int(port)
        if number > 65535:
            raise UriError(f"port {port} out of range")
    if host.startswith("["):
        host = host[1:-1]
        try:
            IPv6Address(host)
        except ValueError:
            raise UriError(f"not an IPv6 address: {host!r}") from None
    return MsrpUri(
        scheme.lower(),
        host,
        number,
        session_id,
        transport.lower(),
        userinfo,
        tuple(parameters[1:].split(";")) if parameters else (),
    )


def parse_path(text: str) -> tuple[MsrpUri, ...]:
    """Parse `MSRP-URI *( SP MSRP-URI )`, the value of To-Path, From-Path or a=path; raises UriError."""
    parts = text.split(" ", MAX_PATH_HOPS + 1)
    if len(parts) > MAX_PATH_HOPS:
        raise UriError(f"more than {MAX_PATH_HOPS} URIs in a path")
    return tuple([parse_uri(part) for part in parts])


def format_path(path: tuple[MsrpUri, ...]) -> str:
    """The value of a path header."""
    return " ".join(map(str, path))


def normal_host(host: str) -> str:
    """A host in the form that compares after section 6.1, rule 2: addresses by value, names without case."""
    if "%" in host:
        host = _PCT_UNRESERVED.sub(_decode_unreserved, host)
    address = _address(host)
    return str(address) if address is not None else host.lower()


def _decode_unreserved(match: re.Match[str]) -> str:
    """Percent-encoding normalization (RFC 3986 section 6.2.2.2): only unreserved characters are decoded."""
    character = unquote(match.group(), errors="replace")
    return character if re.fullmatch(rf"[{_UNRESERVED}]", character) else match.group().upper()


def _address(host: str) -> IPv4Address | IPv6Address | None:
    if not host or host[-1] not in "0123456789abcdefABCDEF:":
        return None
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        return None
