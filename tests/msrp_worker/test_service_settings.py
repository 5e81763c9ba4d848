"""The settings document: golden documents, what is ignored, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.messages import LARGEST_SETTINGS
from msrp_worker.service_settings import (
    DEEPEST_ELEMENT,
    LATER_SERVICE_SETTINGS,
    NAMES,
    SERVICE_SETTINGS,
    Document,
    Settings,
    SettingsError,
    build_settings,
    compose,
    parse_settings,
)

EXAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings" xmlns:ss="urn:oma:params:xml:ns:service-settings">
  <entity id="do39s8zksn2d98x">
    <isb-settings service-id="IM"><incoming-session-barring active="true"/></isb-settings>
    <ipab-settings service-id="IM"><incoming-personal-alert-barring active="false"/></ipab-settings>
    <ss:deferred-settings service-id="IM"><ss:offline-delivery active="true"/></ss:deferred-settings>
    <ss:vis-settings service-id="IM"><ss:visibility-status active="false"/></ss:vis-settings>
    <ss:hist-settings service-id="IM"><ss:hist-activation active="false"/></ss:hist-settings>
  </entity>
</poc-settings>
"""
"""The content of the example in E.1.2."""


def document(*settings: str, namespace: str = SERVICE_SETTINGS) -> bytes:
    """A document with one entity that holds `settings`."""
    return (
        f'<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings" xmlns:ss="{namespace}" xmlns:x="urn:x">'
        f'<entity id="device">{"".join(settings)}</entity></poc-settings>'
    ).encode()


def said(*settings: str, namespace: str = SERVICE_SETTINGS) -> Settings:
    """The settings that a document with them holds."""
    return parse_settings(document(*settings, namespace=namespace)).settings


@pytest.mark.requirement("SET-05")
def test_the_example_of_the_specification_is_read() -> None:
    assert parse_settings(EXAMPLE) == Document(
        "do39s8zksn2d98x",
        Settings(
            session_barred=True,
            pager_barred=False,
            offline_delivery=True,
            visible=False,
            session_history=False,
            message_history=False,
        ),
    )


IPAB = "<ipab-settings><incoming-personal-alert-barring active='{}'/></ipab-settings>"
HISTORY = "<ss:hist-settings>{}</ss:hist-settings>"


@pytest.mark.requirement("SET-05")
@pytest.mark.parametrize("namespace", [SERVICE_SETTINGS, LATER_SERVICE_SETTINGS])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Settings()),
        (IPAB.format("true"), Settings(pager_barred=True)),
        (IPAB.format(" 1 "), Settings(pager_barred=True)),
        (IPAB.format("0"), Settings(pager_barred=False)),
        ("<ipab-settings/>", Settings()),
        ("<ss:isb-settings><ss:incoming-session-barring active='1'/></ss:isb-settings>", Settings(session_barred=True)),
        ("<ss:vis-settings><ss:vis-status active='false'/></ss:vis-settings>", Settings(visible=False)),
        ("<ss:vis-settings><ss:visibility-status active='false'/></ss:vis-settings>", Settings(visible=False)),
        (
            HISTORY.format("<ss:hist-activation active='true'/>"),
            Settings(session_history=True, message_history=True),
        ),
        (
            HISTORY.format(
                "<ss:hist-activation type='session-mode' active='true'/>"
                "<ss:hist-activation type='pager-large-mode' active='false'/>"
            ),
            Settings(session_history=True, message_history=False),
        ),
        (HISTORY.format("<ss:hist-activation type='session-mode' active='true'/>"), Settings(session_history=True)),
        (HISTORY.format("<ss:hist-activation type='smoke-signals' active='true'/>"), Settings()),
        # Of another service, or of nobody we know: ignored, whatever is in it.
        (IPAB.format("true").replace("ipab-settings>", "ipab-settings service-id='PoC'>", 1), Settings()),
        (IPAB.format("true").replace("ipab-settings>", "ipab-settings ss:service-id='PoC'>", 1), Settings()),
        (IPAB.format("true").replace("ipab-settings>", "ipab-settings service-id=''>", 1), Settings(pager_barred=True)),
        (
            IPAB.format("true").replace("ipab-settings>", "ipab-settings x:service-id='PoC'>", 1),
            Settings(pager_barred=True),
        ),
        (
            "<ipab-settings service-id='PoC'><incoming-personal-alert-barring active='maybe'/></ipab-settings>",
            Settings(),
        ),
        ("<x:ipab-settings><x:incoming-personal-alert-barring active='maybe'/></x:ipab-settings>", Settings()),
        ("<ipab-settings><x:incoming-personal-alert-barring active='true'/></ipab-settings>", Settings()),
        ("<x:any><ipab-settings><incoming-personal-alert-barring active='true'/></ipab-settings></x:any>", Settings()),
        ("<am-settings><answer-mode>manual</answer-mode></am-settings>", Settings()),
        ("<!-- ipab --><?ipab on?>" + IPAB.format("true"), Settings(pager_barred=True)),
        (IPAB.format("true") + IPAB.format("false"), Settings(pager_barred=False)),
    ],
)
def test_what_a_document_says(text: str, expected: Settings, namespace: str) -> None:
    assert said(text, namespace=namespace) == expected


