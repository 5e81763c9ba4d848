"""A large message of several files at the focus: whose lines are answered how, and what ends it (LRG-02, LRG-05)."""

from __future__ import annotations

import pytest

from kemi.messages import TransactionId
from msrp_worker import sdp
from msrp_worker.controlling.large_media import LargeMedia
from msrp_worker.controlling.refusal import Refused
from msrp_worker.controlling.terms import MOST_FILES
from tests.msrp_worker.controlling.focus_bench import FocusBench, focus, uri

pytestmark = pytest.mark.requirement("LRG-02", "LRG-05")

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
NOTHING = "m=message 0 TCP/MSRP *\r\n"


def line(name: str, direction: str = "sendonly", selector: str = "type:image/png size:5", more: str = "") -> str:
    return (
        f"m=message 9999 TCP/MSRP *\r\na={direction}\r\na=accept-types:image/png\r\n"
        f"a=path:msrp://127.0.0.1:9999/{name * 4};tcp\r\n" + (f"a=file-selector:{selector}\r\n" if selector else "") + more
    )


def description(*lines: str) -> bytes:
    return (HEAD + "".join(lines)).encode()


TWO = description(line("one", selector='name:"1" size:1', more="a=x-own:1\r\n"), line("two", selector='name:"2" size:2'))


def took(*names: str) -> bytes:
    """An answer that takes the lines with a name."""
    return description(*(line(name, "recvonly", "", "a=setup:active\r\n") if name else NOTHING for name in names))


def paths(body: bytes) -> list[str | None]:
    """The path in each section; None for one with port 0."""
    return [section.attribute("path") for section in sdp.parse(body).media]


def media(bench: FocusBench, name: str) -> LargeMedia:
    """That of a user's seat."""
    (found,) = [place.media for place in bench.session.places() if place.key == uri(name)]
    assert isinstance(found, LargeMedia)
    return found


async def begun(bench: FocusBench, bob: bytes, carol: bytes) -> TransactionId:
    """Alice sends two files, these are the answers."""
    asked = await bench.invite("alice", names=("bob", "carol"), body=TWO)
    await bench.accept("bob", bob)
    await bench.accept("carol", carol)
    await bench.ack(asked)
    return asked


async def test_offers_and_answers_line_by_line() -> None:
    async with focus() as bench:
        asked = await begun(bench, took("bob1", "bob2"), took("", "carol2"))
        offers = [sdp.parse(bench.sent(name).body).media for name in ("bob", "carol")]
        for sections in offers:
            assert [section.attribute("file-selector") for section in sections] == ['name:"1" size:1', 'name:"2" size:2']
            assert [section.attribute("x-own") for section in sections] == ["1", None]
        assert len({path for name in ("bob", "carol") for path in paths(bench.sent(name).body)}) == 4
        answered = bench.replies(asked)[-1].body
        assert None not in paths(answered)
        assert bench.session.room.switch.participants[-1].session.local_text in answered.decode()


@pytest.mark.parametrize(("bob", "carol", "refused"), [(("", "b"), ("", "c"), 0), (("b", ""), ("c", ""), 1)])
async def test_what_nobody_takes_is_refused(bob: tuple[str, ...], carol: tuple[str, ...], refused: int) -> None:
    async with focus() as bench:
        asked = await begun(bench, took(*bob), took(*carol))
        answered = sdp.parse(bench.replies(asked)[-1].body).media
        assert [section.refused for section in answered] == [number == refused for number in range(2)]
        assert len(bench.session.room.switch.participants) == 3


@pytest.mark.parametrize("answered", [took("", ""), took("one"), b"v=0\r\nnonsense", b""])
async def test_an_answer_that_takes_nothing_is_a_failure(answered: bytes) -> None:
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob",), body=TWO)
        await bench.accept("bob", answered)
        assert bench.statuses(asked)[-1] >= 400
        assert bench.methods("bob") == ["INVITE", "BYE"]
        assert not bench.function.sessions()


async def test_so_many_files_and_no_more() -> None:
    async with focus() as bench:
        lines = [line(f"f{number:02}") for number in range(MOST_FILES + 1)]
        asked = await bench.invite("alice", names=("bob",), body=description(*lines))
        assert bench.statuses(asked) == [488]
        assert not bench.port.requests()
        await bench.invite("alice", names=("bob",), body=description(*lines[1:]))
        assert len(paths(bench.sent("bob").body)) == MOST_FILES


@pytest.mark.requirement("CNF-21")
async def test_new_terms_keep_the_sessions() -> None:
    """A repeated offer, one that gives up a file, one with other paths, and none at all."""
    async with focus() as bench:
        asked = await begun(bench, took("bob1", "bob2"), took("car1", "car2"))
        hers, his = media(bench, "alice"), media(bench, "bob")
        first = paths(bench.replies(asked)[-1].body)
        again = hers.renew(TWO)
        assert isinstance(again, bytes)
        assert paths(again) == first
        ours = hers.renew(b"")
        assert isinstance(ours, bytes)
        assert paths(ours) == first
        assert [section.attribute("setup") for section in sdp.parse(ours).media] == ["actpass"] * 2
        assert hers.heard_answer(TWO) is None
        other = hers.renew(TWO.replace(b"twotwo", b"newnew"))
        assert isinstance(other, Refused)
        assert other.status == 488
        repeated = his.renew(description(*(line(name, "recvonly", "size:5") for name in ("bob1", "bob2"))))
        assert isinstance(repeated, bytes)
        assert paths(repeated) == paths(bench.sent("bob").body)
        assert len(bench.session.room.switch.participants) == 6
        fewer = his.renew(description(NOTHING, line("bob2", "recvonly", "size:5")))
        assert isinstance(fewer, bytes)
        assert paths(fewer) == [None, paths(bench.sent("bob").body)[1]]
        assert len(bench.session.room.switch.participants) == 5
        assert isinstance(his.renew(description(line("bob1", "recvonly"), NOTHING)), Refused), "given up is given up"
        assert isinstance(his.renew(b"v=0\r\nnonsense"), Refused)
        assert bench.methods("bob") == ["INVITE"]


async def test_the_last_session_that_ends_takes_the_seat_along() -> None:
    async with focus() as bench:
        await begun(bench, took("bob1", "bob2"), took("car1", "car2"))
        sessions = [one.session for one in bench.session.room.switch.participants if one.context is media(bench, "bob")]
        sessions[0].close("cut")
        await bench.settle()
        assert bench.methods("bob") == ["INVITE"]
        sessions[1].close("cut")
        await bench.settle()
        assert bench.methods("bob") == ["INVITE", "BYE"]
        assert bench.session.state.participants == {uri("alice"), uri("carol")}


@pytest.mark.requirement("CNF-08")
async def test_nobody_connects() -> None:
    async with focus() as bench:
        await begun(bench, took("bob1", "bob2"), took("car1", "car2"))
        await bench.tick(46)
        assert not bench.function.sessions()
