"""Offer and answer: what is agreed, what is refused line by line, and who connects where."""

from dataclasses import replace

import pytest

from msrp_worker import sdp
from msrp_worker.cema import CemaAnswer, CemaOutcome, answer_cema, conclude_cema, same_address
from msrp_worker.file_transfer import FileDescription, FileSelector
from msrp_worker.offer_answer import (
    Answer,
    LocalEndpoint,
    LocalPolicy,
    Negotiated,
    Refusal,
    answer,
    conclude,
    offer,
    offered_line,
)
from msrp_worker.sdp import Origin, SdpError, describe
from msrp_worker.sdp_msrp import Direction, MsrpMedia, Setup, parse

US = Origin("-", "9", 1, "198.51.100.1")
THEM = Origin("anna", "5", 5, "192.0.2.7")
ENDPOINT = LocalEndpoint("198.51.100.1", tcp_port=2855, tls_port=2856, ws_port=8080, fingerprints=("sha-1 01",))
POLICY = LocalPolicy(ENDPOINT, US, ("n1", "n2", "n3"))
PLAIN = MsrpMedia(
    path=("msrp://192.0.2.7:7394/a1;tcp",),
    port=7394,
    address="192.0.2.7",
    setup=Setup.ACTPASS,
    accept_types=("message/cpim", "text/plain"),
)


def offered(*lines: MsrpMedia, extra: str = "") -> sdp.SessionDescription:
    whole = describe(THEM, "192.0.2.7", [line.build() for line in lines], "12 34").build()
    return sdp.parse(whole + extra.encode())


def agreed(result: Answer | Refusal) -> Answer:
    assert isinstance(result, Answer), result
    return result


def one(result: Answer | Refusal) -> Negotiated:
    (line,) = agreed(result).lines
    return line


def refused(result: Answer | Refusal) -> int:
    assert isinstance(result, Refusal), result
    return result.status


def test_answer_is_golden() -> None:
    result = agreed(answer(offered(PLAIN), POLICY))
    assert result.description.build() == (
        b"v=0\r\no=- 9 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=12 34\r\n"
        b"m=message 2855 TCP/MSRP *\r\n"
        b"a=accept-types:message/cpim text/plain\r\n"
        b"a=accept-wrapped-types:*\r\n"
        b"a=setup:passive\r\n"
        b"a=msrp-cema\r\n"
        b"a=path:msrp://198.51.100.1:2855/n1;tcp\r\n"
    )
    line = result.lines[0]
    assert (line.active, line.connect_to) == (False, None)
    assert line.send_types == ("message/cpim", "text/plain")
    assert line.remote == PLAIN


@pytest.mark.requirement("CNF-04")
def test_refused_lines_get_port_zero_and_keep_their_place() -> None:
    odd = replace(PLAIN, accept_types=("image/png",))
    result = agreed(
        answer(
            offered(odd, PLAIN, extra="m=audio 4000 RTP/AVP 0\r\nm=message 0 TCP/MSRP *\r\n"),
            replace(POLICY, accept_types=("text/*",)),
        )
    )
    assert [section.media_line() for section in result.description.media] == [
        "message 0 TCP/MSRP *",
        "message 2855 TCP/MSRP *",
        "audio 0 RTP/AVP 0",
        "message 0 TCP/MSRP *",
    ]
    assert [index for index, _ in result.refused] == [0, 2, 3]
    assert [line.index for line in result.lines] == [1]


@pytest.mark.requirement("CNF-04")
@pytest.mark.parametrize(
    ("description", "policy"),
    [
        (offered(), POLICY),
        (offered(extra="m=audio 4000 RTP/AVP 0\r\n"), POLICY),
        (offered(PLAIN), replace(POLICY, accept_types=("image/*",))),
        (offered(replace(PLAIN, port=0)), POLICY),
        (offered(PLAIN), replace(POLICY, require_tls=True)),
        (offered(PLAIN), replace(POLICY, endpoint=replace(ENDPOINT, tcp_port=None))),
        (offered(PLAIN), replace(POLICY, session_ids=())),
        (offered(replace(PLAIN, direction=Direction.SENDONLY)), replace(POLICY, receives=False)),
        (offered(replace(PLAIN, accept_types=("text/plain",))), replace(POLICY, conference=True)),
    ],
)
def test_nothing_acceptable_is_488(description: sdp.SessionDescription, policy: LocalPolicy) -> None:
    assert refused(answer(description, policy)) == 488


