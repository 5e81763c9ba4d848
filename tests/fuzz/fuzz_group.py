"""Coverage-guided fuzzing of group documents: `python tests/fuzz/fuzz_group.py tests/fuzz/corpus/group`.

Permitted outcomes: a group whose rights can be asked for, or GroupError that says why.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports():
    from msrp_worker import group, group_rules
    from msrp_worker.address import canonical

_NOBODY = "sip:nobody@elsewhere.example"


def one_input(data: bytes) -> None:
    """Read, and ask what members and others may do."""
    try:
        found = group.parse_group(data)
    except group.GroupError as error:
        assert str(error)
        return
    assert canonical(found.uri) == found.uri
    assert len({member.uri for member in found.members}) == len(found.members)
    assert found.max_participants is None or found.max_participants >= 1
    assert found.kind is not group.GroupKind.AD_HOC
    for user in (None, _NOBODY, *(member.uri for member in found.members[:3])):
        rights = group_rules.rights(found, user)
        assert found.rules is not None or rights.join is (found.member(user or "") is not None)
        assert (
            found.kind is not group.GroupKind.PUBLIC
            or user != _NOBODY
            or not found.rules
            or _may_be_excepted(found, rights)
        )


def _may_be_excepted(found: group.Group, rights: group_rules.GroupRights) -> bool:
    """A public group admits everybody whom none of its rules leaves out."""
    return rights.join or any(
        any(
            getattr(entity, "except_ids", ()) or getattr(entity, "except_domains", ())
            for entity in rule.conditions.identity or ()
        )
        for rule in found.rules or ()
    )


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
