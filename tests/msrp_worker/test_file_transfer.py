"""RFC 5547, and the OMA draft's attributes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.file_transfer import (
    FileDescription,
    FileSelector,
    format_hash,
    parse,
    select,
)
from msrp_worker.sdp import Line, Media, SdpError

SHA1 = "72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E"


def media(*attributes: str) -> Media:
    return Media("message", 7654, "TCP/MSRP", ("*",), tuple(Line("a", text) for text in attributes))


def back(description: FileDescription) -> FileDescription | None:
    return parse(Media("message", 1, "TCP/MSRP", ("*",), tuple(description.lines())))


@pytest.mark.requirement("LRG-05")
def test_everything_at_once() -> None:
    described = parse(
        media(
            f'file-selector:name:"My %22cool%22 picture.jpg" type:image/jpeg size:32349 hash:sha-1:{SHA1}',
            "file-transfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd",
            "file-disposition:attachment",
            'file-date:creation:"Mon, 15 May 2006 15:01:31 +0300" read:"Tue, 16 May 2006 00:00:00 +0000"',
            "file-icon:cid:id2@pc.example.com",
            "file-range:1-32349",
        )
    )
    assert described is not None
    assert described.selector.name == 'My "cool" picture.jpg'
    assert (described.selector.type, described.selector.size) == ("image/jpeg", 32349)
    assert described.selector.hash("SHA-1") == bytes.fromhex(SHA1.replace(":", ""))
    assert described.selector.hash("sha-256") is None
    assert described.dates[1] == ("read", "Tue, 16 May 2006 00:00:00 +0000")
    assert described.icon == "id2@pc.example.com"
    assert described.range == (1, 32349)
    assert not described.legacy
    assert back(described) == described
    answered = described.answered_by_receiver()
    assert (answered.icon, answered.disposition, answered.dates) == (None, None, ())
    assert (answered.selector, answered.range) == (described.selector, (1, 32349))


@pytest.mark.requirement("LRG-05")
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            ("filename:report.pdf", "filetype:application/pdf", "filesize:100"),
            FileDescription(FileSelector("report.pdf", "application/pdf", 100), legacy=True),
        ),
        (("filesize:7",), FileDescription(FileSelector(size=7), legacy=True)),
        (("filelength: 8 ",), FileDescription(FileSelector(size=8), legacy=True)),
        (
            ('filename:"a b"', "disposition:inline"),
            FileDescription(FileSelector("a b"), disposition="render", legacy=True),
        ),
        (("accept-types:*",), None),
        (("disposition:inline",), None),
        (("file-selector",), FileDescription()),
    ],
)
def test_draft_attributes_and_absence(attributes: tuple[str, ...], expected: FileDescription | None) -> None:
    assert parse(media(*attributes)) == expected


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "attributes",
    [
        ("file-selector:size:x",),
        ("file-selector:size:" + "9" * 30,),
        ("file-selector:hash:sha-1",),
        ("file-selector:hash:sha-1:XY",),
        ("file-selector:type:text",),
        ("file-selector:type:text/plain", "file-range:5-2"),
        ("file-selector:type:text/plain", "file-range:0-2"),
        ("file-selector:type:text/plain", "file-range:1-"),
        ("file-selector:type:text/plain", "file-transfer-id:a b"),
        ("file-selector", "file-disposition:"),
        ("filesize:big",),
    ],
)
def test_malformed(attributes: tuple[str, ...]) -> None:
    with pytest.raises(SdpError):
        parse(media(*attributes))


@pytest.mark.requirement("LRG-06")
@pytest.mark.parametrize(
    ("size", "file_range", "declared"),
    [
        (100, None, 100),
        (None, None, None),
        (100, (1, 10), 10),
        (100, (91, None), 10),
        (None, (5, None), None),
    ],
)
def test_declared_size(size: int | None, file_range: tuple[int, int | None] | None, declared: int | None) -> None:
    assert FileDescription(FileSelector(size=size), range=file_range).declared_size == declared


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x\\con.txt", "C__x_con.txt"),
        ("a\0b\nc", "a_b_c"),
        (" .. ", "file"),
        (None, "file"),
        ("x" * 500, "x" * 200),
        ("日本語.txt", "日本語.txt"),
    ],
)
def test_safe_name(name: str | None, safe: str) -> None:
    assert FileSelector(name=name).safe_name == safe


@pytest.mark.requirement("LRG-05")
def test_selection() -> None:
    digest = format_hash(hashlib.sha1(b"x").digest())
    one = FileDescription(FileSelector("a", "text/plain", 1, (("sha-1", digest),)))
    two = FileDescription(FileSelector("b", "Text/Plain", 1))
    files = (one, two)
    assert select(files, FileSelector("a")) is one
    assert select(files, FileSelector(type="TEXT/plain;charset=x", name="b")) is two
    assert select(files, FileSelector(size=1)) is None  # two of them
    assert select(files, FileSelector("c")) is None
    assert select((one,), FileSelector(hashes=(("sha-1", digest),))) is one
    assert select((one,), FileSelector(hashes=(("sha-1", SHA1),))) is None


_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(_NAMES, st.none() | st.integers(0, 10**19))
def test_names_round_trip(name: str, size: int | None) -> None:
    described = FileDescription(FileSelector(name, 'text/plain;name="a b"', size))
    line = next(described.lines()).value
    assert not set(line) & set("\r\n\0")
    found = back(described)
    assert found is not None
    assert (found.selector.name, found.selector.size) == (name, size)
