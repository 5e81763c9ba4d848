"""Coverage-guided fuzzing of the MSRP codec: python tests/fuzz/fuzz_codec.py -runs=N [corpus folder]

The first byte of an input says how it is cut, the rest is the stream. Permitted outcomes: the events of
`codec.Event`, the same ones however the stream is cut and with or without the shortcuts; an URI, or UriError.
Anything else, any other exception above all, is a find.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["msrp_worker.msrp"]):
    from msrp_worker.msrp.codec import CodecLimits, Parser
    from msrp_worker.msrp.frames import Broken, Data, End, Event, Malformed, Request
    from msrp_worker.msrp.uri import UriError, parse_path

LIMITS = CodecLimits(header_bytes=600, header_count=12)
"""Small, so that inputs of the fuzzer's size reach them."""


def parse(pieces: list[bytes], *, shortcuts: bool) -> list[Event]:
    """The events of the pieces, bodies joined to their requests."""
    parser = Parser(LIMITS, shortcuts=shortcuts)
    joined: list[Event] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, Data | End):
                request = joined[-1]
                assert isinstance(request, Request)
                assert request.flag is None
                if isinstance(event, Data):
                    assert event.data
                    request.body = (request.body or b"") + event.data
                else:
                    request.body = request.body or b""
                    request.flag = event.flag
            else:
                joined.append(Broken("") if isinstance(event, Broken) else event)
    assert parser.broken or len(parser._buffer) < LIMITS.header_bytes + 12_000
    return joined


def check(data: bytes) -> None:
    """One input."""
    size, stream = (data[0] or 1, data[1:]) if data else (1, b"")
    whole = parse([stream], shortcuts=True)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    cut = parse(pieces, shortcuts=True)
    if whole and isinstance(whole[-1], Request) and whole[-1].flag is None:
        # The last frame is not finished: how much of its body is out depends on the cut.
        assert isinstance(cut[-1], Request)
        whole[-1].body = cut[-1].body = None
    elif len(cut) == len(whole) + 1 and isinstance(cut[-1], Broken):
        cut.pop()
    assert cut == whole, (cut, whole)
    general = parse([stream], shortcuts=False)
    if general and isinstance(general[-1], Request) and general[-1].flag is None:
        general[-1].body = None
    assert general == whole, (general, whole)
    for event in whole:
        if isinstance(event, Malformed):
            continue
        for path in (getattr(event, "to_path", ""), getattr(event, "from_path", "")):
            try:
                parse_path(path)
            except UriError:
                pass


def main() -> None:
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
