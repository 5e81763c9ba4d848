"""One spelling for each IM address, so that equal addresses are equal strings.

sip and sips after RFC 3261 section 19.1.4, tel after RFC 3966 section 4.
"""

from __future__ import annotations

import functools
import ipaddress
import re

LONGEST_ADDRESS = 255
"""Characters of an address that is stored: the width of its column."""

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")

# userinfo = ( user / telephone-subscriber ) [ ":" password ] "@"   (RFC 3261 section 25.1)
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})+")
_PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*")
# paramchar and hnv-unreserved of the same section, in one class
_PARAMETER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})+")
_HEADER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$]|%[0-9A-Fa-f]{2})*")
_HOSTNAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.?")

_TELLING_PARAMETERS = frozenset({"transport", "user", "ttl", "method", "maddr"})
"""Present in only one of two URIs, these make them different; any other one is ignored then (19.1.4)."""

_SEPARATORS = str.maketrans("", "", "-.()")
_GLOBAL_NUMBER = re.compile(r"\+[0-9]+")
_LOCAL_NUMBER = re.compile(r"[0-9a-f*#]+")
_TEL_PARAMETER = re.compile(r"[a-z0-9-]+")


@functools.lru_cache(maxsize=8192)
def canonical(address: str) -> str:
    """The one spelling of a sip, sips or tel URI, the same for URIs that match. ValueError on others."""
    scheme, colon, rest = address.strip().partition(":")
    scheme = scheme.lower()
    if not colon or len(address) > LONGEST_ADDRESS or not address.isascii():
        raise ValueError(f"not an address: {address[:LONGEST_ADDRESS]!r}")
    if scheme in ("sip", "sips"):
        return f"{scheme}:{_canonical_sip(rest, address)}"
    if scheme == "tel":
        return f"tel:{_canonical_tel(rest, address)}"
    raise ValueError(f"not a sip, sips or tel URI: {address!r}")


def of_record(address: str) -> str:
    """Whom a URI means, as users are known once they are authenticated: `sip:user@host` without port, password,
    parameters and header components, for sips too; the canonical address for tel. ValueError."""
    found = canonical(address)
    domain = domain_of(found)
    if domain is None:
        return found
    user, at, _ = found.partition(":")[2].rpartition("@")
    return f"sip:{user.partition(':')[0]}{at}{domain}"


def domain_of(address: str) -> str | None:
    """The host of a canonical sip or sips URI, None for other addresses (RFC 4745 section 7.1.3)."""
    if not address.startswith(("sip:", "sips:")):
        return None
    host = address.partition(":")[2].rpartition("@")[2]
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return re.split("[:;?]", host, maxsplit=1)[0]


def user_address(name: str, domain: str) -> str:
    """Canonical address for what an operator types: `alice`, `alice@domain` or a URI. ValueError."""
    if ":" in name:
        return canonical(name)
    return canonical(f"sip:{name}" if "@" in name else f"sip:{name}@{domain}")


def _canonical_sip(rest: str, address: str) -> str:
    userinfo, at, tail = rest.rpartition("@")
    tail, question, headers = tail.partition("?")
    hostport, *parameters = tail.split(";")
    result = _host_and_port(hostport, address)
    if at:
        user, colon, password = userinfo.partition(":")
        if not _USER.fullmatch(user) or not _PASSWORD.fullmatch(password):
            raise ValueError(f"not a user in {address!r}")
        result = f"{_unescape(user)}{colon}{_unescape(password)}@{result}"
    kept = []
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not _PARAMETER.fullmatch(name) or (equals and not _PARAMETER.fullmatch(value)):
            raise ValueError(f"not a parameter in {address!r}")
        if _unescape(name).lower() in _TELLING_PARAMETERS:
            kept.append(f";{_unescape(name)}{equals}{_unescape(value)}".lower())
    result += "".join(sorted(kept))
    if question:  # header components are never ignored
        result += "?" + "&".join(sorted(_header(header, address) for header in headers.split("&")))
    return result


def _header(header: str, address: str) -> str:
    name, equals, value = header.partition("=")
    if not name or not equals or not _HEADER.fullmatch(name) or not _HEADER.fullmatch(value):
        raise ValueError(f"not a header in {address!r}")
    return f"{_unescape(name).lower()}={_unescape(value)}"


def _host_and_port(hostport: str, address: str) -> str:
    if hostport.startswith("["):
        host, bracket, port = hostport.partition("]")
        host = f"[{ipaddress.IPv6Address(host[1:]).compressed}]" if bracket else ""
        if port and not port.startswith(":"):
            raise ValueError(f"not a host in {address!r}")
        port = port[1:]
    else:
        host, colon, port = hostport.lower().partition(":")
        if (colon and not port) or not _HOSTNAME.fullmatch(host):
            raise ValueError(f"not a host in {address!r}")
    if not host or (port and (not port.isdigit() or not 0 < int(port) < 65536)):
        raise ValueError(f"not a host and port in {address!r}")
    return f"{host}:{int(port)}" if port else host


def _unescape(text: str) -> str:
    """Escapes of unreserved characters replaced by the characters, other escapes with capital digits."""

    def one(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return _ESCAPED.sub(one, text) if "%" in text else text


def _canonical_tel(rest: str, address: str) -> str:
    """RFC 3966 section 4: separators do not count, case does not, parameters in any order."""
    digits, *parameters = rest.lower().split(";")
    digits = digits.translate(_SEPARATORS)
    named: dict[str, str] = {}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if not _TEL_PARAMETER.fullmatch(name) or name in named or (value and not _PARAMETER.fullmatch(value)):
            raise ValueError(f"not a parameter in {address!r}")
        if name == "ext" or (name == "phone-context" and value.startswith("+")):
            value = value.translate(_SEPARATORS)
        named[name] = _unescape(value)
    is_local = not digits.startswith("+")
    if not (_LOCAL_NUMBER if is_local else _GLOBAL_NUMBER).fullmatch(digits):
        raise ValueError(f"not a telephone number: {address!r}")
    if is_local and not named.get("phone-context"):
        raise ValueError(f"a local number without phone-context: {address!r}")
    return digits + "".join(f";{name}={value}" if value else f";{name}" for name, value in sorted(named.items()))
