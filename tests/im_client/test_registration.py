"""Registration on the wire (clause 5.3)."""

from __future__ import annotations

import pytest

from im_client.config import Contact
from im_client.errors import ConnectionFailedError, NoAnswerError, RegistrationError
from im_client.registration import refresh_after

CHALLENGE = 'WWW-Authenticate: Digest realm="example.com", nonce="{}", qop="auth"'


@pytest.mark.requirement("CLI-01", "HDR-01")
async def test_register(stage) -> None:
    task = stage.start(stage.client.register())
    request = await stage.peer.expect("REGISTER")
    host, port = stage.client.endpoint.local
    extra = ";transport=tcp" if stage.peer.transport == "tcp" else ""
    assert str(request.message.uri) == "sip:example.com"
    assert request.header("Contact") == f"<sip:alice@{host}:{port}{extra}>;+g.oma.sip-im"
    assert request.header("Require") == "pref"
    assert request.header("Expires") == "3600"
    assert request.header("User-Agent").startswith("IM-client/OMA1.0 ")
    assert request.header("To") == "<sip:alice@example.com>"
    assert request.header("Max-Forwards") == "70"
    request.reply(200, "OK", f"Contact: {request.header('Contact')};expires=1800")
    assert (await task).status == 200
    assert stage.client.registration.granted == 1800


@pytest.mark.requirement("CLI-01")
async def test_challenge_is_answered_in_the_same_dialogue_of_call_id_and_from_tag(stage) -> None:
    task = stage.start(stage.client.register())
    first = await stage.peer.expect("REGISTER")
    assert first.header("Authorization") is None
    first.reply(401, "Unauthorized", CHALLENGE.format("n1"))
    second = await stage.peer.expect("REGISTER")
    assert 'nonce="n1"' in second.header("Authorization")
    assert "nc=00000001" in second.header("Authorization")
    assert 'uri="sip:example.com"' in second.header("Authorization")
    assert [second.header(name) for name in ("Call-ID", "From")] == [first.header(n) for n in ("Call-ID", "From")]
    assert (first.header("CSeq"), second.header("CSeq")) == ("1 REGISTER", "2 REGISTER")
    assert first.header("Via") != second.header("Via")
    second.reply(200, "OK")
    await task
    again = stage.start(stage.client.register())
    third = await stage.peer.expect("REGISTER")
    assert "nc=00000002" in third.header("Authorization")
    assert third.header("CSeq") == "3 REGISTER"
    assert third.header("Call-ID") == first.header("Call-ID")
    third.reply(401, "Unauthorized", CHALLENGE.format("n2") + ", stale=true")
    fourth = await stage.peer.expect("REGISTER")
    assert 'nonce="n2"' in fourth.header("Authorization")
    fourth.reply(200, "OK")
    await again


@pytest.mark.requirement("CLI-01")
async def test_wrong_password_is_said_and_not_tried_for_ever(stage) -> None:
    task = stage.start(stage.client.register())
    (await stage.peer.expect("REGISTER")).reply(401, "Unauthorized", CHALLENGE.format("n1"))
    (await stage.peer.expect("REGISTER")).reply(401, "Unauthorized", CHALLENGE.format("n2"))
    with pytest.raises(RegistrationError, match="wrong password of user 'alice'") as caught:
        await task
    assert caught.value.status == 401
    assert stage.client.registration.granted is None
    assert stage.peer.inbox.empty()


async def test_a_server_whose_nonces_are_always_stale_is_given_up(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.register())
    for number in range(6):
        request = await udp_stage.peer.expect("REGISTER")
        request.reply(401, "Unauthorized", CHALLENGE.format(number) + ", stale=true")
    with pytest.raises(RegistrationError):
        await task


async def test_without_a_password_the_challenge_is_the_answer(make_stage) -> None:
    stage = await make_stage("udp", password="")
    task = stage.start(stage.client.register())
    (await stage.peer.expect("REGISTER")).reply(401, "Unauthorized", CHALLENGE.format("n1"))
    with pytest.raises(RegistrationError, match="a password is needed"):
        await task


@pytest.mark.requirement("CLI-01")
async def test_too_brief_an_interval_is_lengthened(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.register(expires=10))
    request = await udp_stage.peer.expect("REGISTER")
    assert request.header("Expires") == "10"
    request.reply(423, "Interval Too Brief", "Min-Expires: 90")
    request = await udp_stage.peer.expect("REGISTER")
    assert request.header("Expires") == "90"
    request.reply(200, "OK")
    await task
    assert udp_stage.client.registration.granted == 90


@pytest.mark.requirement("CLI-01")
async def test_refresh_before_the_binding_expires(stage) -> None:
    first = await stage.register(expires=1)
    second = await stage.peer.expect("REGISTER")
    assert second.header("Call-ID") == first.header("Call-ID")
    assert second.header("CSeq") == "2 REGISTER"
    assert second.header("Contact") == first.header("Contact")
    second.reply(200, "OK", "Expires: 3600")
    await stage.speak()
    assert stage.client.registration.granted == 3600


