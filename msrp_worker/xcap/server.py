"""What a request does to a document (RFC 4825 section 8), without HTTP's bytes and without knowing who asks: whoever comes
here may do what the request says."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from msrp_worker.xcap import conditions, report, tree
from msrp_worker.xcap.report import Conflict, Kind
from msrp_worker.xcap.selector import Bindings, Name, NodeSelector, XcapUri, node_selector
from msrp_worker.xcap.usage import READ, Change, Document, Done, Gone, Lost, Outcome, Place, Usage

TRIES: Final = 5
"""How often a change is worked out anew because somebody else was faster."""
LARGE: Final = 65_536
"""Bytes of a document above which it is taken apart in a thread: the event loop goes on meanwhile."""


class Request(msgspec.Struct, frozen=True):
    """A request for an XCAP resource."""

    method: str
    content_type: str = ""
    if_match: str | None = None
    if_none_match: str | None = None
    body: bytes = b""


class Response(msgspec.Struct, frozen=True):
    """The answer to one."""

    status: int
    body: bytes = b""
    content_type: str = ""
    etag: str | None = None
    allow: tuple[str, ...] = ()
    why: str = ""
    """For the log."""


async def serve(usage: Usage, place: Place, uri: XcapUri, request: Request) -> Response:
    """Answer one request. UriError for a node selector that cannot be; StoreError."""
    node = None if uri.node is None else node_selector(uri.node, uri.query, usage.namespace)
    allowed = usage.methods if node is None or not isinstance(node.terminal, Bindings) else READ
    if request.method not in allowed:
        return Response(405, allow=tuple(sorted(allowed)), why="method not allowed")
    if request.method == "PUT" and essence(request.content_type) != expected_type(usage, node):
        return Response(415, why="wrong content type")
    for _ in range(TRIES):
        found = await usage.fetch(place, node)
        answer = await _serve_once(usage, place, node, request, found)
        if answer is not None:
            return answer
    return Response(503, why="the document changes too often")


def expected_type(usage: Usage, node: NodeSelector | None) -> str:
    """The content type that a PUT has to have."""
    if node is None:
        return usage.content_type
    return tree.ATTRIBUTE if isinstance(node.terminal, Name) else tree.ELEMENT


def essence(content_type: str) -> str:
    """A media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


async def _serve_once(
    usage: Usage, place: Place, node: NodeSelector | None, request: Request, found: Document | None
) -> Response | None:
    """The answer; None when somebody else has changed the document meanwhile."""
    heavy = found is not None and len(found.body) > LARGE

    def work() -> Response | Change:
        return _reading(usage, node, found) if request.method in READ else _changing(usage, node, request, found)

    outcome = await asyncio.to_thread(work) if heavy else work()
    if isinstance(outcome, Response) and outcome.status == 404:
        return outcome
    # RFC 9110 section 13.2.1: conditions count where the request could be done but for them.
    status = conditions.failed(request.method, request.if_match, request.if_none_match, found.etag if found else None)
    if status is not None:
        why = "" if status == 304 else "a condition does not hold"
        return Response(status, etag=found.etag if found else None, why=why)
    if isinstance(outcome, Response):
        return outcome
    return _told(outcome, await usage.change(place, outcome))


def _reading(usage: Usage, node: NodeSelector | None, found: Document | None) -> Response:
    """Section 8.3."""
    if found is None:
        return Response(404, why="no such document")
    if node is None:
        return Response(200, found.body, usage.content_type, found.etag)
    selected = tree.read(tree.parse(found.body), node)
    if selected is None:
        return Response(404, why="no such node")
    return Response(200, selected[1], selected[0], found.etag)


def _changing(usage: Usage, node: NodeSelector | None, request: Request, found: Document | None) -> Response | Change:
    """What a PUT or DELETE would do (sections 8.2 and 8.4), or why it cannot."""
    change = _deletion(node, found) if request.method == "DELETE" else _insertion(node, found, request.body)
    if change is None:
        return Response(404, why="no such document" if found is None else "no such node")
    if isinstance(change, Conflict):
        return conflict(change)
    wrong = None if change.root is None else usage.check(change.root)
    return change if wrong is None else conflict(wrong)


def _deletion(node: NodeSelector | None, found: Document | None) -> Change | Conflict | None:
    if found is None:
        return None
    if node is None:
        return Change(found, None, None)
    root = tree.parse(found.body)
    selected = tree.select(root, node)
    edited = tree.delete(tree.parse(found.body), node)
    if selected is None or edited is None or isinstance(edited, Conflict):
        return edited if isinstance(edited, Conflict) else None
    return Change(found, edited.body, edited.root, removed=selected, attribute=node.terminal is not None)


def _insertion(node: NodeSelector | None, found: Document | None, body: bytes) -> Change | Conflict:
    if node is None:
        root = tree.document(body)
        return root if isinstance(root, Conflict) else Change(found, body, root, created=found is None)
    if found is None:
        return Conflict(Kind.NO_PARENT, "there is no such document")
    edited = tree.put(tree.parse(found.body), node, body)
    return edited if isinstance(edited, Conflict) else Change(found, edited.body, edited.root, created=edited.created)


def _told(change: Change, outcome: Outcome) -> Response | None:
    match outcome:
        case Done(etag):
            return Response(201 if change.created else 200, etag=etag)
        case Gone():
            return Response(404, why="gone meanwhile")
        case Lost():
            return None
        case _:
            return conflict(outcome)


def conflict(found: Conflict) -> Response:
    """409 with its report."""
    return Response(409, report.build(found), report.CONTENT_TYPE, why=f"{found.kind.value} {found.phrase}".strip())
