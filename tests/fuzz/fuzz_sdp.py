"""Coverage-guided fuzzing of SDP and of our answers: `python tests/fuzz/fuzz_sdp.py tests/fuzz/corpus/sdp`.

Permitted outcomes: a description that survives its own writing, an answer or a refusal, or SdpError.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports():
    from msrp_worker import offer_answer, sdp, sdp_msrp

_POLICY = offer_answer.LocalPolicy(
    offer_answer.LocalEndpoint("192.0.2.1", tls_port=2856, ws_port=8080),
    sdp.Origin("-", "1", 1, "192.0.2.1"),
    tuple(f"s{n}" for n in range(4)),
    max_size=1000,
)


def one_input(data: bytes) -> None:
    """Read, write, answer, and read what we answered."""
    try:
        description = sdp.parse(data)
        assert sdp.parse(description.build()).build() == description.build()
        answer = offer_answer.answer(description, _POLICY)
    except sdp.SdpError:
        return
    if isinstance(answer, offer_answer.Refusal):
        assert answer.status in (403, 488)
        return
    written = sdp.parse(answer.description.build())
    assert len(written.media) == len(description.media)
    for line in answer.lines:
        assert sdp_msrp.parse(written, written.media[line.index]).path == line.local.path


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
