"""XCAP URIs (RFC 4825 section 6): which document, and which node of it. Pure.

`split` takes a request-target apart; `node_selector` reads the part behind `~~` with the namespace that the application
usage defines. A URI that breaks the rules is a UriError with its HTTP status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

SEPARATOR: Final = "~~"
XML_NAMESPACE: Final = "http://www.w3.org/XML/1998/namespace"
MAX_STEPS: Final = 32
"""Steps of a node selector; documents of the service are less than ten elements deep."""
MAX_BINDINGS: Final = 32
"""Namespace prefixes of one URI."""

_NCNAME = r"[^\W\d][\w.\-\u00b7]*"
_QNAME = rf"(?:{_NCNAME}:)?{_NCNAME}"
# step = NameorAny [ "[" position "]" ] [ "[" "@" att-name "=" att-value "]" ]   (section 6.3)
_STEP = re.compile(
    rf"(?P<name>\*|{_QNAME})(?:\[(?P<position>[0-9]{{1,9}})\])?"
    rf"(?:\[@(?P<attribute>{_QNAME})=(?P<value>\"[^<\"]*\"|'[^<']*')\])?",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(rf"@({_QNAME})")
_NAMESPACES = "namespace::*"
_REFERENCE = re.compile(r"&(?:#x([0-9A-Fa-f]{1,6})|#([0-9]{1,7})|(amp|lt|gt|quot|apos));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_BINDING = re.compile(rf"\s*({_NCNAME})\s*=\s*(.*?)\s*", re.DOTALL)
_SCHEME = re.compile(rf"\s*({_QNAME})\(")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

_IN_PATH = "!$&'()*+,;=:@"
"""What a path segment may hold beside unreserved characters (RFC 3986 section 3.3)."""


class UriError(Exception):
    """A URI that names nothing here; `status` is the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Name(msgspec.Struct, frozen=True):
    """An expanded name; no namespace is empty."""

    namespace: str
    local: str

    @property
    def tag(self) -> str:
        """As lxml writes it."""
        return f"{{{self.namespace}}}{self.local}" if self.namespace else self.local


class Step(msgspec.Struct, frozen=True):
    """One step of an element selector. `name` None is the wildcard."""

    name: Name | None
    position: int | None = None
    attribute: Name | None = None
    value: str = ""
    """Of the attribute."""


class Bindings(msgspec.Struct, frozen=True):
    """The terminal selector `namespace::*`."""


Terminal = Name | Bindings | None
"""An attribute, the namespace bindings, or None: the element itself."""


class NodeSelector(msgspec.Struct, frozen=True):
    """A node of a document."""

    steps: tuple[Step, ...]
    terminal: Terminal = None


class XcapUri(msgspec.Struct, frozen=True):
    """A document, and where there is one, the part behind `~~` as it came: segments and query still encoded."""

    auid: str
    user: str | None
    """XUI as it came, decoded; None: the global tree."""
    document: tuple[str, ...]
    """Path below the home directory, the file name last."""
    node: tuple[str, ...] | None = None
    query: str = ""


def split(target: str, root: str) -> XcapUri:
    """A request-target under the XCAP root, a path that begins and ends with `/`. UriError 404 or 400."""
    path, _, query = target.partition("?")
    if not path.startswith(root):
        raise UriError(404, "outside the XCAP root")
    segments = path[len(root) :].split("/")
    decoded = []
    node = None
    for index, segment in enumerate(segments):
        text = decode(segment)
        if text == SEPARATOR:
            node = tuple(segments[index + 1 :])
            break
        decoded.append(text)
    if len(decoded) < 3 or not all(decoded):
        raise UriError(404, "no document")
    auid, tree, *rest = decoded
    if tree == "global":
        return XcapUri(auid, None, tuple(rest), node, query)
    if tree != "users" or len(rest) < 2:
        raise UriError(404, "neither a user's document nor a global one")
    return XcapUri(auid, rest[0], tuple(rest[1:]), node, query)


