"""Reads Kamailio's pseudo-variables as values."""

from __future__ import annotations

import KSR

from kemi.messages import TransactionId


def read(name: str) -> str:
    """A pseudo-variable as text, a missing one empty. Bytes that are not UTF-8, and NULs, which Kamailio's functions do
    not take back (SEC-05), become replacement characters."""
    try:
        value = KSR.pv.get(name)
    except UnicodeDecodeError as error:
        value = str(error.object, "utf-8", "replace")
    return "" if value is None else str(value).replace("\0", "\ufffd")


def read_bytes(name: str) -> bytes:
    """A pseudo-variable as the bytes on the wire."""
    try:
        value = KSR.pv.get(name)
    except UnicodeDecodeError as error:
        return bytes(error.object)
    return b"" if value is None else str(value).encode()


def number(name: str) -> int:
    """A numeric pseudo-variable, 0 when it is missing."""
    value = KSR.pv.get(name)
    return value if isinstance(value, int) else int(value or 0)


def setting(name: str) -> str | None:
    """A `#!define` of the configuration, without the quotes a string define keeps."""
    value = KSR.pv.get(f"$def({name})")
    return None if value is None else str(value).strip('"')


def current_transaction() -> TransactionId:
    """Identity of the transaction being routed; (-1, -1) outside of one."""
    index, label = KSR.pv.get("$T(id_index)"), KSR.pv.get("$T(id_label)")
    return (-1, -1) if index is None or label is None else (int(index), int(label))


def next_step(name: str) -> int:
    """Tell the native route that called us where to go on."""
    KSR.pv.sets("$var(im_next)", name)
    return 1


def keys_below(table: str, limit: int) -> list[str]:
    """Keys of a table whose value is less."""
    found = []
    if KSR.htable.sht_iterator_start("im_keys", table) < 0:
        return []
    while KSR.htable.sht_iterator_next("im_keys") > 0:
        if number("$shtitval(im_keys)") < limit:
            found.append(read("$shtitkey(im_keys)"))
    KSR.htable.sht_iterator_end("im_keys")
    return found
