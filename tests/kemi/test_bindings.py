"""Marks of bindings: given by a REGISTER contact by contact, asked for by a request."""

from __future__ import annotations

import pytest

from kemi import bindings
from kemi.sip_values import Mark
from tests.kemi.bench import ADVERTISEMENT, ADVERTISEMENT_FLAG, BOB, CAPABLE, CAPABLE_FLAG, LARGE, LARGE_FLAG, Bench, sip

FLAGS = {Mark.CAPABLE: CAPABLE_FLAG, Mark.LARGE: LARGE_FLAG, Mark.ADVERTISEMENT: ADVERTISEMENT_FLAG}
IM, LARGE_TAG, AD = "+g.oma.sip-im", "+g.oma.sip-im.large-message", "+g.poc.groupad"


def register(bench: Bench, *contacts: str) -> None:
    """A REGISTER with a Contact header for each."""
    headers = [f"Contact: {contact}" for contact in contacts]
    bench.kamailio.receive(sip("REGISTER", *headers, uri="sip:example.com", content=b""))


@pytest.mark.requirement("COR-07", "COR-10", "LRG-08", "ADV-03")
@pytest.mark.parametrize(
    ("contacts", "saves"),
    [
        ([f"<sip:a@h>;{IM}"], [(f"<sip:a@h>;{IM}", CAPABLE)]),
        ([f"<sip:a@h>;{LARGE_TAG}"], [(f"<sip:a@h>;{LARGE_TAG}", CAPABLE | LARGE)]),
        ([f"<sip:a@h>;{IM};{AD}"], [(f"<sip:a@h>;{IM};{AD}", CAPABLE | ADVERTISEMENT)]),
        (
            [f"<sip:a@h>;{IM};{AD}", f"<sip:b@h>;{AD};{IM}"],
            [(f"<sip:a@h>;{IM};{AD}, <sip:b@h>;{AD};{IM}", CAPABLE | ADVERTISEMENT)],
        ),
        ([f"<sip:a@h>;{IM}", "<sip:b@h>"], [(f"<sip:a@h>;{IM}", CAPABLE), ("<sip:b@h>", 0)]),
        ([f"<sip:a@h>, <sip:b@h>;{IM}"], [("<sip:a@h>", 0), (f"<sip:b@h>;{IM}", CAPABLE)]),
        (
            [f"<sip:a@h>;{IM};{AD}", f"<sip:b@h>;{IM}"],
            [(f"<sip:a@h>;{IM};{AD}", CAPABLE | ADVERTISEMENT), (f"<sip:b@h>;{IM}", CAPABLE)],
        ),
        (
            [f"<sip:a@h;x=1>;{LARGE_TAG};{AD}, <sip:b@h>", f'"B, b" <sip:c@h>;{IM};q=0.5', f"<sip:d@h>;{IM};{AD}"],
            [
                (f"<sip:a@h;x=1>;{LARGE_TAG};{AD}", CAPABLE | LARGE | ADVERTISEMENT),
                ("<sip:b@h>", 0),
                (f'"B, b" <sip:c@h>;{IM};q=0.5', CAPABLE),
                (f"<sip:d@h>;{IM};{AD}", CAPABLE | ADVERTISEMENT),
            ],
        ),
    ],
)
def test_each_contact_is_saved_with_its_own_marks(bench: Bench, contacts: list[str], saves: list[tuple[str, int]]) -> None:
    """The last of them by the operator's own save, which finds them as the message's contacts and marks."""
    register(bench, *contacts)
    assert bench.hook("im_contacts") == "capable"
    assert bench.hook("im_mark_contacts") == "marked"
    assert bench.kamailio.message is not None
    last = b", ".join(bench.kamailio.message.values("Contact")).decode()
    assert [*bench.kamailio.saved, (last, bench.kamailio.branch_flags)] == saves
    assert bench.kamailio.replies == []


@pytest.mark.requirement("COR-07", "ADV-03")
@pytest.mark.parametrize(
    "contact", ["<sip:a@h>", "*", "<sip:a@h>, <sip:b@h>", f"<sip:a@h>;{AD}", f'<sip:a@h>;{IM}="FALSE"']
)
def test_a_register_that_is_none_for_im_is_left_alone(bench: Bench, contact: str) -> None:
    register(bench, contact)
    assert bench.hook("im_contacts") == "plain"
    assert bench.kamailio.saved == []


@pytest.mark.requirement("COR-10")
def test_a_registration_that_cannot_be_saved_is_answered(bench: Bench) -> None:
    bench.kamailio.save_fails = True
    register(bench, f"<sip:a@h>;{IM}", "<sip:b@h>")
    assert bench.hook("im_mark_contacts") == "done"
    assert bench.statuses == [500]


@pytest.mark.requirement("COR-07", "LRG-08", "ADV-03")
@pytest.mark.parametrize(
    ("devices", "large", "advertisement", "found", "only_large"),
    [
        ([], False, False, (False, False), None),
        ([], False, True, (False, False), None),
        ([0], False, False, (False, False), 0),
        ([0], False, True, (False, False), 0),
        ([CAPABLE], False, False, (True, False), 0),
        ([CAPABLE], False, True, (False, True), 0),
        ([0, CAPABLE | LARGE], False, True, (False, True), 0),
        ([CAPABLE | ADVERTISEMENT], False, False, (True, False), 0),
        ([CAPABLE | ADVERTISEMENT], False, True, (True, False), 0),
        ([0, CAPABLE, CAPABLE | ADVERTISEMENT], False, True, (True, False), 0),
        ([CAPABLE, CAPABLE | LARGE], True, False, (True, False), 1),
        ([CAPABLE], True, False, (True, False), 0),
    ],
)
def test_what_a_request_asks_for_is_looked_up(
    bench: Bench, devices: list[int], large: bool, advertisement: bool, found: tuple[bool, bool], only_large: int | None
) -> None:
    if devices:
        bench.kamailio.bindings[BOB] = [(f"sip:{number}@192.0.2.2", flags) for number, flags in enumerate(devices)]
    bench.receive()
    assert bindings.look_up(FLAGS, BOB, large=large, advertisement=advertisement) == found
    assert bench.kamailio.avp("im_large") == only_large
    assert bench.kamailio.avp("im_advertisement") == (1 if devices and advertisement else None)
