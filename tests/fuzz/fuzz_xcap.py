"""Coverage-guided fuzzing of XCAP requests: `python tests/fuzz/fuzz_xcap.py tests/fuzz/corpus/xcap`.

Permitted outcomes: a UriError of 400 or 404; a Conflict; a node that was put is read back; what was deleted is gone;
credentials that are None or have all their parts.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports():
    from msrp_worker.xcap import conditions, digest, report, tree
    from msrp_worker.xcap.report import Conflict
    from msrp_worker.xcap.selector import Bindings, NodeSelector, UriError, node_selector, split

DOCUMENT = b"""<a xmlns="urn:a" xmlns:b="urn:b"> <!-- c -->
 <b x="1">text</b><b x="2"/> <b:c b:y="3"><b/> </b:c> tail
</a>"""


def one_input(data: bytes) -> None:
    """The first line is the request-target behind the root, the second a header, the rest the body."""
    target, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    text = header.decode("latin-1")
    given = digest.parse(text)
    if given is not None:
        assert given.username is not None and not digest.is_right(given, "secret", "GET", "/")
    assert conditions.failed("PUT", text, text, "e") in (None, 412)
    try:
        uri = split("/x/" + target.decode("utf-8", "surrogateescape"), "/x/")
        node = None if uri.node is None else node_selector(uri.node, uri.query, "urn:a")
    except UriError as error:
        assert error.status in (400, 404)
        return
    assert uri.document and all(uri.document)
    if node is not None:
        check(node, body)


def check(node: NodeSelector, body: bytes) -> None:
    """Read, put and delete one node of the document."""
    before = tree.read(tree.parse(DOCUMENT), node)
    assert tree.read(tree.parse(DOCUMENT), node) == before
    if isinstance(node.terminal, Bindings):
        return  # the server lets nobody change those
    made = tree.put(tree.parse(DOCUMENT), node, body)
    if isinstance(made, Conflict):
        tree.parse(report.build(made))
    else:
        after = tree.read(made.root, node)
        assert after is not None and tree.read(tree.parse(made.body), node) == after
        if node.terminal is None:
            assert made.created is (before is None)
    gone = tree.delete(tree.parse(DOCUMENT), node)
    if isinstance(gone, tree.Edited):
        assert before is not None and tree.read(tree.parse(gone.body), node) is None
    elif gone is None:
        assert before is None


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
