"""Coverage-guided fuzzing of resource-lists documents: `python tests/fuzz/fuzz_lists.py tests/fuzz/corpus/lists`.

Permitted outcomes: lists that can be evaluated, each within its bounds, or ListsError that says why.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports():
    from msrp_worker import list_references, resource_lists
    from msrp_worker.address import canonical

_KEY = list_references.DocumentKey("sip:alice@example.com", "index")
_ROOT = "http://example.com:8080/xcap"
_ROOTS = list_references.XcapRoots("example.com", (_ROOT,))


def one_input(data: bytes) -> None:
    """Read, and evaluate each list at the top as if the document were alice's."""
    try:
        document = resource_lists.parse_lists(data)
    except resource_lists.ListsError as error:
        assert str(error)
        return
    for found in document.lists:
        anchor = list_references.anchor_of(_ROOT, _KEY, found.name or "")
        outcome = list_references.members_of(anchor, {_KEY: document}, _ROOTS)
        addresses = [member.uri for member in outcome.members]
        assert len(set(addresses)) == len(addresses) <= document.count()
        assert all(canonical(address) == address for address in addresses)
        assert len(outcome.problems) <= list_references.MOST_PROBLEMS
        assert _KEY not in outcome.missing


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
