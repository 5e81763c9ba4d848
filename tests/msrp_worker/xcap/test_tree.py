"""Nodes read, put and deleted: the examples of RFC 4825, and what may not be."""

from __future__ import annotations

import pytest

from msrp_worker.xcap import tree
from msrp_worker.xcap.report import Conflict, Kind
from msrp_worker.xcap.selector import NodeSelector, node_selector, split

ROOT = b"""<root>
 <el1 att="first"/>
 <el1 att="second"/>
 <!-- comment -->
 <el2 att="first"/>
</root>"""
"""Section 8.2.3."""

SPACES = b"""<foo xmlns="urn:test:default-namespace">
  <ns1:bar xmlns:ns1="urn:test:namespace1-uri" xmlns="urn:test:namespace1-uri">
    <baz/>
    <ns2:baz xmlns:ns2="urn:test:namespace2-uri"/>
  </ns1:bar>
  <ns3:hi xmlns:ns3="urn:test:namespace3-uri">
    <there/>
  </ns3:hi>
</foo>"""
"""Section 6.4."""

DECLARATION = b"<?xml version='1.0' encoding='UTF-8'?>\n"
A, B = "xmlns(a=urn:test:namespace1-uri)", "xmlns(b=urn:test:namespace2-uri)"


def selector(path: str, query: str = "", namespace: str = "") -> NodeSelector:
    return node_selector(path.split("/"), query, namespace)


def in_spaces(path: str, query: str = "") -> NodeSelector:
    return selector(path, query, "urn:test:default-namespace")


def put(document: bytes, node: NodeSelector, content: bytes) -> bytes | Kind:
    """The new document without its declaration, or what was wrong."""
    found = tree.put(tree.parse(document), node, content)
    return found.kind if isinstance(found, Conflict) else found.body.removeprefix(DECLARATION)


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("path", "content", "before"),
    [
        ('root/el1[@att="third"]', b'<el1 att="third"/>', b"\n <!-- comment -->"),
        ('root/el1[3][@att="third"]', b'<el1 att="third"/>', b"\n <!-- comment -->"),
        ('root/*[3][@att="third"]', b'<el1 att="third"/>', b"\n <!-- comment -->"),
        ("root/el3", b'<el3 att="first"/>', b"</root>"),
        ("root/el3[1]", b'<el3 att="first"/>', b"</root>"),
        ('root/*[@att="new"]', b'<el1 att="new"/>', b"</root>"),
        ('root/el2[@att="2"]', b'<el2 att="2"/>', b"\n</root>"),
        ('root/el2[2][@att="2"]', b'<el2 att="2"/>', b"\n</root>"),
        ('root/*[2][@att="2"]', b'<el2 att="2"/>', b'\n <el1 att="second"/>'),
        ('root/el2[1][@att="2"]', b'<el2 att="2"/>', b'<el2 att="first"/>'),
        ('root/*[1][@att="0"]', b'<el2 att="0"/>', b'<el1 att="first"/>'),
        ('root/*[4][@att="4"]', b'<el9 att="4"/>', b"\n</root>"),
    ],
)
def test_where_a_new_element_goes(path: str, content: bytes, before: bytes) -> None:
    """Section 8.2.3: last, earliest last, or earliest nth."""
    expected = ROOT.replace(before, content + before)
    assert put(ROOT, selector(path), content) == expected
    created = tree.put(tree.parse(ROOT), selector(path), content)
    assert isinstance(created, tree.Edited) and created.created
    assert tree.read(created.root, selector(path)) == (tree.ELEMENT, content)


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (
            "root/el2",
            b'<el2 att="x"> <!-- c --><y/></el2>',
            ROOT.replace(b'<el2 att="first"/>', b'<el2 att="x"> <!-- c --><y/></el2>'),
        ),
        ("root/el1[2]", b"<el1/>", ROOT.replace(b'<el1 att="second"/>', b"<el1/>")),
        ("root/*[2]", b"<el5/>", ROOT.replace(b'<el1 att="second"/>', b"<el5/>")),
        ("root/el2/@att", b'"a&amp;&lt;&#34;"', ROOT.replace(b'el2 att="first"', b'el2 att="a&amp;&lt;&quot;"')),
        ("root/el2/@att", b"'x'", ROOT.replace(b'el2 att="first"', b'el2 att="x"')),
        ("root/el2/@att", b"plain", ROOT.replace(b'el2 att="first"', b'el2 att="plain"')),
        ("root/el2/@new", b'""', ROOT.replace(b'el2 att="first"', b'el2 att="first" new=""')),
    ],
)
def test_what_is_replaced_or_set(path: str, content: bytes, expected: bytes) -> None:
    assert put(ROOT, selector(path), content) == expected


