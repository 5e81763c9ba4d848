"""XCAP URIs: the examples of RFC 4825, and what breaks its rules."""

from __future__ import annotations

import pytest

from msrp_worker.xcap.selector import (
    MAX_BINDINGS,
    MAX_STEPS,
    Bindings,
    Name,
    NodeSelector,
    Step,
    UriError,
    XcapUri,
    encode_segment,
    namespace_bindings,
    node_selector,
    split,
)

NS = "urn:test:default-namespace"


def name(local: str) -> Name:
    return Name(NS, local)


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("a/users/sip:joe@example.com/index", XcapUri("a", "sip:joe@example.com", ("index",))),
        ("a/users/sip:joe%40example.com/i%2Fx", XcapUri("a", "sip:joe@example.com", ("i/x",))),
        ("a/global/index", XcapUri("a", None, ("index",))),
        ("a/users/u/dir/index", XcapUri("a", "u", ("dir", "index"))),
        ("a/users/u/index/~~/x", XcapUri("a", "u", ("index",), ("x",))),
        ("a/users/u/index/%7E%7e/x/y%5b1%5d?q", XcapUri("a", "u", ("index",), ("x", "y%5b1%5d"), "q")),
        ("a/users/u/index/~~", XcapUri("a", "u", ("index",), ())),
        ("a/users/u/index/~~/~~", XcapUri("a", "u", ("index",), ("~~",))),
        ("a/users/j%C3%B6/index", XcapUri("a", "jö", ("index",))),
    ],
)
def test_a_document_is_told_from_its_node(target: str, expected: XcapUri) -> None:
    assert split(f"/xcap/{target}", "/xcap/") == expected


@pytest.mark.requirement("XDM-01", "SEC-05")
@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/other/a/users/u/index", 404),
        ("/xcap/", 404),
        ("/xcap/a", 404),
        ("/xcap/a/users/u", 404),
        ("/xcap/a/users//index", 404),
        ("/xcap/a/users/u/index/", 404),
        ("/xcap/a/elsewhere/u/index", 404),
        ("/xcap/a/~~/users/u/index", 404),
        ("/xcap/a/users/%zz/index", 400),
        ("/xcap/a/users/%f", 400),
        ("/xcap/a/users/%ff/index", 400),
        ("/xcap/a/users/%ed%a0%80/index", 400),
    ],
)
def test_what_names_no_document(target: str, status: int) -> None:
    with pytest.raises(UriError) as refused:
        split(target, "/xcap/")
    assert refused.value.status == status


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("x", "", NodeSelector((Step(name("x")),))),
        ("*", "", NodeSelector((Step(None),))),
        ("x/y%5b2%5d", "", NodeSelector((Step(name("x")), Step(name("y"), 2)))),
        ("x/*[2][@id=%22hhggff%22]", "", NodeSelector((Step(name("x")), Step(None, 2, Name("", "id"), "hhggff")))),
        ("x[@a='b&amp;&#x22;&#39;c']", "", NodeSelector((Step(name("x"), None, Name("", "a"), "b&\"'c"),))),
        ('x[@a="it\'s/%5d"]'.replace("/", "%2F"), "", NodeSelector((Step(name("x"), None, Name("", "a"), "it's/]"),))),
        ("x/@uri", "", NodeSelector((Step(name("x")),), Name("", "uri"))),
        ("x/namespace::*", "", NodeSelector((Step(name("x")),), Bindings())),
        ("p:x/@p:y", "xmlns(p=urn:p)", NodeSelector((Step(Name("urn:p", "x")),), Name("urn:p", "y"))),
        ("x/@xml:lang", "", NodeSelector((Step(name("x")),), Name("http://www.w3.org/XML/1998/namespace", "lang"))),
        ("%C3%A9l.e-m_1", "", NodeSelector((Step(name("él.e-m_1")),))),
    ],
)
def test_node_selectors(path: str, query: str, expected: NodeSelector) -> None:
    assert node_selector(path.split("/"), query, NS) == expected


@pytest.mark.requirement("XDM-01", "SEC-05")
@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("", "", 400),
        ("x//y", "", 400),
        ("x/", "", 400),
        ("p:x", "", 400),
        ("x[@p:y=%22z%22]", "", 400),
        ("x/@p:y", "xmlns(q=urn:q)", 400),
        ("x", "xmlns(p=urn:p", 400),
        ("x", "p=urn:p", 400),
        ("x", "xmlns(=urn:p)", 400),
        ("x", "xmlns(p=)", 400),
        ("x", "xmlns(p=%zz)", 400),
        ("@y", "", 404),
        ("namespace::*", "", 404),
        ("@y/x", "", 404),
        ("x[", "", 404),
        ("x[y]", "", 404),
        ("x[-1]", "", 404),
        ("x[1234567890]", "", 404),
        ("x[@a=b]", "", 404),
        ("x[@a=%22b]", "", 404),
        ("x[@a=%22%3c%22]", "", 404),
        ("x[@a=%22&b;%22]", "", 404),
        ("x[@a=%22&#0;%22]", "", 404),
        ("x[@a=%22&#xD800;%22]", "", 404),
        ("x[@a=%22b%22][1]", "", 404),
        ("x[last()]", "", 404),
        ("descendant::x", "", 404),
        ("..", "", 404),
        ("1x", "", 404),
        ("/".join(["x"] * (MAX_STEPS + 1)), "", 404),
        ("x", "".join(f"xmlns(p{number}=u)" for number in range(MAX_BINDINGS + 1)), 400),
    ],
)
def test_what_is_no_node_selector(path: str, query: str, status: int) -> None:
    with pytest.raises(UriError) as refused:
        node_selector(path.split("/"), query, NS)
    assert refused.value.status == status


@pytest.mark.requirement("XDM-01")
def test_other_schemes_of_xpointer_are_ignored_and_parentheses_are_counted() -> None:
    found = namespace_bindings("element(/1/2)xmlns(a%20=%20urn:a)%20xmlns(b=x(y)z)xmlns(c=^)^(^^)")
    assert {prefix: uri for prefix, uri in found.items() if prefix != "xml"} == {"a": "urn:a", "b": "x(y)z", "c": ")(^"}


@pytest.mark.parametrize("text", ["sip:joe@example.com", "a/b?c#d", 'x[@y="ö&z"]', "100%"])
def test_a_segment_goes_there_and_back(text: str) -> None:
    encoded = encode_segment(text)
    assert encoded.isascii() and not set(encoded) & set('/?#[]" ')
    assert split(f"/xcap/a/users/{encoded}/i", "/xcap/").user == text