@pytest.mark.requirement("CNF-09", "MED-07")
def test_focus_answers_cpim_alone() -> None:
    policy = replace(POLICY, conference=True, accept_wrapped_types=("text/*",), chatroom=("nickname", "private-messages"))
    line = one(answer(offered(replace(PLAIN, accept_types=("*",), accept_wrapped_types=("text/plain",))), policy))
    assert line.local.accept_types == ("message/cpim",)
    assert line.local.accept_wrapped_types == ("text/*",)
    assert line.local.chatroom == ("nickname", "private-messages")
    assert line.send_types == ("message/cpim",)
    assert line.send_wrapped_types == ("text/plain", "text/*")


@pytest.mark.requirement("CNF-07", "MED-12")
def test_types_are_the_intersection_and_max_size_is_announced() -> None:
    line = one(
        answer(
            offered(replace(PLAIN, accept_types=("text/*", "image/png"), max_size=500)),
            replace(POLICY, accept_types=("text/html", "image/*"), max_size=1000),
        )
    )
    assert line.local.accept_types == ("text/html", "image/png")
    assert (line.local.max_size, line.max_send_size) == (1000, 500)


@pytest.mark.requirement("PFS-01")
@pytest.mark.parametrize(
    ("theirs", "sends", "receives", "ours"),
    [
        (Direction.SENDRECV, True, True, Direction.SENDRECV),
        (Direction.SENDRECV, False, True, Direction.RECVONLY),
        (Direction.SENDONLY, True, True, Direction.RECVONLY),
        (Direction.RECVONLY, True, True, Direction.SENDONLY),
        (Direction.INACTIVE, True, True, Direction.INACTIVE),
    ],
)
def test_direction_is_reversed(theirs: Direction, sends: bool, receives: bool, ours: Direction) -> None:
    policy = replace(POLICY, sends=sends, receives=receives)
    line = one(answer(offered(replace(PLAIN, direction=theirs)), policy))
    assert line.local.direction is ours
    assert (line.sends, line.receives) == (ours.sends, ours.receives)


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("setup", "behind_nat", "ours"),
    [
        (None, False, Setup.PASSIVE),
        (None, True, Setup.PASSIVE),
        (Setup.ACTIVE, True, Setup.PASSIVE),
        (Setup.ACTPASS, False, Setup.PASSIVE),
        (Setup.ACTPASS, True, Setup.ACTIVE),
        (Setup.PASSIVE, False, Setup.ACTIVE),
    ],
)
def test_who_connects(setup: Setup | None, behind_nat: bool, ours: Setup) -> None:
    line = one(answer(offered(replace(PLAIN, setup=setup)), replace(POLICY, behind_nat=behind_nat)))
    assert line.local.setup is ours
    assert line.active is (ours is Setup.ACTIVE)
    assert line.connect_to == (("192.0.2.7", 7394) if line.active else None)


@pytest.mark.requirement("MED-04")
def test_tls_line() -> None:
    secure = replace(PLAIN, secure=True, path=("msrps://192.0.2.7:7394/a1;tcp",))
    line = one(answer(offered(secure), POLICY))
    assert line.local.path == ("msrps://198.51.100.1:2856/n1;tcp",)
    assert line.local.port == 2856
    assert line.local.fingerprints == ENDPOINT.fingerprints


@pytest.mark.requirement("MED-11")
def test_websocket_clients_connect() -> None:
    browser = replace(PLAIN, secure=True, path=("msrps://x7.invalid:2855/a1;ws",), setup=Setup.ACTIVE)
    line = one(answer(offered(browser), POLICY))
    assert line.local.path == ("msrps://198.51.100.1:8080/n1;ws",)
    passive = replace(browser, setup=Setup.PASSIVE)
    assert refused(answer(offered(passive), POLICY)) == 488
    assert refused(answer(offered(browser), replace(POLICY, endpoint=replace(ENDPOINT, ws_port=None)))) == 488


@pytest.mark.requirement("MED-06")
def test_relays_of_both_sides() -> None:
    theirs = ("msrp://relay.example.org:2855/r;tcp", "msrp://10.0.0.1:7394/a1;tcp")
    endpoint = replace(ENDPOINT, relay_path=("msrp://ours.example.org:2855/o;tcp",))
    line = one(
        answer(
            offered(replace(PLAIN, path=theirs, setup=Setup.PASSIVE)),
            replace(POLICY, endpoint=endpoint, cema=False),
        )
    )
    assert line.connect_to == ("relay.example.org", 2855)
    assert line.local.path == ("msrp://ours.example.org:2855/o;tcp", "msrp://198.51.100.1:2855/n1;tcp")