@pytest.mark.requirement("XDM-01")
def test_the_root_element_is_replaced_and_what_stands_around_it_stays() -> None:
    found = put(b"<!-- a --><root/><!-- b -->", selector("root"), b"<root>x</root>")
    assert found == b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- a -->\n<root>x</root>\n<!-- b -->'


@pytest.mark.requirement("XDM-01", "SEC-05")
@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("root/el9/el1", b"<el1/>", Kind.NO_PARENT),
        ("root/el1/x", b"<x/>", Kind.NO_PARENT),  # two of them
        ("root/el9/@a", b'"x"', Kind.NO_PARENT),
        ("other", b"<other/>", Kind.CANNOT_INSERT),
        ("root", b"<other/>", Kind.CANNOT_INSERT),
        ('root/el1[@att="third"]', b'<el1 att="fourth"/>', Kind.CANNOT_INSERT),
        ('root/el1[@att="third"]', b'<el2 att="third"/>', Kind.CANNOT_INSERT),
        ('root/el1[@att="first"]', b'<el1 att="second"/>', Kind.CANNOT_INSERT),
        ("root/el1", b"<el1/>", Kind.CANNOT_INSERT),  # there are two already
        ("root/el1[1]", b"<el3/>", Kind.CANNOT_INSERT),  # the other one would be the first then
        ("root/el1[4]", b"<el1/>", Kind.CANNOT_INSERT),
        ("root/el1[0]", b"<el1/>", Kind.CANNOT_INSERT),
        ("root/el3[2]", b"<el3/>", Kind.CANNOT_INSERT),
        ("root/*[9]", b"<el3/>", Kind.CANNOT_INSERT),
        ('root/el2[@att="first"]/@att', b'"second"', Kind.CANNOT_INSERT),
        ("root/el3", b"", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<el3>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<el3/><el3/>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"text<el3/>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<el3/></xcap-mark><xcap-mark>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b'<?xml version="1.0"?><el3/>', Kind.NOT_XML_FRAGMENT),
        ("root/el3", b'<!DOCTYPE x [<!ENTITY e "e">]><el3>&e;</el3>', Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<el3>&e;</el3>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<p:el3/>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<el3>" + b"<a>" * 100 + b"</a>" * 100 + b"</el3>", Kind.NOT_XML_FRAGMENT),
        ("root/el3", b"<el3>\xff</el3>", Kind.NOT_UTF_8),
        ("root/el2/@att", b"\xff", Kind.NOT_UTF_8),
        ("root/el2/@att", b'"<"', Kind.NOT_XML_ATTRIBUTE_VALUE),
        ("root/el2/@att", b'"&e;"', Kind.NOT_XML_ATTRIBUTE_VALUE),
        ("root/el2/@att", b'"\x01"', Kind.NOT_XML_ATTRIBUTE_VALUE),
        ("root/el2/@att", b'"&#1;"', Kind.NOT_XML_ATTRIBUTE_VALUE),
    ],
)
def test_what_cannot_be_put(path: str, content: bytes, kind: Kind) -> None:
    assert put(ROOT, selector(path), content) == kind


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("foo/a:bar/a:baz", A, b"<baz/>"),
        ("foo/a:bar/b:baz", A + B, b'<ns2:baz xmlns:ns2="urn:test:namespace2-uri"/>'),
        (
            "d:foo/a:bar/b:baz",
            A + B + "xmlns(d=urn:test:default-namespace)",
            b'<ns2:baz xmlns:ns2="urn:test:namespace2-uri"/>',
        ),
        ("foo/*[2]/there", "", b"<there/>"),
        (
            "foo/a:bar/a:baz/namespace::*",
            A,
            b'<baz xmlns="urn:test:namespace1-uri" xmlns:ns1="urn:test:namespace1-uri"/>',
        ),
        ("foo/*[1]", "", SPACES[SPACES.index(b"<ns1:bar") : SPACES.index(b"</ns1:bar>")] + b"</ns1:bar>"),
    ],
)
def test_what_is_read(path: str, query: str, expected: bytes) -> None:
    """Section 6.4; an element comes as it stands, without the namespaces of its ancestors (section 8.3)."""
    found = tree.read(tree.parse(SPACES), in_spaces(path, query))
    assert found is not None and found[1] == expected


