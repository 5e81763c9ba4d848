"""XML from strangers."""

from __future__ import annotations

import pytest

from msrp_worker import safe_xml


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("document", [b"<a>\n\x00", b"<a></\r\nb>", b"<a\xff>", b"<\x1b[31m>", b"", b"<a>" * 3])
def test_what_is_wrong_is_one_line_that_can_be_shown(document: bytes) -> None:
    """It becomes a Warning: a line break of the document, or of the parser, would begin a header field."""
    with pytest.raises(safe_xml.XmlError) as caught:
        safe_xml.parse(document)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("document", [b"<a/>", b"<a></a>", b"<a>" * 5 + b"</a>" * 5])
def test_a_document_may_be_short(document: bytes) -> None:
    """Of four bytes the parser tells only at the end."""
    assert safe_xml.parse(document).tag == "a"
    with pytest.raises(safe_xml.XmlError):
        safe_xml.parse(document, max_depth=0)