@pytest.mark.parametrize(("granted", "after"), [(3600, 3000), (1201, 601), (1200, 600), (60, 30), (1, 0.5)])
def test_refresh_times(granted: float, after: float) -> None:
    assert refresh_after(granted) == after


@pytest.mark.requirement("CLI-01")
async def test_a_later_registration_sets_the_time_of_the_refresh_anew(udp_stage) -> None:
    await udp_stage.register(expires=3600)
    await udp_stage.register(expires=1)
    refresh = await udp_stage.peer.expect("REGISTER")
    assert refresh.header("CSeq") == "3 REGISTER"
    refresh.reply(200, "OK")


async def test_a_failed_refresh_is_tried_again(udp_stage, monkeypatch) -> None:
    monkeypatch.setattr("im_client.registration.RETRY_FIRST", 0.01)
    await udp_stage.register()
    udp_stage.client.registration.refresh_now()
    (await udp_stage.peer.expect("REGISTER")).reply(503, "Overload")
    (await udp_stage.peer.expect("REGISTER")).reply(503, "Overload")
    (await udp_stage.peer.expect("REGISTER")).reply(200, "OK", "Expires: 90")
    await udp_stage.speak()
    assert udp_stage.client.registration.granted == 90


@pytest.mark.requirement("CLI-01")
async def test_re_register_without_the_feature_tag(stage) -> None:
    await stage.register()
    task = stage.start(stage.client.leave_im())
    request = await stage.peer.expect("REGISTER")
    assert "g.oma.sip-im" not in request.header("Contact")
    assert request.header("Expires") == "3600"
    request.reply(200, "OK")
    await task


@pytest.mark.requirement("CLI-01")
async def test_deregister(stage) -> None:
    await stage.register()
    task = stage.start(stage.client.deregister())
    request = await stage.peer.expect("REGISTER")
    assert request.header("Expires") == "0"
    assert request.header("Contact").endswith(";+g.oma.sip-im")
    assert request.header("Require") == "pref"
    request.reply(200, "OK")
    await task
    assert stage.client.registration.granted is None


async def test_deregister_all_devices(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.deregister(everything=True))
    request = await udp_stage.peer.expect("REGISTER")
    assert (request.header("Contact"), request.header("Expires")) == ("*", "0")
    request.reply(200, "OK")
    await task


@pytest.mark.requirement("CLI-01")
async def test_several_bindings_with_their_instances(make_stage) -> None:
    contacts = (
        Contact(instance_id="urn:uuid:1", q="0.5"),
        Contact(user="alice-pc", feature_tag=False, extra=("+g.oma.sip-im.large-message",)),
    )
    stage = await make_stage("udp", contacts=contacts)
    task = stage.start(stage.client.register())
    request = await stage.peer.expect("REGISTER")
    address = "{}:{}".format(*stage.client.endpoint.local)
    found = request.message.headers.getlist("Contact")
    assert found == [
        f'<sip:alice@{address}>;+g.oma.sip-im;+sip.instance="<urn:uuid:1>";q=0.5',
        f"<sip:alice-pc@{address}>;+g.oma.sip-im.large-message",
    ]
    others = "Contact: <sip:alice@192.0.2.9>;expires=5, "
    request.reply(200, "OK", others + ", ".join(f"{v};expires={t}" for v, t in zip(found, (90, 80), strict=True)))
    await task
    assert stage.client.registration.granted == 80


async def test_what_follows_an_initial_registration_is_awaited_once(udp_stage) -> None:
    calls = []

    async def publish() -> None:
        calls.append(udp_stage.client.registration.granted)

    udp_stage.client.registration.on_registered = publish
    await udp_stage.register()
    await udp_stage.register()
    assert calls == [3600]


async def test_close_deregisters_and_does_not_mind_a_deaf_server(make_stage) -> None:
    stage = await make_stage("udp")
    await stage.register()
    await stage.peer.close()
    await stage.client.close()


async def test_nobody_there(make_stage) -> None:
    stage = await make_stage("udp")
    await stage.peer.close()
    with pytest.raises(ConnectionFailedError, match=r"cannot reach 127\.0\.0\.1:\d+ \(Connection refused\)"):
        await stage.client.register()


async def test_no_answer(make_stage) -> None:
    stage = await make_stage("udp")
    task = stage.start(stage.client.register())
    with pytest.raises(NoAnswerError, match=r"no answer from 127\.0\.0\.1:\d+;transport=udp within 1\.28 s"):
        await task


@pytest.mark.requirement("CLI-01")
async def test_a_lost_connection_to_the_registrar_is_made_again(tcp_stage) -> None:
    await tcp_stage.register()
    tcp_stage.peer.writers[-1].close()
    request = await tcp_stage.peer.expect("REGISTER")
    assert len(tcp_stage.peer.writers) == 2
    request.reply(200, "OK")
