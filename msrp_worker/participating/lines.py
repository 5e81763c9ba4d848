"""What one side's MSRP line becomes on the other side of the participating function. Pure."""

from __future__ import annotations

from dataclasses import replace

from msrp_worker.sdp_msrp import MsrpMedia, Setup


def smaller(*sizes: int | None) -> int | None:
    """The smallest of several limits in bytes; None where there is none."""
    return min((size for size in sizes if size is not None), default=None)


def offered_across(line: MsrpMedia, ours: MsrpMedia) -> MsrpMedia:
    """The caller's line as the callee is offered it: what the caller wants, at our address.

    `ours` has our path, port, transport, certificate and largest size.
    """
    return replace(
        line,
        path=ours.path,
        port=ours.port,
        address=None,
        secure=ours.secure,
        setup=Setup.ACTPASS,  # MED-05
        cema=True,  # a callee behind a middlebox answers with the address to connect to (RFC 6714)
        fingerprints=ours.fingerprints,  # MED-04
        max_size=smaller(line.max_size, ours.max_size),  # MED-12
    )


def answered_across(ours: MsrpMedia, answered: MsrpMedia) -> MsrpMedia:
    """Our line of the answer to the caller, with what the callee took of the offer.

    `ours` is what we would answer by ourselves.
    """
    return replace(
        ours,
        direction=answered.direction,
        accept_types=answered.accept_types,  # MED-12
        accept_wrapped_types=answered.accept_wrapped_types,
        max_size=smaller(ours.max_size, answered.max_size),
        file=answered.file,  # LRG-05
    )
