"""URI-lists (RFC 5363) and the history of recipients (RFC 5364)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.multipart import Part, build, read_parts
from msrp_worker.uri_list import (
    ANONYMOUS,
    MOST_ENTRIES,
    RESOURCE_LISTS,
    CopyControl,
    Problem,
    Recipient,
    UriList,
    UriListError,
    build_history,
    build_list,
    history_part,
    read_uri_list,
)

TO, CC, BCC = CopyControl.TO, CopyControl.CC, CopyControl.BCC


def document(inside: str) -> bytes:
    return (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" '
        f'xmlns:cp="urn:ietf:params:xml:ns:copycontrol">{inside}</resource-lists>'
    ).encode()


def entries(*rows: str) -> str:
    """`uri`, or `uri` and attributes of copy control."""
    return (
        "<list>"
        + "".join(f'<entry uri="{uri}" {rest}/>' for uri, _, rest in (row.partition(" ") for row in rows))
        + "</list>"
    )


def read(inside: str, most: int = MOST_ENTRIES) -> UriList | None:
    return read_uri_list(RESOURCE_LISTS, document(inside), "recipient-list", most)


def mixed(*parts: Part) -> tuple[str, bytes]:
    return build(parts, "b1")


def part(inside: str, disposition: str = "recipient-list", kind: str = RESOURCE_LISTS) -> Part:
    return Part(kind, document(inside), (("Content-Disposition", disposition),) if disposition else ())


def uris(found: UriList | None) -> list[str]:
    assert found is not None
    return [one.uri for one in found.recipients]


A, B = "sip:a@example.com", "sip:b@example.com"
TEXT = Part("text/plain", b"hello")


@pytest.mark.requirement("CNF-06")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ((RESOURCE_LISTS, document(entries(A))), [A]),
        (("Application/Resource-Lists+XML;charset=utf-8", document(entries(A, B))), [A, B]),
        (mixed(TEXT, part(entries(A))), [A]),
        (mixed(part(entries(A)), TEXT), [A]),
        (mixed(TEXT, part(entries(A), disposition="")), [A]),
        (mixed(TEXT, part(entries(A), "Recipient-List; handling=required")), [A]),
        (mixed(part(entries(A)), part(entries(A, B))), [A, B]),
        (mixed(TEXT, part(entries(A), "recipient-list-history")), None),
        (mixed(TEXT), None),
        (("text/plain", b"hello"), None),
        (("", b""), None),
    ],
)
def test_where_the_list_is(content: tuple[str, bytes], expected: list[str] | None) -> None:
    found = read_uri_list(*content)
    assert (None if found is None else uris(found)) == expected


@pytest.mark.requirement("CNF-06")
@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (entries(A, B, A), [A, B]),
        (entries("SIP:a@EXAMPLE.com", "sip:%61@example.com;x=y", A), [A]),
        (entries("sip:A@example.com", A), ["sip:A@example.com", A]),
        (entries("sip:a@example.com?Subject=x", A), [A]),
        (entries("tel:+1-201", "sips:a@x"), ["tel:+1201", "sip:a@x"]),
        (entries(A, f"{A};transport=tcp", "sips:a:secret@example.com:5061;method=BYE;user=phone"), [A]),
        ("<list/>" + entries(A) + entries(B), [A, B]),
        (f"<list>{entries(A)}<list>{entries(B)}</list></list>", [A, B]),
        ("<list name='x'><display-name>All</display-name></list>" + entries(A), [A]),
        ("<more xmlns='urn:x'><external/></more>" + entries(A), [A]),
    ],
)
def test_each_address_once_in_order(inside: str, expected: list[str]) -> None:
    assert uris(read(inside)) == expected


@pytest.mark.requirement("CNF-06", "SEC-01")
@pytest.mark.parametrize("uri", [f"{A}&#13;&#10;?x=y", f"{A} &#10;?", f"&#13;&#10;{A}&#13;&#10;"])
def test_no_line_break_gets_into_a_request(uri: str) -> None:
    """What stands before the header components is the Request-URI of what we send."""
    assert read(entries(f"{A}").replace(A, uri)) == UriList((Recipient(A, A, BCC),))


@pytest.mark.requirement("CNF-06")
def test_an_entry_in_full() -> None:
    inside = (
        "<list><entry uri=' sip:Bob@Example.com;gr=1?X=y' cp:copyControl='cc' cp:anonymize='true'>"
        "<display-name>Bob\n B.</display-name></entry></list>"
    )
    assert read(inside) == UriList(
        (Recipient("sip:Bob@example.com", "sip:Bob@Example.com;gr=1", CC, anonymize=True, display_name="Bob B."),)
    )
    assert read(entries(A)) == UriList((Recipient(A, A, BCC),)), "RFC 5364 section 4: bcc unless it says"


@pytest.mark.requirement("CNF-06")
@pytest.mark.parametrize(
    ("controls", "highest"),
    [(("bcc", "cc", "to"), TO), (("to", "bcc"), TO), (("cc", None), CC), ((None, "cc"), CC), ((None, None), BCC)],
)
def test_the_highest_copy_control_of_an_address_wins(controls: tuple[str | None, ...], highest: CopyControl) -> None:
    found = read(entries(*(A if word is None else f'{A} cp:copyControl="{word}"' for word in controls)))
    assert found == UriList((Recipient(A, A, highest),))


@pytest.mark.requirement("CNF-06")
def test_anonymous_once_is_anonymous() -> None:
    found = read(entries(f'{A} cp:copyControl="to" cp:anonymize="1"', f'{A} cp:copyControl="to"'))
    assert found == UriList((Recipient(A, A, TO, anonymize=True),))


@pytest.mark.requirement("CNF-06")
def test_the_sender_is_taken_out() -> None:
    found = read(entries(A, B))
    assert found is not None
    assert uris(found.without(A)) == [B]
    assert len(found.without(A).without(B)) == 0


@pytest.mark.requirement("CNF-06", "SEC-05")
@pytest.mark.parametrize(
    ("inside", "problem", "status"),
    [
        ("", Problem.EMPTY, 400),
        ("<list/>", Problem.EMPTY, 400),
        ("<list>", Problem.MALFORMED, 400),
        (entries(""), Problem.MALFORMED, 400),
        ("<list><entry/></list>", Problem.MALFORMED, 400),
        (entries("alice"), Problem.MALFORMED, 400),
        (entries("sip:"), Problem.MALFORMED, 400),
        (entries("sip:a@" + "x" * 300), Problem.MALFORMED, 400),
        (entries("mailto:a@b"), Problem.FOREIGN, 400),
        (entries(A, "http://example.com/"), Problem.FOREIGN, 400),
        ("<list><entry-ref ref='x'/></list>" + entries(A), Problem.FOREIGN, 400),
        ("<list><external anchor='http://x/'/></list>" + entries(A), Problem.FOREIGN, 400),
        (entries(f'{A} cp:copyControl="all"'), Problem.MALFORMED, 400),
        (entries(f'{A} cp:anonymize="yes"'), Problem.MALFORMED, 400),
        (entries(A, B, "sip:c@x"), Problem.TOO_LONG, 413),
        (entries(*["sip:x"] * (MOST_ENTRIES + 1)), Problem.TOO_LONG, 413),
        (entries(A) + " " * 131072, Problem.MALFORMED, 400),
        ("<list>" * 20 + "</list>" * 20, Problem.MALFORMED, 400),
    ],
)
def test_what_is_refused(inside: str, problem: Problem, status: int) -> None:
    with pytest.raises(UriListError) as caught:
        read(inside, most=2)
    assert (caught.value.problem, caught.value.status) == (problem, status)


@pytest.mark.requirement("CNF-06", "SEC-05")
@pytest.mark.parametrize(
    ("content", "problem", "status"),
    [
        (mixed(part(entries(A), kind="text/plain")), Problem.FORMAT, 415),
        (("multipart/mixed", b"x"), Problem.MALFORMED, 400),
        ((RESOURCE_LISTS, b"<resource-lists/>"), Problem.MALFORMED, 400),
        ((RESOURCE_LISTS, b'<!DOCTYPE a [<!ENTITY b "c">]>' + document(entries(A))), Problem.MALFORMED, 400),
    ],
)
def test_which_bodies_are_refused(content: tuple[str, bytes], problem: Problem, status: int) -> None:
    with pytest.raises(UriListError) as caught:
        read_uri_list(*content)
    assert (caught.value.problem, caught.value.status) == (problem, status)


@pytest.mark.requirement("PAG-11")
def test_history_is_that_of_the_example() -> None:
    """RFC 5364 section 6, figures 3 and 4."""
    found = read(
        entries(
            'sip:bill@example.com cp:copyControl="to"',
            'sip:randy@example.net cp:copyControl="to" cp:anonymize="true"',
            'sip:eddy@example.com cp:copyControl="to" cp:anonymize="true"',
            'sip:joe@example.org cp:copyControl="cc"',
            'sip:carol@example.net cp:copyControl="cc" cp:anonymize="true"',
            'sip:ted@example.net cp:copyControl="bcc"',
            'sip:andy@example.com cp:copyControl="bcc"',
        )
    )
    assert found is not None
    history = build_history(found)
    assert history == (
        b"<?xml version='1.0' encoding='UTF-8'?>\n"
        b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:cp="urn:ietf:params:xml:ns:copycontrol">'
        b"<list>"
        b'<entry uri="sip:bill@example.com" cp:copyControl="to"/>'
        b'<entry uri="sip:anonymous@anonymous.invalid" cp:copyControl="to" cp:count="2"/>'
        b'<entry uri="sip:joe@example.org" cp:copyControl="cc"/>'
        b'<entry uri="sip:anonymous@anonymous.invalid" cp:copyControl="cc" cp:count="1"/>'
        b"</list></resource-lists>"
    )
    attached = history_part(found)
    assert attached is not None
    assert attached.header("Content-Disposition") == "recipient-list-history; handling=optional"


@pytest.mark.requirement("PAG-11")
def test_nobody_to_tell_of_is_no_history() -> None:
    assert build_history(UriList((Recipient(A, A, BCC, anonymize=True),))) is None
    assert history_part(UriList(())) is None


RECIPIENTS = st.lists(
    st.builds(
        lambda name, control, hidden: Recipient(f"sip:{name}@x", f"sip:{name}@x", control, hidden),
        st.sampled_from("abcdef"),
        st.sampled_from(CopyControl),
        st.booleans(),
    ),
    min_size=1,
    unique_by=lambda one: one.uri,
)


@given(RECIPIENTS)
def test_what_is_built_is_read_back(recipients: list[Recipient]) -> None:
    assert read_uri_list(RESOURCE_LISTS, build_list(recipients)) == UriList(tuple(recipients))


@pytest.mark.requirement("PAG-11")
@given(RECIPIENTS)
def test_history_names_nobody_who_is_hidden(recipients: list[Recipient]) -> None:
    history = build_history(UriList(tuple(recipients))) or b""
    for one in recipients:
        assert (one.uri.encode() in history) is (one.copy_control is not BCC and not one.anonymize)
    assert (ANONYMOUS.encode() in history) is any(one.anonymize and one.copy_control is not BCC for one in recipients)


def test_a_body_of_parts_keeps_what_is_beside_the_list() -> None:
    content_type, body = mixed(TEXT, part(entries(A)))
    assert read_parts(content_type, body)[0] == TEXT
