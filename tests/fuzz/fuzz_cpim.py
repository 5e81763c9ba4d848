"""Coverage-guided fuzzing of message/cpim: `python tests/fuzz/fuzz_cpim.py tests/fuzz/corpus/cpim`.

Permitted outcomes: a message that keeps its bytes, or CpimError; the same for any cut.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports():
    from msrp_worker import cpim


def one_input(data: bytes) -> None:
    """The first byte says where to cut the rest."""
    cut, message = data[:1], data[1:]
    try:
        envelope, body = cpim.parse(message)
        _ = (envelope.sender, envelope.recipients, envelope.copies, envelope.unknown_requirements())
        _ = (envelope.subject("en"), envelope.message_id, envelope.content_type)
    except cpim.CpimError:
        return
    assert envelope.head + body == message
    again, nothing = cpim.parse(envelope.anonymised().head)
    assert nothing == b""
    assert again.sender in (None, cpim.Address(cpim.ANONYMOUS_URI, "Anonymous"))
    reader = cpim.HeadReader()
    at = cut[0] if cut else 0
    found = reader.feed(message[:at])
    rest = b"" if found is None else message[at:]
    found = found or reader.feed(message[at:])
    assert found is not None
    assert (found[0], found[1] + rest) == (envelope, body)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
