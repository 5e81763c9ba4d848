"""Conditional requests (RFC 4825 sections 7.11 and 8.2.6; RFC 9110 section 13). Pure."""

from __future__ import annotations

import re

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')


def failed(method: str, if_match: str | None, if_none_match: str | None, etag: str | None) -> int | None:
    """The status of a request whose conditions do not hold: 304 or 412; None when they do.

    `etag` is that of the document, without quotes, None when there is none; each resource within it has the same.
    """
    if if_match is not None and not _matches(if_match, etag, weakly=False):
        return 412
    if if_none_match is not None and _matches(if_none_match, etag, weakly=True):
        return 304 if method in ("GET", "HEAD") else 412
    return None


def _matches(header: str, etag: str | None, *, weakly: bool) -> bool:
    if etag is None:
        return False
    if header.strip() == "*":
        return True
    found = [_TAG.fullmatch(part) for part in re.findall(r'\s*(?:W/)?"[^"]*"\s*', header)]
    return any(tag is not None and tag[2] == etag and (weakly or not tag[1]) for tag in found)