def file_offer(direction: Direction = Direction.SENDONLY, **selector: object) -> MsrpMedia:
    chosen = FileSelector(**selector)  # type: ignore[arg-type]
    return replace(PLAIN, direction=direction, file=FileDescription(chosen, "t1", "attachment", icon="i@x"))


@pytest.mark.requirement("LRG-05")
def test_several_files_are_several_lines() -> None:
    result = agreed(
        answer(
            offered(file_offer(name="a", size=10), file_offer(name="b", size=10_000)),
            replace(POLICY, max_size=99),
        )
    )
    first, second = result.description.media
    assert first.attribute("file-selector") == 'name:"a" size:10'
    assert first.attribute("file-transfer-id") == "t1"
    assert first.attribute("file-disposition") is None
    assert first.attribute("file-icon") is None
    assert first.attribute("recvonly") == ""
    assert second.refused
    assert [line.local.path[0] for line in result.lines] == ["msrp://198.51.100.1:2855/n1;tcp"]


@pytest.mark.requirement("LRG-06")
def test_declared_size_over_the_limit_is_403() -> None:
    assert refused(answer(offered(file_offer(size=100)), replace(POLICY, max_size=99))) == 403
    assert one(answer(offered(file_offer(size=99)), replace(POLICY, max_size=99)))
    draft = replace(PLAIN, direction=Direction.SENDONLY)
    text = offered(draft).build() + b"a=filelength:100\r\n"
    assert refused(answer(sdp.parse(text), replace(POLICY, max_size=99))) == 403
    answered = agreed(answer(sdp.parse(text), POLICY)).description.build()
    assert b"file" not in answered  # the draft's attributes are never written


@pytest.mark.requirement("LRG-05", "MED-12")
def test_files_follow_policy() -> None:
    assert refused(answer(offered(file_offer(name="a")), replace(POLICY, files=False))) == 403
    text_only = replace(POLICY, accept_wrapped_types=("text/*",), accept_types=("message/cpim", "text/*"))
    assert refused(answer(offered(file_offer(type="image/png")), text_only)) == 488
    assert one(answer(offered(file_offer(type="text/csv")), text_only))


@pytest.mark.requirement("LRG-05")
def test_file_to_fetch() -> None:
    here = FileDescription(FileSelector("a", "text/plain", 3, (("sha-1", "AA"),)))
    policy = replace(POLICY, available_files=(here,))
    line = one(answer(offered(file_offer(Direction.RECVONLY, name="a")), policy))
    assert line.local.file == replace(here, transfer_id="t1")
    assert line.local.direction is Direction.SENDONLY
    assert refused(answer(offered(file_offer(Direction.RECVONLY, name="b")), policy)) == 488
    assert refused(answer(offered(file_offer(Direction.RECVONLY, name="b")), POLICY)) == 488


def test_malformed_line_is_an_error() -> None:
    text = offered().build() + b"m=message 1 TCP/MSRP *\r\n"
    with pytest.raises(SdpError):
        answer(sdp.parse(text), POLICY)


def test_path_without_port_cannot_be_connected_to() -> None:
    line = replace(PLAIN, path=("msrp://192.0.2.7/a1;tcp",), setup=Setup.PASSIVE)
    with pytest.raises(SdpError, match="port"):
        answer(offered(line), replace(POLICY, cema=False))


@pytest.mark.requirement("MED-05", "CNF-09")
def test_offer_and_conclusion_agree() -> None:
    policy = replace(POLICY, conference=True, chatroom=("nickname",), max_size=7)
    ours = offer(US, "198.51.100.1", [offered_line(policy, "f1"), offered_line(policy, "f2", secure=True)])
    assert [section.attribute("setup") for section in ours.media] == ["actpass", "actpass"]
    assert ours.media[0].attribute("accept-types") == "message/cpim"
    client = LocalPolicy(LocalEndpoint("192.0.2.7", 7394), THEM, ("c1",), behind_nat=True)
    theirs = agreed(answer(sdp.parse(ours.build()), client))
    assert theirs.lines[0].active
    assert theirs.lines[0].connect_to == ("198.51.100.1", 2855)
    result = conclude(ours, sdp.parse(theirs.description.build()), policy)
    assert not isinstance(result, Refusal)
    (line,) = result
    assert (line.index, line.active, line.connect_to) == (0, False, None)
    assert line.local.setup is Setup.PASSIVE
    assert line.send_types == ("message/cpim",)


