"""What the client raises. Each error says what happened and, for people, what to do about it."""

from sipmessage import Request


class ImClientError(Exception):
    """Base of all errors of this package that a caller may want to catch."""


class MalformedMessageError(ImClientError):
    """Bytes that are no SIP message.

    `status` is the response it deserves where it is a request; `request` is as much of that as could be read.
    """

    def __init__(self, text: str, status: int = 400, request: Request | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.request = request


class NoAnswerError(ImClientError):
    """No final response within 64*T1: to be treated as a 408 (RFC 3261 section 8.1.3.1)."""

    status = 408


class ConnectionFailedError(ImClientError):
    """The transport could not deliver: to be treated as a 503 (RFC 3261 section 8.1.3.1)."""

    status = 503


class MessageTooLargeError(ImClientError):
    """A MESSAGE above the limit of pager mode on a transport without congestion control (clause 8.1)."""


class RegistrationError(ImClientError):
    """The registrar refused. `status` and `reason` are those of its final response."""

    def __init__(self, text: str, status: int, reason: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


class SessionRefusedError(ImClientError):
    """There is no session: `status` and `reason` are those of the final response, or 487 after a CANCEL."""

    def __init__(self, status: int, reason: str, warning: str = "") -> None:
        super().__init__(f"{status} {reason}" + (f" ({warning})" if warning else ""))
        self.status = status
        self.reason = reason
        self.warning = warning


class SubscriptionError(SessionRefusedError):
    """A subscription or publication was refused; as SessionRefusedError."""


class SessionEndedError(ImClientError):
    """The session has ended, or never came to be: nothing can be sent in it."""


class MediaFailedError(ImClientError):
    """The MSRP session of an IM session could not be brought up."""


class XcapError(ImClientError):
    """A document was not read or changed: `status` of the answer, and of a conflict (409) what its report says.

    `condition` is the name of the error element of RFC 4825 section 11.1, `phrase` its text for people.
    """

    def __init__(self, status: int, reason: str, condition: str = "", phrase: str = "") -> None:
        super().__init__(f"{status} {reason}" + (f" ({phrase or condition})" if condition else ""))
        self.status = status
        self.reason = reason
        self.condition = condition
        self.phrase = phrase
