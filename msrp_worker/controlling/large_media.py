"""The media of one who sends or receives a large message to many: an MSRP session for each of its files (9.3.1, LRG-02).

Files have numbers, in the order of the sender's lines that the focus takes; the offers to those invited have a line for
each, in that order. Nobody has to take all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from msrp_worker.controlling.large_fanout import LargeSwitch, SentFile
from msrp_worker.controlling.media import Early, Room, SeatMedia, describe_client
from msrp_worker.controlling.refusal import Refused, not_acceptable
from msrp_worker.controlling.terms import MOST_FILES, carried_by, only_files, read
from msrp_worker.cpim import Address
from msrp_worker.media_session import accepted_session, new_session_id, offered_session, settle
from msrp_worker.msrp import Session
from msrp_worker.msrp.room import Participant
from msrp_worker.offer_answer import LocalPolicy, Negotiated, Refusal, conclude, offer
from msrp_worker.sdp import Line, Media, SdpError, SessionDescription, describe
from msrp_worker.sdp_msrp import Setup


@dataclass(slots=True)
class _File:
    """One file of one participant."""

    session: Session
    index: int
    """Of its line in the descriptions of this participant."""
    negotiated: Negotiated | None = None
    participant: Participant | None = None
    early: Early | None = None


class LargeMedia(SeatMedia):
    """As `SeatMedia`, with one MSRP session for each file; `on_lost` is told when the last of them has ended."""

    def __init__(
        self, room: Room, host: str, number: int, address: Address, anonymous: str | None, on_lost: Callable[[str], None]
    ) -> None:
        super().__init__(room, host, number, address, anonymous, on_lost)
        assert isinstance(room.switch, LargeSwitch)
        self._switch = room.switch
        self._files: dict[int, _File] = {}
        """Those that are on their way, by number."""
        self._made: SessionDescription | None = None
        """An offer of ours without its answer."""
        self._last: tuple[Media, ...] = ()
        """The sections of what was said last."""

    @property
    def connected(self) -> bool:
        """Whether who receives has a connection for each file, or who sends one for any: the next file may come later."""
        linked = [file.session.link is not None for file in self._files.values()]
        return any(linked) if self.participant is None or not self.participant.receives else bool(linked) and all(linked)

    # --- the sender

    def hear(self, offered: bytes) -> Refused | None:
        """As `SeatMedia`: what the sender offers to send, for all to come."""
        refused = super().hear(offered)
        if refused is None and self._offered is not None and self._judged is not None:
            sections = self._offered.media
            self._switch.files = tuple(
                SentFile(line.remote, carried_by(sections[line.index])) for line in self._judged.lines
            )
        return refused

    def accept(self, narrowed: tuple[str, ...] = ()) -> bytes:
        """The answer to the sender, once it is known who takes what: a file that nobody takes is refused (RFC 5547 section
        8.3.1). The content may come from now on."""
        assert self._offered is not None and self._judged is not None, "a large message begins with an offer"
        wanted = self._switch.wanted()
        sections = list(self._judged.description.media)
        for number, line in enumerate(self._judged.lines):
            if number not in wanted:
                sections[line.index] = self._offered.media[line.index].refuse()
                continue
            session = accepted_session(self._room.endpoint, line, self._switch, self._room.terms.options)
            self._files[number] = _File(session, line.index, line)
        self._sit_all()
        return self._describe(self._judged.description, sections)

    # --- who is invited

    def offer(self, extra: tuple[Line, ...] = ()) -> bytes:
        """Our offer: the lines of the sender, with what they say and nobody here knows (7.2.2.2-3a)."""
        policy = self._policy()
        sections: list[Media] = []
        for number, (name, sent) in enumerate(zip(policy.session_ids, self._switch.files, strict=True)):
            line = self._room.terms.file_line(policy, name, sent.line)
            (section,) = offer(policy.origin, self._host, [line]).media
            sections.append(replace(section, lines=(*section.lines, *sent.carried)))
            early = Early(self)
            session = offered_session(self._room.endpoint, line, early, self._room.terms.options)
            self._files[number] = _File(session, number, early=early)
        self._made = describe(policy.origin, self._host, sections)
        return self._describe(self._made, sections)

    def heard_answer(self, answered: bytes) -> Refused | None:
        """Which of the files are wanted; the refusal when none is. The first answer still needs `admit`."""
        if self._made is None:
            return None
        made, self._made = self._made, None
        try:
            outcome = conclude(made, read(answered), self._policy())
        except SdpError as error:
            outcome = Refusal(error.status, str(error))
        lines = {} if isinstance(outcome, Refusal) else {line.index: line for line in outcome if line.send_types}  # CNF-09
        self._keep(lines)
        if not self._files:
            return not_acceptable(outcome.reason if isinstance(outcome, Refusal) else "no common content type")
        for file in self._files.values():
            file.negotiated = lines[file.index]
        self.negotiated = next(iter(lines.values()))
        return None

    def admit(self) -> None:
        """Who answered receives from now on."""
        for file in self._files.values():
            assert file.negotiated is not None
            settle(file.session, file.negotiated)
        self._sit_all()
        for file in self._files.values():
            if file.early is not None:
                file.early.give_way(file.session, self._switch)
                file.early = None

    # --- both

    def renew(self, offered: bytes) -> bytes | Refused:  # CNF-21
        """The answer to new terms: a file may be given up, or be held; the MSRP sessions are what they were."""
        if not offered:
            return self._current()
        # A recipient that repeats the selector of the file asks nothing of us that we would have to look for.
        outcome = self._answer(offered, replace(self._policy(), session_ids=self._names(offered), between=True))
        if isinstance(outcome, Refused):
            return outcome
        lines = {line.index: line for line in outcome.lines}
        for file in self._files.values():
            line, before = lines.get(file.index), file.negotiated
            if line is None or before is None:
                continue
            if line.remote.path != before.remote.path or line.local.path != before.local.path:
                return not_acceptable("A large message goes on in the MSRP sessions in which it began")
        self._keep(lines)
        for file in self._files.values():
            file.negotiated = lines[file.index]
            if file.participant is not None:
                describe_client(file.participant, file.negotiated)
        return self._describe(outcome.description, outcome.description.media)

    def withdraw(self) -> None:
        """Our offer was refused: what was agreed before holds."""
        self._made = None

    def close(self, reason: str) -> None:
        """End all the MSRP sessions."""
        self._closed = True
        self._made = None
        for file in list(self._files.values()):
            file.session.close(reason)

    def lost(self, session: Session, reason: str) -> None:
        """An MSRP session ended: of no importance while there are others."""
        number = next((number for number, file in self._files.items() if file.session is session), None)
        if self._closed or number is None:
            return
        del self._files[number]
        if not self._files and self.negotiated is not None:  # else its answer is still to come, and is refused
            self._on_lost(reason)

    # --- inside

    def _read(self, offered: bytes) -> SessionDescription:
        """Of a first offer all files; of a later one those that are still on their way."""
        description = read(offered)
        if not self._last:
            return only_files(description)
        indexes = {file.index for file in self._files.values()}
        sections = (one if at in indexes else one.refuse() for at, one in enumerate(description.media))
        return replace(description, media=tuple(sections))

    def _policy(self, narrowed: tuple[str, ...] = (), name: str = "") -> LocalPolicy:
        """With names for the MSRP sessions of all files; of a first offer nobody knows yet how many they are."""
        count = len(self._switch.files) or MOST_FILES
        return replace(super()._policy(narrowed, name), session_ids=tuple(new_session_id() for _ in range(count)))

    def _names(self, offered: bytes) -> tuple[str, ...]:
        """The names of our MSRP sessions for the lines of a later offer."""
        names = {file.index: file.session.local.session_id or "" for file in self._files.values()}
        try:
            return tuple(names[at] for at, section in enumerate(self._read(offered).media) if not section.refused)
        except SdpError:
            return ()  # it is refused where it is answered

    def _keep(self, indexes: Collection[int]) -> None:
        """Give up the files whose lines are not among these."""
        for number, file in list(self._files.items()):
            if file.index not in indexes:
                del self._files[number]
                file.session.close("not wanted")

    def _sit_all(self) -> None:
        for number, file in self._files.items():
            line = file.negotiated
            assert line is not None
            file.participant = Participant(
                file.session, self.address, anonymous=self.anonymous, rooms=self.rooms, context=self
            )
            describe_client(file.participant, line)
            self._switch.take(file.participant, number)
            self.participant, self.negotiated = self.participant or file.participant, self.negotiated or line
            self._connect(file.session, line)

    def _describe(self, description: SessionDescription, sections: Collection[Media]) -> bytes:
        self._last = tuple(sections)
        return self._said(replace(description, media=self._last))

    def _current(self) -> bytes:
        """Our description as it stands, for a peer that asks for an offer: the same MSRP sessions."""
        policy = self._policy()
        sections = [section.refuse() for section in self._last]
        for file in self._files.values():
            assert file.negotiated is not None
            local = file.negotiated.local
            setup = Setup.ACTIVE if local.setup is Setup.ACTIVE else Setup.ACTPASS  # RFC 6135 section 4.2.1
            sections[file.index] = replace(local, setup=setup).build()
        self._made = describe(policy.origin, self._host, sections)
        return self._describe(self._made, sections)