@pytest.mark.requirement("SET-05")
def test_several_entities_are_read_as_one_and_none_says_nothing() -> None:
    root = '<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings" xmlns:x="urn:x">{}</poc-settings>'
    two = root.format(f'<entity id="a">{IPAB.format("true")}</entity><x:y/><entity>{IPAB.format("false")}</entity>')
    assert parse_settings(two.encode()) == Document("a", Settings(pager_barred=False))
    assert parse_settings(root.format("").encode()) == Document("", Settings())


BOMB = (
    b'<!DOCTYPE poc-settings [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]>'
    b'<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings"><entity id="&c;"/></poc-settings>'
)


@pytest.mark.requirement("SET-05", "SEC-05")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no element found"),
        (b"hello", "not well-formed"),
        (EXAMPLE[:-10], "not well-formed"),
        (EXAMPLE + b"<more/>", "not well-formed"),
        (b"\x00" + EXAMPLE, "not well-formed"),
        (EXAMPLE.replace(b"do39", b"\xff\xfe"), "not well-formed"),
        (EXAMPLE.replace(b"poc-settings", b"presence"), "the root is"),
        (b"<poc-settings/>", "the root is"),
        (document(IPAB.format("maybe")), "active is 'maybe'"),
        (document(IPAB.format("TRUE")), "active is 'TRUE'"),
        (document("<ipab-settings><incoming-personal-alert-barring/></ipab-settings>"), "active is ''"),
        (document(HISTORY.format("<ss:hist-activation type='x'/>")), "active is ''"),
        (BOMB, "document type"),
        (BOMB.replace(b"&c;", b"x"), "document type"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">' + EXAMPLE[39:], "document type"),
        (document("<x:a>" * DEEPEST_ELEMENT + "</x:a>" * DEEPEST_ELEMENT), "nested deeper"),
        (document("<!--" + "x" * LARGEST_SETTINGS + "-->"), "at most"),
    ],
)
def test_what_is_no_settings_document_is_refused_with_the_reason(text: bytes, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parse_settings(text)


@pytest.mark.requirement("SET-05", "SEC-05")
@pytest.mark.parametrize("at", range(0, len(EXAMPLE) - 2, 7))
def test_a_document_cut_anywhere_is_refused(at: int) -> None:
    with pytest.raises(SettingsError):
        parse_settings(EXAMPLE[:at])


@pytest.mark.requirement("SEC-05")
@given(st.binary(max_size=200), st.integers(0, len(EXAMPLE)), st.integers(0, 40))
def test_damage_ends_in_settings_or_in_a_reason(noise: bytes, at: int, lost: int) -> None:
    try:
        parse_settings(EXAMPLE[:at] + noise + EXAMPLE[at + lost :])
    except SettingsError:
        pass


VALUES = st.sampled_from([None, True, False])


@pytest.mark.requirement("SET-05")
@given(st.builds(Settings, **dict.fromkeys(NAMES, VALUES)), st.text("abc-<&\"'é", max_size=20))
def test_what_is_built_is_read_back(settings: Settings, entity: str) -> None:
    assert parse_settings(build_settings(Document(entity, settings))) == Document(entity, settings)


@pytest.mark.requirement("SET-05")
def test_the_built_document_has_the_names_of_the_schema() -> None:
    text = build_settings(Document("d", Settings(pager_barred=True, visible=False, session_history=True)))
    assert text.decode().partition("\n")[2] == (
        '<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings" xmlns:ss="urn:oma:params:xml:ns:service-settings">'
        '<entity id="d">'
        '<ipab-settings service-id="IM"><incoming-personal-alert-barring active="true"/></ipab-settings>'
        '<ss:vis-settings service-id="IM"><ss:vis-status active="false"/></ss:vis-settings>'
        '<ss:hist-settings service-id="IM"><ss:hist-activation active="true" type="session-mode"/></ss:hist-settings>'
        "</entity></poc-settings>"
    )


@pytest.mark.requirement("SET-04")
def test_of_several_publications_the_last_that_speaks_of_a_setting_decides() -> None:
    phone = Settings(pager_barred=True, visible=False)
    tablet = Settings(pager_barred=False)
    assert compose([]) == Settings()
    assert compose([phone, tablet]) == Settings(pager_barred=False, visible=False)
    assert compose([tablet, phone]) == Settings(pager_barred=True, visible=False)
