"""Nodes of a document: found by a selector, read, inserted, replaced, removed (RFC 4825 sections 6.3, 7 and 8). Pure.

What a client puts goes into the document as the bytes that came, with their namespace declarations and white space: the
place is marked in the tree, and the mark is replaced in the text. So a GET gives back what was put.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, cast

import msgspec
from lxml import etree

from msrp_worker import safe_xml
from msrp_worker.xcap.report import Conflict, Kind
from msrp_worker.xcap.selector import Bindings, Name, NodeSelector, Step, UriError, attribute_value

ELEMENT: Final = "application/xcap-el+xml"
ATTRIBUTE: Final = "application/xcap-att+xml"
NAMESPACES: Final = "application/xcap-ns+xml"
MAX_BYTES: Final = 16 * 1024 * 1024
"""Largest document that is looked into, in bytes; what a client may send is bounded far below. A list of 20,000 deferred
messages has 12 MiB."""
_MARK = "xcap-mark"
_BOM = b"\xef\xbb\xbf"
_ATT_VALUE = re.compile(r"\"([^<\"]*)\"|'([^<']*)'", re.DOTALL)

Element = etree._Element


class Edited(msgspec.Struct, frozen=True):
    """A document with a change done to it."""

    body: bytes
    root: Element
    created: bool


def parse(body: bytes) -> Element:
    """The root of a document with everything in it. XmlError."""
    return safe_xml.parse(body, MAX_BYTES, keep_all=True)


def matches(root: Element, selector: NodeSelector) -> list[Element]:
    """The elements that the last step of a selector leaves; every step before it has to leave one (section 6.3)."""
    context: list[Element] = [root]
    for number, step in enumerate(selector.steps):
        if number:
            if len(context) != 1:
                return []
            context = _children(context[0])
        context = _left(context, step)
    if isinstance(selector.terminal, Name):
        tag = selector.terminal.tag
        context = [element for element in context if element.get(tag) is not None]
    return context


def select(root: Element, selector: NodeSelector) -> Element | None:
    """The one element that is selected, or that has the attribute or the bindings selected; None for no such node."""
    found = matches(root, selector)
    return found[0] if len(found) == 1 else None


def read(root: Element, selector: NodeSelector) -> tuple[str, bytes] | None:
    """Content type and bytes of a node (section 8.3), None when there is none."""
    found = select(root, selector)
    if found is None:
        return None
    if isinstance(selector.terminal, Name):
        return ATTRIBUTE, safe_xml.quoted(cast(str, found.get(selector.terminal.tag))).encode()
    if isinstance(selector.terminal, Bindings):
        return NAMESPACES, _bindings(found)
    return ELEMENT, _fragment_of(found)


def put(root: Element, selector: NodeSelector, content: bytes) -> Edited | Conflict:
    """Insert or replace an element or an attribute; `content` is the body of the request (sections 8.2.1 to 8.2.4).

    `root` is changed: it is of no more use afterwards.
    """
    if not _is_utf_8(content):
        return Conflict(Kind.NOT_UTF_8)
    if isinstance(selector.terminal, Name):
        return _put_attribute(root, selector, selector.terminal, content)
    parent: Element | None = None
    if len(selector.steps) > 1:
        parent = select(root, NodeSelector(selector.steps[:-1]))
        if parent is None:
            return _no_parent(root, selector)
    fragment = _bare(content)
    if not _is_fragment(fragment, root if parent is None else parent):
        return Conflict(Kind.NOT_XML_FRAGMENT, "not one well-formed element")
    target = select(root, selector)
    mark = etree.Element(_MARK)
    if target is not None:
        path = _path(target)
        if target is root:
            return _checked(_with_root(root, fragment), path, selector, created=False)
        mark.tail, target.tail = target.tail, None
        cast(Element, target.getparent()).replace(target, mark)
    elif parent is None:
        return Conflict(Kind.CANNOT_INSERT, "a document has one root element")
    elif not _insert(parent, selector.steps[-1], mark):
        return Conflict(Kind.CANNOT_INSERT, "there are too few elements before that position")
    path = _path(mark)
    return _checked(_text(root, mark, fragment), path, selector, created=target is None)


def delete(root: Element, selector: NodeSelector) -> Edited | Conflict | None:
    """Remove an element or an attribute (section 8.4); None when there is none. `root` is changed."""
    target = select(root, selector)
    if target is None:
        return None
    if isinstance(selector.terminal, Name):
        del target.attrib[selector.terminal.tag]
    elif target is root:
        return Conflict(Kind.SCHEMA_VALIDATION_ERROR, "a document has a root element")
    else:
        _remove(target)
    if matches(root, selector):
        return Conflict(Kind.CANNOT_DELETE, "the same request would delete another element next time")
    return Edited(_serialise(root), root, created=False)


def document(content: bytes) -> Element | Conflict:
    """The root of a document that a client puts (section 8.2.2)."""
    try:
        root = parse(content)
    except safe_xml.XmlError as error:
        return Conflict(Kind.NOT_WELL_FORMED, str(error))
    encoding = root.getroottree().docinfo.encoding or "UTF-8"
    if encoding.upper() not in ("UTF-8", "US-ASCII", "ASCII") or not _is_utf_8(content):
        return Conflict(Kind.NOT_UTF_8)
    return root


# --- selection


def _children(element: Element) -> list[Element]:
    return [child for child in element if isinstance(child.tag, str)]


def _left(elements: list[Element], step: Step) -> list[Element]:
    """Those that a step leaves: by name, then by each predicate in order."""
    if step.name is not None:
        elements = [element for element in elements if element.tag == step.name.tag]
    if step.position is not None:
        elements = elements[step.position - 1 : step.position] if step.position else []
    if step.attribute is not None:
        tag = step.attribute.tag
        elements = [element for element in elements if element.get(tag) == step.value]
    return elements


def _path(element: Element) -> tuple[int, ...]:
    """Where an element is: its number among the elements at each depth."""
    path: list[int] = []
    parent = element.getparent()
    while parent is not None:
        path.append(_children(parent).index(element))
        element, parent = parent, parent.getparent()
    return tuple(reversed(path))


def _ancestor(root: Element, selector: NodeSelector) -> int:
    """How many steps of a selector are there."""
    count = len(selector.steps) - 1
    while count and select(root, NodeSelector(selector.steps[:count])) is None:
        count -= 1
    return count


# --- insertion


def _insert(parent: Element, step: Step, mark: Element) -> bool:
    """Put the mark where section 8.2.3 wants the new element; False when there is no such place."""
    siblings = _children(parent)
    named = siblings if step.name is None else [one for one in siblings if one.tag == step.name.tag]
    if step.position is None:
        # The wildcard with an attribute goes behind all; a name behind the last of that name.
        if step.name is None or not named:
            parent.append(mark)
        else:
            _insert_after(named[-1], mark)
        return True
    if step.position > 1:
        if len(named) < step.position - 1:
            return False
        _insert_after(named[step.position - 2], mark)
        return True
    if step.position < 1:
        return False
    if named:
        parent.insert(parent.index(named[0]), mark)
    else:
        parent.append(mark)
    return True


def _insert_after(sibling: Element, mark: Element) -> None:
    """Directly behind the end tag, before the white space that follows it."""
    mark.tail, sibling.tail = sibling.tail, None
    parent = cast(Element, sibling.getparent())
    parent.insert(parent.index(sibling) + 1, mark)


def _put_attribute(root: Element, selector: NodeSelector, name: Name, content: bytes) -> Edited | Conflict:
    parent = select(root, NodeSelector(selector.steps))
    if parent is None:
        return _no_parent(root, selector)
    text = content.decode()
    quoted = _ATT_VALUE.fullmatch(text.strip())
    try:
        # COMPAT(clients that send the value without its quotes)
        value = attribute_value(text if quoted is None else quoted[1] or quoted[2] or "")
        created = parent.get(name.tag) is None
        parent.set(name.tag, value)
    except (UriError, ValueError):
        return Conflict(Kind.NOT_XML_ATTRIBUTE_VALUE)
    if select(root, selector) is not parent:
        return Conflict(Kind.CANNOT_INSERT, "the element would no longer be selected")
    return Edited(_serialise(root), root, created)


def _no_parent(root: Element, selector: NodeSelector) -> Conflict:
    return Conflict(Kind.NO_PARENT, f"{_ancestor(root, selector)} steps of the path exist")


def _checked(body: bytes, path: tuple[int, ...], selector: NodeSelector, *, created: bool) -> Edited | Conflict:
    """The new document, where the selector selects what was put (GET(PUT(x)) == x)."""
    try:
        root = parse(body)
    except safe_xml.XmlError as error:
        return Conflict(Kind.NOT_XML_FRAGMENT, str(error))
    found = select(root, selector)
    if found is None or _path(found) != path:
        return Conflict(Kind.CANNOT_INSERT, "the element is not what the URI says")
    return Edited(body, root, created)


def _is_fragment(content: bytes, parent: Element) -> bool:
    """Whether this is one element, well-formed where it is to stand, with the prefixes that are bound there."""
    wrapped = b"<%b%b>%b</%b>" % (_MARK.encode(), _declarations(parent), content, _MARK.encode())
    try:
        root = safe_xml.parse(wrapped, MAX_BYTES)
    except safe_xml.XmlError:
        return False
    children = _children(root)
    text = "".join([root.text or "", *(child.tail or "" for child in children)])
    return len(children) == 1 and not text.strip()


def _bare(content: bytes) -> bytes:
    return content.removeprefix(_BOM).strip(b" \t\r\n")


def _is_utf_8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# --- text


def _serialise(root: Element) -> bytes:
    return etree.tostring(root.getroottree(), xml_declaration=True, encoding="UTF-8")


def _text(root: Element, mark: Element, fragment: bytes) -> bytes:
    """The document with the mark replaced. What the mark looks like, no other node can: it has a name of its own."""
    name = _free_name(root)
    mark.tag = name
    text = _serialise(root)
    found = re.search(rb"<%b(?: [^>]*)?/>" % name.encode(), text)
    assert found is not None
    return text[: found.start()] + fragment + text[found.end() :]


def _with_root(root: Element, fragment: bytes) -> bytes:
    """The document with another root element; comments around it stay."""
    before = [etree.tostring(node, with_tail=False) for node in reversed(list(root.itersiblings(preceding=True)))]
    after = [etree.tostring(node, with_tail=False) for node in root.itersiblings()]
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + b"\n".join([*before, fragment, *after])


def _free_name(root: Element) -> str:
    """A name that does not occur in the document."""
    text = _serialise(root)
    return next(name for name in _names() if name.encode() not in text)


def _names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"xcap-place-{number}"


def _fragment_of(element: Element) -> bytes:
    """The element as it stands in its document, without the declarations of its ancestors (section 8.3)."""
    root = element.getroottree().getroot()
    if element is root:
        return etree.tostring(root, encoding="UTF-8", with_tail=False)
    name = _free_name(root)
    marks = etree.ProcessingInstruction(name), etree.ProcessingInstruction(name)
    element.addprevious(marks[0])
    tail, element.tail = element.tail, None
    element.addnext(marks[1])
    marks[1].tail = tail
    text = _serialise(root)
    for mark in marks:
        _remove(mark)
    return re.split(rb"<\?%b ?\?>" % name.encode(), text)[1]


def _remove(node: Element) -> None:
    """Take a node out; the white space around it stays."""
    parent = cast(Element, node.getparent())
    previous = node.getprevious()
    if node.tail:
        if previous is None:
            parent.text = (parent.text or "") + node.tail
        else:
            previous.tail = (previous.tail or "") + node.tail
    node.tail = None
    parent.remove(node)


def _bindings(element: Element) -> bytes:
    """application/xcap-ns+xml (section 10): the element's name, and each namespace in scope."""
    local = etree.QName(element).localname
    name = f"{element.prefix}:{local}" if element.prefix else local
    return b"<%b%b/>" % (name.encode(), _declarations(element))


def _declarations(element: Element) -> bytes:
    found = sorted(element.nsmap.items(), key=lambda item: item[0] or "")
    texts = (f" xmlns{':' + prefix if prefix else ''}={safe_xml.quoted(uri)}" for prefix, uri in found)
    return "".join(texts).encode()
