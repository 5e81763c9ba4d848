"""Coverage-guided fuzzing of URI-lists in bodies: `python tests/fuzz/fuzz_uri_list.py tests/fuzz/corpus/uri_list`.

Permitted outcomes: no list, recipients that survive being written, or UriListError with a status and one printable line.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports():
    from msrp_worker import uri_list
    from msrp_worker.address import canonical


def one_input(data: bytes) -> None:
    """The first line is the Content-Type, the rest the body."""
    head, _, body = data.partition(b"\n")
    try:
        found = uri_list.read_uri_list(head.decode("utf-8", "surrogateescape").strip(), body, most=100)
    except uri_list.UriListError as error:
        assert error.status in (400, 413, 415)
        assert str(error).isprintable()
        return
    if found is None:
        return
    uris = [one.uri for one in found.recipients]
    assert 0 < len(uris) == len(set(uris)) <= 100
    for one in found.recipients:
        assert canonical(one.target) == one.uri
        assert "?" not in one.target
    again = uri_list.read_uri_list(uri_list.RESOURCE_LISTS, uri_list.build_list(found.recipients))
    assert again is not None
    assert [(one.uri, one.copy_control, one.anonymize) for one in again.recipients] == [
        (one.uri, one.copy_control, one.anonymize) for one in found.recipients
    ]
    history = uri_list.build_history(found)
    assert (history is None) is all(one.copy_control is uri_list.CopyControl.BCC for one in found.recipients)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
