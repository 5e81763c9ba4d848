"""Who is told what: the rules of Success-Report and Failure-Report (RFC 4975 sections 7.1.2 to 7.2), as
functions."""

from __future__ import annotations

from .frames import NO, REASONS, YES, encode_request
from .ranges import ByteRange


def wants_response(failure_report: str, code: int) -> bool:
    """Whether a SEND gets a response (section 7.1.4): with yes all of them, with partial errors, with no
    none."""
    return failure_report == YES or (code != 200 and failure_report != NO)  # MED-02


def wants_report(success_report: bool, failure_report: str, code: int) -> bool:
    """Whether a message gets a REPORT with this code (sections 7.1.3 and 7.1.4)."""
    return success_report if code == 200 else failure_report != NO  # MED-02


def encode_report(
    transaction_id: str,
    to_path: str,
    from_path: str,
    message_id: str,
    byte_range: ByteRange | None,
    code: int,
    comment: str | None = None,
) -> bytes:
    """A REPORT. `to_path` is the whole From-Path of the SEND, `byte_range` what is being reported on."""
    text = REASONS.get(code, "") if comment is None else comment
    fields = [("Message-ID", message_id)]
    if byte_range is not None:
        fields.append(("Byte-Range", str(byte_range)))
    fields.append(("Status", f"000 {code:03d}{' ' + text if text else ''}"))
    return encode_request("REPORT", transaction_id, to_path, from_path, fields)