@pytest.mark.parametrize(
    ("setup", "connect_to"),
    [(None, ("192.0.2.7", 7394)), (Setup.PASSIVE, ("192.0.2.7", 7394)), (Setup.ACTIVE, None)],
)
def test_offerer_connects_by_default(setup: Setup | None, connect_to: tuple[str, int] | None) -> None:
    ours = offer(US, "198.51.100.1", [offered_line(POLICY, "f1")])
    result = conclude(ours, offered(replace(PLAIN, setup=setup)), POLICY)
    assert not isinstance(result, Refusal)
    assert result[0].connect_to == connect_to


def test_conclusions_that_are_refusals() -> None:
    ours = offer(US, "198.51.100.1", [offered_line(replace(POLICY, behind_nat=True), "f1")])
    assert parse(ours, ours.media[0]).port == 9
    for theirs in (offered(), offered(PLAIN, PLAIN), offered(replace(PLAIN, port=0))):
        assert isinstance(conclude(ours, theirs, POLICY), Refusal)
    assert isinstance(conclude(ours, offered(replace(PLAIN, setup=Setup.ACTIVE)), POLICY), Refusal)


RELAYED = replace(PLAIN, path=("msrp://192.0.2.7:7394/r;tcp", "msrp://10.0.0.1:1/a1;tcp"))
MOVED = replace(PLAIN, address="203.0.113.5", port=9000)  # a middlebox wrote its own address into c= and m=


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("media", "same"),
    [
        (PLAIN, True),
        (MOVED, False),
        (replace(PLAIN, port=1), False),
        (replace(PLAIN, address=None), True),
        (RELAYED, True),
        (replace(PLAIN, port=9, setup=Setup.ACTIVE), True),
        (replace(PLAIN, address="2001:DB8:0::1", path=("msrp://[2001:db8::1]:7394/a;tcp",)), True),
        (replace(PLAIN, path=("msrp://Desk.example.org:7394/a;tcp",), address="desk.example.org"), True),
        (replace(PLAIN, path=("msrp://desk.example.org:7394/a;tcp",)), True),  # resolved below
        (replace(PLAIN, path=("msrp://other.example.org:7394/a;tcp",)), False),
    ],
)
def test_address_matching(media: MsrpMedia, same: bool) -> None:
    assert same_address(media, {"desk.example.org": {"192.0.2.7", "192.0.2.8"}}) is same


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("media", "relay", "active", "tolerant", "expected"),
    [
        (PLAIN, False, False, False, CemaAnswer.USE),
        (replace(MOVED, cema=True), False, True, False, CemaAnswer.USE),
        (MOVED, False, True, True, CemaAnswer.REJECT),
        (MOVED, False, False, False, CemaAnswer.REJECT),
        (MOVED, False, False, True, CemaAnswer.FALL_BACK),
        (RELAYED, True, False, False, CemaAnswer.FALL_BACK),  # both use relays
        (replace(RELAYED, setup=None), False, False, False, CemaAnswer.FALL_BACK),  # its relay would connect
        (replace(RELAYED, setup=Setup.ACTPASS), False, False, False, CemaAnswer.FALL_BACK),
        (replace(RELAYED, setup=Setup.ACTPASS), False, True, False, CemaAnswer.USE),
        (PLAIN, True, True, False, CemaAnswer.FALL_BACK),
        (PLAIN, True, False, False, CemaAnswer.USE),
    ],
)
def test_cema_answerer(media: MsrpMedia, relay: bool, active: bool, tolerant: bool, expected: CemaAnswer) -> None:
    found = answer_cema(media, we_use_relay=relay, we_are_active=active, tolerant=tolerant)
    assert found is expected


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("media", "offered_cema", "relay", "active", "expected"),
    [
        (PLAIN, False, False, True, CemaOutcome.CONNECT_TO_PATH),
        (PLAIN, False, False, False, CemaOutcome.WAIT),
        (replace(MOVED, cema=True), True, False, True, CemaOutcome.CONNECT_TO_ADDRESS),
        (replace(MOVED, cema=True), True, False, False, CemaOutcome.WAIT),
        (MOVED, True, False, False, CemaOutcome.OFFER_AGAIN),  # criterion 1
        (MOVED, True, True, True, CemaOutcome.OFFER_AGAIN),  # criterion 2
        (replace(RELAYED, address="203.0.113.5"), True, False, True, CemaOutcome.OFFER_AGAIN),  # criterion 3
        (MOVED, True, False, True, CemaOutcome.CONNECT_TO_ADDRESS),
        (RELAYED, True, False, True, CemaOutcome.CONNECT_TO_PATH),
    ],
)
def test_cema_offerer(media: MsrpMedia, offered_cema: bool, relay: bool, active: bool, expected: CemaOutcome) -> None:
    found = conclude_cema(media, we_offered_cema=offered_cema, we_use_relay=relay, we_are_active=active)
    assert found is expected