@pytest.mark.parametrize(
    "path", ["foo/bar", "foo/*", "bar", "foo/*[3]", "foo/*[1]/*", "foo/*[1]/@x", "foo/*[@xmlns='urn:x']"]
)
def test_what_is_not_there(path: str) -> None:
    """No match, and more than one (section 6.3)."""
    assert tree.read(tree.parse(SPACES), in_spaces(path)) is None


@pytest.mark.requirement("XDM-01")
def test_prefixes_of_the_place_hold_in_what_is_put_there_and_declarations_stay() -> None:
    put_there = put(SPACES, in_spaces("foo/a:bar/a:new", A), b"<ns1:new/>")
    assert put_there == SPACES.replace(b"\n  </ns1:bar>", b"\n  <ns1:new/></ns1:bar>")
    redundant = b'<ns1:new xmlns:ns1="urn:test:namespace1-uri" xmlns="urn:test:namespace1-uri"/>'
    put_there = put(SPACES, in_spaces("foo/a:bar/a:new", A), redundant)
    assert put_there == SPACES.replace(b"\n  </ns1:bar>", b"\n  " + redundant + b"</ns1:bar>")


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("root/el2", ROOT.replace(b'<el2 att="first"/>', b"")),
        ('root/el1[@att="first"]', ROOT.replace(b'<el1 att="first"/>', b"")),
        ('root/*[1][@att="first"]', ROOT.replace(b'<el1 att="first"/>', b"")),
        ("root/el1[2]", ROOT.replace(b'<el1 att="second"/>', b"")),
        ("root/*[3]", ROOT.replace(b'<el2 att="first"/>', b"")),
        ("root/el2/@att", ROOT.replace(b'<el2 att="first"/>', b"<el2/>")),
        ("root/el1[1]", Kind.CANNOT_DELETE),
        ("root/*[1]", Kind.CANNOT_DELETE),
        ("root", Kind.SCHEMA_VALIDATION_ERROR),
        ("root/el1", None),
        ("root/el9", None),
        ("root/el2/@x", None),
    ],
)
def test_what_is_deleted(path: str, expected: bytes | Kind | None) -> None:
    """White space around it stays; a second time the same request may find nothing (section 7.5)."""
    found = tree.delete(tree.parse(ROOT), selector(path))
    if isinstance(found, tree.Edited):
        assert found.body.removeprefix(DECLARATION) == expected
    else:
        assert (found.kind if isinstance(found, Conflict) else found) == expected


@pytest.mark.requirement("XDM-01", "SEC-05")
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", Kind.NOT_WELL_FORMED),
        (b"<a>", Kind.NOT_WELL_FORMED),
        (b"<a/><b/>", Kind.NOT_WELL_FORMED),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', Kind.NOT_WELL_FORMED),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>', Kind.NOT_WELL_FORMED),
        (b"<a>" * 1000 + b"</a>" * 1000, Kind.NOT_WELL_FORMED),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"), Kind.NOT_UTF_8),
        ('<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"), Kind.NOT_UTF_8),
    ],
)
def test_what_is_no_document(content: bytes, kind: Kind) -> None:
    found = tree.document(content)
    assert isinstance(found, Conflict) and found.kind == kind


def test_the_example_of_a_whole_uri() -> None:
    uri = split("/xcap/test/users/sip:joe@example.com/index/~~/foo/a:bar/b:baz?" + A + B, "/xcap/")
    assert uri.node is not None
    assert tree.read(tree.parse(SPACES), node_selector(uri.node, uri.query, "urn:test:default-namespace")) is not None
