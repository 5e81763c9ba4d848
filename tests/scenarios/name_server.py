"""A name server for hosts in network namespaces: enough DNS (RFC 1035, RFC 2782) for two SIP domains to find each other."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping

PORT = 53
TTL = 300
_A, _SRV, _IN = 1, 33, 1
_ANSWER, _NO_ERROR, _NO_SUCH_NAME = 0x8580, 0, 3  # a response, authoritative
SIP_PORT = 5060
SERVICES = ("_sip._udp.", "_sip._tcp.")


def answer(query: bytes, hosts: Mapping[str, str]) -> bytes:
    """The response to a query for an address of a host, or for the SIP services of a domain, which its own host gives.

    Every other type has no records, every other name does not exist. Raises ValueError, struct.error or IndexError for
    what is no query.
    """
    ident, _, questions = struct.unpack_from("!HHH", query)
    if questions != 1:
        raise ValueError("not one question")
    labels, end = [], 12
    while length := query[end]:
        labels.append(query[end + 1 : end + 1 + length].decode("ascii").lower())
        end += 1 + length
    name = ".".join(labels)
    kind, _ = struct.unpack_from("!HH", query, end + 1)
    question = query[12 : end + 5]
    domain = next((name.removeprefix(service) for service in SERVICES if name.startswith(service)), "")
    data = b""
    if kind == _A and name in hosts:
        data = socket.inet_aton(hosts[name])
    elif kind == _SRV and domain in hosts:
        data = struct.pack("!HHH", 10, 10, SIP_PORT) + _name(domain)
    known = name in hosts or domain in hosts
    head = struct.pack("!HHHHHH", ident, _ANSWER | (_NO_ERROR if known else _NO_SUCH_NAME), 1, 1 if data else 0, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, kind, _IN, TTL, len(data)) + data if data else b""
    return head + question + record


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in text.split(".")) + b"\0"


class NameServer:
    """Answers at `address` with what `hosts` says; made on the host that has the address. `close` ends it."""

    def __init__(self, address: str, hosts: Mapping[str, str]) -> None:
        self._hosts = hosts
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, PORT))
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it: an empty datagram is its end."""
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, source = self._socket.recvfrom(512)
            if not query:
                return
            try:
                self._socket.sendto(answer(query, self._hosts), source)
            except (ValueError, struct.error, IndexError):
                continue