def test_active_cema_answerer_connects_to_the_middlebox() -> None:
    line = one(answer(offered(replace(MOVED, cema=True, setup=Setup.PASSIVE)), POLICY))
    assert line.connect_to == ("203.0.113.5", 9000)
    assert line.local.cema


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(("cema", "active"), [(True, True), (False, False)])
def test_we_connect_to_an_anchored_offerer_behind_a_relay(cema: bool, active: bool) -> None:
    line = one(answer(offered(replace(RELAYED, cema=cema)), POLICY))
    assert line.active is active
    assert line.local.cema is active
    assert line.connect_to == (("192.0.2.7", 7394) if active else None)


@pytest.mark.requirement("MED-05")
def test_a_side_that_serves_no_port_offers_to_connect() -> None:
    line = offered_line(replace(POLICY, endpoint=LocalEndpoint("198.51.100.1", tcp_port=None)), "f1")
    assert (line.setup, line.port) == (Setup.ACTIVE, 9)
    assert line.path == ("msrp://198.51.100.1:9/f1;tcp",)


def concluded(ours: MsrpMedia, theirs: MsrpMedia, policy: LocalPolicy = POLICY) -> Negotiated | Refusal:
    """What one line offered and one answered come to."""
    found = conclude(offer(US, "198.51.100.1", [ours]), offered(theirs), policy)
    return found if isinstance(found, Refusal) else found[0]


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("media", "tolerant", "active", "connect_to"),
    [
        (replace(MOVED, setup=Setup.ACTIVE), True, False, None),
        (replace(RELAYED, address="203.0.113.5", setup=Setup.PASSIVE), True, True, ("192.0.2.7", 7394)),
        (replace(MOVED, setup=Setup.PASSIVE, port=9), True, True, ("192.0.2.7", 7394)),  # port 9 is nobody's
        (replace(MOVED, setup=Setup.ACTIVE), False, None, None),
    ],
)
def test_an_answer_through_a_middlebox_without_cema(
    media: MsrpMedia, tolerant: bool, active: bool | None, connect_to: tuple[str, int] | None
) -> None:
    """Tolerated as RFC 4975 has it; else offered again."""
    policy = replace(POLICY, tolerate_address_mismatch=tolerant)
    line = concluded(offered_line(POLICY, "n1"), media, policy)
    if active is None:
        assert isinstance(line, Refusal)
    else:
        assert isinstance(line, Negotiated)
        assert (line.active, line.connect_to) == (active, connect_to)


@pytest.mark.requirement("MED-04")
@pytest.mark.parametrize("secure", [True, False])
def test_an_answer_keeps_the_transport_of_the_offer(secure: bool) -> None:
    theirs = replace(PLAIN, secure=not secure, path=(PLAIN.path[0].replace("msrp:", "msrp:" if secure else "msrps:"),))
    assert isinstance(concluded(offered_line(POLICY, "n1", secure=secure), replace(theirs, setup=Setup.PASSIVE)), Refusal)


@pytest.mark.requirement("MED-11")
def test_who_connects_where_websocket_is_involved() -> None:
    """The client of the two, whichever side it is on; what it says of TLS is about its own hop."""
    browser = replace(PLAIN, path=("msrps://x.invalid:9/b1;ws",), secure=True, port=9, setup=None)
    line = concluded(offered_line(POLICY, "n1"), browser)
    assert isinstance(line, Negotiated)
    assert not line.active
    for setup in (None, Setup.ACTIVE, Setup.ACTPASS):
        answered = one(answer(offered(replace(browser, setup=setup)), POLICY))
        assert not answered.active
        assert answered.local.path == ("msrps://198.51.100.1:8080/n1;ws",)
        server = replace(answered.local, address="198.51.100.1")
        line = concluded(replace(browser, setup=Setup.ACTIVE), server)
        assert isinstance(line, Negotiated)
        assert line.active


@pytest.mark.requirement("LRG-05")
def test_between_two_users_a_wanted_file_is_the_other_ones() -> None:
    """A recvonly line with a selector: we have no files, and do not say that there is none."""
    wanted = FileDescription(FileSelector(name="cat.jpg"))
    line = replace(PLAIN, direction=Direction.RECVONLY, file=wanted)
    assert isinstance(answer(offered(line), POLICY), Refusal)
    assert one(answer(offered(line), replace(POLICY, between=True))).local.file is None
