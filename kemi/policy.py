"""The operator's policy as the procedures see it, read once per process from the settings of `im.cfg`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kemi.sip_values import Mark

PAGER_DATAGRAM_LIMIT = 1300
"""Bytes of a whole MESSAGE request over a transport without congestion control (RFC 3428 section 8, PAG-10)."""

LARGEST_SIZE = 1 << 40
"""Bytes; a larger size, or number of anything, is a slip of the keyboard."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Service-wide values; a user's own (facts of the store) win where they exist."""

    domain: str = "example.com"
    """The served domain (COR-04)."""
    pager_max_size: int = 32768
    """Bytes of a MESSAGE body (PAG-03)."""
    content_types: tuple[str, ...] = ("*",)
    """Allowed content types, lower case; `*` and `text/*` work (PAG-03)."""
    anonymity: bool = True
    """Whether Privacy: id is accepted outside groups (IDN-05)."""
    barred_response: int = 480
    """Status when the recipient bars incoming messages (PAG-06)."""
    media_path: str = "auto"
    """Whether the participating function stays in the media path of sessions (PFS-02): auto, always, never."""
    header_max_size: int = 16384
    """Bytes of all headers of a request together (SEC-05). A MESSAGE of a real client needs 1 to 2 KiB."""
    retry_after: int = 5
    """Seconds told to clients while the worker is away (SEC-06): its restart takes about one."""
    answer_timeout: int = 4000
    """Milliseconds a suspended request waits for the worker before it gets 503 (SEC-06). Well below the 32 s of a
    client's non-INVITE transaction, well above a storage stall."""
    beat_timeout: float = 1.5
    """Seconds without a heartbeat after which the worker counts as hung; it beats four times a second."""
    state_dir: str = "./var"
    """Where the worker keeps the question socket and the control key."""


def _whole(low: int, high: int = LARGEST_SIZE) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise ValueError(f"a whole number, {low} to {high}")
        return int(text)

    return convert


def _content_types(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip()) or ("*",)


def _anonymity(text: str) -> bool:
    if text.lower() not in ("allow", "refuse"):
        raise ValueError("allow or refuse")
    return text.lower() == "allow"


def _media_path(text: str) -> str:
    if text.lower() not in ("auto", "always", "never"):
        raise ValueError("auto, always or never")
    return text.lower()


def load(setting: Callable[[str], str | None]) -> Policy:
    """Build the policy; `setting` returns the text of a named setting or None. ValueError names a bad one."""

    def read(name: str, convert: Callable[[str], object], default: object) -> object:
        text = (setting(name) or "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            raise ValueError(f"setting {name} = {text!r}: expected {error}") from error

    base = Policy()
    values = {
        "domain": read("IM_DOMAIN", str.lower, base.domain),
        "pager_max_size": read("IM_PAGER_MAX_SIZE", _whole(0), base.pager_max_size),
        "content_types": read("IM_CONTENT_TYPES", _content_types, base.content_types),
        "anonymity": read("IM_ANONYMITY", _anonymity, base.anonymity),
        "barred_response": read("IM_BARRED_RESPONSE", _whole(400, 699), base.barred_response),
        "media_path": read("IM_MEDIA_PATH", _media_path, base.media_path),
        "header_max_size": read("IM_HEADER_MAX_SIZE", _whole(1), base.header_max_size),
        "retry_after": read("IM_RETRY_AFTER", _whole(0), base.retry_after),
        "answer_timeout": read("IM_ANSWER_TIMEOUT", _whole(1), base.answer_timeout),
        "state_dir": read("IM_STATE_DIR", str, base.state_dir),
    }
    return Policy(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Flags:
    """Numbers of the message flags, and of the branch flags, that `im.cfg` uses."""

    trusted: int
    separate_core: int
    serves_recipient: int
    marks: Mapping[Mark, int]


def load_flags(setting: Callable[[str], str | None]) -> Flags:
    """The flags as they are defined in the configuration."""

    def flag(name: str) -> int:
        return int(setting(name) or 0)

    return Flags(
        trusted=flag("IM_FLAG_TRUSTED"),
        separate_core=flag("IM_FLAG_SEPARATE_CORE"),
        serves_recipient=flag("IM_FLAG_SERVES_RECIPIENT"),
        marks={mark: flag(mark.value) for mark in Mark},
    )
