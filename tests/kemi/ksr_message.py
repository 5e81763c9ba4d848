"""A SIP request as the fake Kamailio has received it."""

from __future__ import annotations

from dataclasses import dataclass, field

COMPACT = {"a": "accept-contact", "c": "content-type", "f": "from", "i": "call-id", "l": "content-length"} | {
    "m": "contact",
    "s": "subject",
    "t": "to",
    "v": "via",
}


@dataclass
class Message:
    """A SIP request as it was received."""

    raw: bytes
    transport: str = "udp"
    source: tuple[str, int] = ("127.0.0.1", 5060)
    flags: set[int] = field(default_factory=set)
    method: bytes = field(init=False)
    request_uri: bytes = field(init=False)
    headers: list[tuple[str, bytes]] = field(init=False)
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        head, _, self.body = self.raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        self.method, self.request_uri, _ = first.split(b" ", 2)
        pairs = [line.partition(b":") for line in lines]
        names = [name.decode("latin-1").strip().lower() for name, _, _ in pairs]
        self.headers = [(COMPACT.get(name, name), pair[2].strip()) for name, pair in zip(names, pairs, strict=True)]

    def values(self, name: str) -> list[bytes]:
        """Bodies of all headers of that name, compact or not."""
        wanted = COMPACT.get(name.lower(), name.lower())
        return [value for name, value in self.headers if name == wanted]

    def value(self, name: str) -> bytes | None:
        """Body of the first one."""
        return next(iter(self.values(name)), None)
