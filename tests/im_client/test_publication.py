"""Published service settings (RFC 3903, Appendix E): the document, the conditions, the refreshes."""

from __future__ import annotations

import asyncio

import pytest

from im_client import service_settings
from im_client.body import Body
from im_client.errors import MalformedMessageError, SubscriptionError
from im_client.publication import Publication
from im_client.service_settings import CONTENT_TYPE, ServiceSettings
from tests.im_client.conftest import Stage, StageMaker

EXAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings" xmlns:ss="urn:oma:params:xml:ns:service-settings">
  <entity id="do39s8zksn2d98x">
    <isb-settings service-id="IM"><incoming-session-barring active="true"/></isb-settings>
    <ipab-settings service-id="IM"><incoming-personal-alert-barring active="false"/></ipab-settings>
    <ss:deferred-settings service-id="IM"><ss:offline-delivery active="true"/></ss:deferred-settings>
    <ss:vis-settings service-id="IM"><ss:visibility-status active="false"/></ss:vis-settings>
    <ss:hist-settings service-id="IM"><ss:hist-activation active="false"/></ss:hist-settings>
  </entity>
</poc-settings>"""


@pytest.mark.requirement("CLI-01", "SET-05")
def test_the_example_of_appendix_e() -> None:
    assert service_settings.parse(EXAMPLE) == ServiceSettings(
        bar_sessions=True, bar_pager=False, offline_delivery=True, visible=False, store_history=False
    )
    later = EXAMPLE.replace(b"urn:oma:params:xml:ns:service-settings", b"urn:oma:xml:im:service-settings")
    assert service_settings.parse(later).offline_delivery is True
    foreign = EXAMPLE.replace(b'service-id="IM"', b'service-id="PoC"')
    assert service_settings.parse(foreign) == ServiceSettings(
        bar_sessions=None, bar_pager=None, offline_delivery=None, visible=None, store_history=None
    )


@pytest.mark.parametrize(
    "settings",
    [
        ServiceSettings(),
        ServiceSettings(bar_sessions=True, visible=None),
        ServiceSettings(offline_delivery=True, bar_pager=True),
    ],
)
@pytest.mark.requirement("CLI-01")
def test_what_is_written_reads_back(settings: ServiceSettings) -> None:
    document = service_settings.build(settings, "device-1")
    assert service_settings.parse(document) == settings
    assert b'<entity id="device-1">' in document
    assert b'xmlns:ss="urn:oma:params:xml:ns:service-settings"' in document


@pytest.mark.parametrize("document", [b"", b"<a", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a'])
def test_malformed_documents(document: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        service_settings.parse(document)


def publication(stage: Stage, expires: int = 3600) -> Publication:
    client = stage.client
    return Publication(client.endpoint, client.requester, client.config, "poc-settings", expires=expires)


BODY = Body(CONTENT_TYPE, b"<x/>")


@pytest.mark.requirement("CLI-01")
async def test_publish_modify_remove(stage: Stage) -> None:
    ours = publication(stage)
    task = stage.start(ours.publish(BODY))
    first = await stage.peer.expect("PUBLISH")
    assert (first.header("Event"), first.header("Expires"), first.header("SIP-If-Match")) == ("poc-settings", "3600", None)
    assert (first.header("Content-Type"), first.message.body) == (CONTENT_TYPE, b"<x/>")
    assert first.header("Accept-Contact") == "*;+g.oma.sip-im;require;explicit"
    first.reply(200, "OK", "SIP-ETag: one", "Expires: 1800")
    await task
    task = stage.start(ours.publish(Body(CONTENT_TYPE, b"<y/>")))
    change = await stage.peer.expect("PUBLISH")
    assert (change.header("SIP-If-Match"), change.message.body) == ("one", b"<y/>")
    change.reply(200, "OK", "SIP-ETag: two", "Expires: 1800")
    await task
    task = stage.start(ours.remove())
    last = await stage.peer.expect("PUBLISH")
    assert (last.header("SIP-If-Match"), last.header("Expires"), last.message.body) == ("two", "0", b"")
    last.reply(200, "OK", "SIP-ETag: three", "Expires: 0")
    await task
    assert ours.published.etag == ""
    await ours.remove()  # nothing is left to remove


@pytest.mark.requirement("CLI-01")
async def test_a_lost_condition_and_a_short_time_cost_one_more_request(stage: Stage) -> None:
    ours = publication(stage, expires=60)
    task = stage.start(ours.publish(BODY))
    (await stage.peer.expect("PUBLISH")).reply(423, "Interval Too Brief", "Min-Expires: 120")
    second = await stage.peer.expect("PUBLISH")
    assert second.header("Expires") == "120"
    second.reply(200, "OK", "SIP-ETag: one", "Expires: 120")
    await task
    task = stage.start(ours.publish(BODY))
    (await stage.peer.expect("PUBLISH")).reply(412, "Conditional Request Failed")
    anew = await stage.peer.expect("PUBLISH")
    assert (anew.header("SIP-If-Match"), anew.message.body) == (None, b"<x/>")
    anew.reply(200, "OK", "SIP-ETag: two", "Expires: 120")
    await task
    assert ours.published.etag == "two"


@pytest.mark.requirement("CLI-01")
async def test_refresh_has_no_body_unless_the_state_was_lost(udp_stage: Stage) -> None:
    ours = publication(udp_stage)
    task = udp_stage.start(ours.publish(BODY))
    (await udp_stage.peer.expect("PUBLISH")).reply(200, "OK", "SIP-ETag: one", "Expires: 1")
    await task
    refresh = await udp_stage.peer.expect("PUBLISH")
    assert (refresh.header("SIP-If-Match"), refresh.message.body) == ("one", b"")
    refresh.reply(412, "Conditional Request Failed")
    anew = await udp_stage.peer.expect("PUBLISH")
    assert (anew.header("SIP-If-Match"), anew.message.body) == (None, b"<x/>")
    anew.reply(200, "OK", "SIP-ETag: two", "Expires: 600")
    await udp_stage.peer.settle()
    ours.stop()


async def test_refusal(udp_stage: Stage) -> None:
    task = udp_stage.start(publication(udp_stage).publish(BODY))
    (await udp_stage.peer.expect("PUBLISH")).reply(489, "Bad Event")
    with pytest.raises(SubscriptionError, match="489"):
        await task


@pytest.mark.requirement("CLI-01")
async def test_settings_are_published_after_the_initial_registration_only(make_stage: StageMaker) -> None:
    stage = await make_stage("udp", settings=ServiceSettings(offline_delivery=True))
    task = stage.start(stage.client.register())
    (await stage.peer.expect("REGISTER")).reply(200, "OK", "Expires: 3600")
    publish = await stage.peer.expect("PUBLISH")
    assert service_settings.parse(publish.message.body).offline_delivery is True
    publish.reply(403, "Forbidden")  # the registration stands all the same
    assert (await task).ok
    task = stage.start(stage.client.register())
    (await stage.peer.expect("REGISTER")).reply(200, "OK", "Expires: 3600")
    await task
    await stage.peer.settle()
    assert stage.peer.inbox.empty()
    await asyncio.sleep(0)