def decode(text: str) -> str:
    """Percent-encoded UTF-8 as text. UriError 400 for anything else."""
    if "%" not in text and text.isascii():
        return text
    if _PERCENT.search(text):
        raise UriError(400, "a percent sign without two digits")
    data = re.sub(rb"%(..)", lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "surrogateescape"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UriError(400, "not UTF-8") from None


def node_selector(segments: Sequence[str], query: str, default_namespace: str) -> NodeSelector:
    """The node selector of a URI (section 6.3). UriError: 400 for an undefined prefix or no selector at all, 404 for an
    expression that is an extension nobody has defined (section 8)."""
    bindings = namespace_bindings(query)
    texts = [decode(segment) for segment in segments]
    if not texts or not all(texts):
        raise UriError(400, "an empty step")
    if len(texts) > MAX_STEPS:
        raise UriError(404, "too many steps")
    terminal: Terminal = None
    if texts[-1] == _NAMESPACES:
        terminal = Bindings()
    elif (found := _ATTRIBUTE.fullmatch(texts[-1])) is not None:
        terminal = _expand(found[1], bindings, "")
    if terminal is not None:
        texts.pop()
    if not texts:
        raise UriError(404, "an attribute of nothing")
    return NodeSelector(tuple(_step(text, bindings, default_namespace) for text in texts), terminal)


def namespace_bindings(query: str) -> dict[str, str]:
    """Prefixes and namespaces of the xmlns() parts of a query (section 6.4); other schemes are ignored. UriError 400."""
    text, position = decode(query), 0
    found = {"xml": XML_NAMESPACE}
    while position < len(text.rstrip()):
        scheme = _SCHEME.match(text, position)
        if scheme is None:
            raise UriError(400, "the query is no xpointer expression")
        data, position = _scheme_data(text, scheme.end())
        if scheme[1] != "xmlns":
            continue
        binding = _BINDING.fullmatch(data)
        if binding is None or not binding[2]:
            raise UriError(400, "not a namespace binding")
        found[binding[1]] = binding[2]
        if len(found) > MAX_BINDINGS:
            raise UriError(400, "too many namespace bindings")
    return found


def _scheme_data(text: str, start: int) -> tuple[str, int]:
    """What stands between balanced parentheses, `^` escaping one; and the position behind them."""
    depth, data, index = 1, [], start
    while index < len(text):
        character = text[index]
        index += 1
        if character == "^" and index < len(text):
            data.append(text[index])
            index += 1
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return "".join(data), index
        data.append(character)
    raise UriError(400, "the query has an open parenthesis")


def _step(text: str, bindings: Mapping[str, str], default_namespace: str) -> Step:
    found = _STEP.fullmatch(text)
    if found is None:
        raise UriError(404, "an expression that is not understood")
    name = None if found["name"] == "*" else _expand(found["name"], bindings, default_namespace)
    position = None if found["position"] is None else int(found["position"])
    if found["attribute"] is None:
        return Step(name, position)
    return Step(name, position, _expand(found["attribute"], bindings, ""), _value(found["value"]))


def _expand(name: str, bindings: Mapping[str, str], default_namespace: str) -> Name:
    prefix, colon, local = name.rpartition(":")
    if not colon:
        return Name(default_namespace, name)
    if prefix not in bindings:
        raise UriError(400, f"the prefix {prefix} is not defined in the query")  # section 8
    return Name(bindings[prefix], local)


def _value(quoted: str) -> str:
    return attribute_value(quoted[1:-1], 404)


def attribute_value(text: str, status: int = 409) -> str:
    """The text of an AttValue without its quotes, references replaced. UriError with `status` for what cannot be one."""
    if "<" in text or "&" in _REFERENCE.sub("", text):
        raise UriError(status, "not an attribute value")
    return _REFERENCE.sub(lambda match: _character(match, status), text)


def _character(match: re.Match[str], status: int) -> str:
    if match[3]:
        return _NAMED[match[3]]
    code = int(match[1], 16) if match[1] else int(match[2])
    if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (code < 0x20 and code not in (9, 10, 13)) or code in (0xFFFE, 0xFFFF):
        raise UriError(status, "a reference to no character")
    return chr(code)


def encode_segment(text: str) -> str:
    """One path segment of a URI."""
    return quote(text, safe=_IN_PATH)
