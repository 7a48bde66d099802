"""What became of every request, judged from what three sides wrote down.

The client says what it sent and what came back; the application, instance by
instance, what it saw and did (chaos_app.py); and whoever made the trouble, when
and to whom (chaos_record). Nothing that wakeful says of itself counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from math import inf

from benchmarks.chaos_record import Cause, Note, Outcome, Sent, Trouble

NOTICED = 1.0  # seconds in which a cut connection is noticed by the client
UNAWARE = 2.0  # seconds in which wakeful may go on using what was stopped behind its back
SETTLING = 15.0  # seconds in which starts may be refused after their failures had a cause

_REPEATABLE = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}  # RFC 9110 §9.2.2
_ONLY_FULL = {"queue_full", "queue_timeout"}


class Verdict(StrEnum):
    ANSWERED = auto()
    REFUSED = auto()  # with a reason that holds
    IN_INSTANCE = auto()  # lost inside an instance that was killed
    IN_WAKEFUL = auto()  # lost inside wakeful when it was killed
    AWAY = auto()  # came while wakeful was not there, and reached nothing
    TOLD = auto()  # a WebSocket that was told to go
    ASTRAY = auto()  # taken by an instance that the engine has forgotten, at another's address
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Ledger:
    verdicts: Mapping[str, Mapping[Verdict, int]]  # of each service's requests
    refusals: Mapping[str, int]  # by reason
    lost: Sequence[str]
    twice: Sequence[str]
    over: Sequence[str]
    left: Sequence[str]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.over or self.left)


def judge(
    sent: Sequence[Sent],
    notes: Sequence[Note],
    troubles: Sequence[Trouble],
    limits: Mapping[str, int],
    fillable: Iterable[str],
    left: Sequence[str],
    forgotten: Iterable[str] = (),
) -> Ledger:
    """The ledger. ``limits`` are each service's requests in one instance at once;
    ``fillable`` the services whose queues are filled on purpose; ``left`` what is there still;
    ``forgotten`` the instances that run although the engine does not know them any more."""
    court = _Court(notes, troubles, set(fillable), set(forgotten))
    verdicts: dict[str, Counter[Verdict]] = {}
    refusals: Counter[str] = Counter()
    lost: list[str] = []
    for one in sent:
        verdict = court.verdict(one)
        verdicts.setdefault(one.service, Counter())[verdict] += 1
        if verdict is Verdict.LOST:
            lost.append(f"{_in_words(one)}; {court.history(one.id)}")
        elif verdict is Verdict.REFUSED:
            refusals[one.reason] += 1
    return Ledger(
        verdicts,
        refusals,
        lost,
        court.twice(),
        _over(court.judged, {one.id: one for one in sent}, troubles, limits),
        left,
    )


@dataclass(slots=True)
class _History:
    """One request, as instances saw it."""

    seen: list[Note] = field(default_factory=list)
    begun: list[Note] = field(default_factory=list)
    left: list[Note] = field(default_factory=list)
    all: list[Note] = field(default_factory=list)


class _Court:
    def __init__(
        self,
        notes: Sequence[Note],
        troubles: Sequence[Trouble],
        fillable: set[str],
        forgotten: set[str],
    ) -> None:
        self._by_instance: dict[str, list[Note]] = {}
        self._requests: dict[str, _History] = {}
        self._last: dict[str, float] = {}  # note of each instance
        for note in notes:
            self._by_instance.setdefault(note.instance, []).append(note)
            self._last[note.instance] = note.at
            history = self._requests.setdefault(note.id, _History())
            history.all.append(note)
            if note.what in ("seen", "begun", "left"):
                getattr(history, note.what).append(note)
        self._troubles = {
            cause: [each for each in troubles if each.cause is cause] for cause in Cause
        }
        self._fillable = fillable
        self._forgotten = forgotten

    @property
    def judged(self) -> Mapping[str, Sequence[Note]]:
        """What instances noted. A forgotten one gets what is meant for whoever has its address."""
        every = self._by_instance.items()
        return {name: notes for name, notes in every if name not in self._forgotten}

    def verdict(self, one: Sent) -> Verdict:
        if one.outcome is Outcome.ANSWERED:
            return Verdict.ANSWERED
        if self._astray(one):
            return Verdict.ASTRAY
        if one.outcome is Outcome.WRONG:
            return Verdict.LOST
        if one.outcome is Outcome.TOLD:
            told = self._during(one, Cause.DEPLOYED) or self._during(one, Cause.RESTARTED)
            return Verdict.TOLD if told else Verdict.LOST
        if one.outcome is Outcome.REFUSED and self._refusable(one):
            return Verdict.REFUSED
        if one.outcome in (Outcome.CUT, Outcome.UNCONNECTED):
            if self._during(one, Cause.CRASHED):
                return Verdict.IN_WAKEFUL
            # One that ends in good order finishes what it has taken.
            if not self._known(one.id) and self._during(one, Cause.RESTARTED):
                return Verdict.AWAY
        if one.outcome is not Outcome.UNCONNECTED and self._went_down(one):
            return Verdict.IN_INSTANCE
        return Verdict.LOST

    def history(self, name: str) -> str:
        known = self._requests.get(name)
        if known is None:
            return "no instance saw it"
        return ", ".join(f"{note.what} by {note.instance} at {note.at:.3f}" for note in known.all)

    def twice(self) -> list[str]:
        return [
            f"{name}: {self.history(name)}"
            for name, history in self._requests.items()
            if sum(note.instance not in self._forgotten for note in history.begun) > 1
        ]

    def _refusable(self, one: Sent) -> bool:
        if one.reason in _ONLY_FULL:
            return one.service in self._fillable
        # The contract's answer while starts fail; here they do when the engine
        # is away, or when instances are killed before they have proved themselves.
        if one.reason == "start_failed":
            causes = (Cause.ENGINE, Cause.KILLED, Cause.STOPPED)
            return any(self._during(one, cause, SETTLING) for cause in causes)
        # All its instances were ended by an engine that does not say so: it is away.
        if one.reason == "upstream_unreachable":
            return self._during(one, Cause.ENGINE) and self._during(one, Cause.KILLED)
        return False

    def _during(self, one: Sent, cause: Cause, after: float = NOTICED) -> bool:
        return any(
            each.began <= one.finished
            and one.began <= each.ended + after
            and each.service in ("", one.service)
            for each in self._troubles[cause]
        )

    def _astray(self, one: Sent) -> bool:
        """By what such an instance has noted."""
        history = self._requests.get(one.id)
        return history is not None and any(note.instance in self._forgotten for note in history.all)

    def _known(self, name: str) -> bool:
        return name in self._requests

    def _went_down(self, one: Sent) -> bool:
        """It was in an instance that was killed, by what that instance has noted."""
        history = self._requests.get(one.id)
        if history is None:
            return self._unread(one)
        left = {note.instance: note.at for note in history.left}
        return any(
            self._killed(note, one, left.get(note.instance, inf))
            for note in history.seen or history.begun
        )

    def _killed(self, note: Note, one: Sent, left: float) -> bool:
        """Whether that instance was stopped before its answer had left."""
        for each in self._troubles[Cause.STOPPED]:
            # What came a moment later is read when it is thawed to be ended.
            inside = one.began <= each.began + UNAWARE and left >= each.began
            if each.instance == note.instance and inside:
                return True
        return any(
            self._among(each, note)
            and note.at <= each.ended
            and left >= each.began
            and one.finished >= each.began
            for each in self._troubles[Cause.KILLED]
        )

    def _among(self, killed: Trouble, note: Note) -> bool:
        """The killed: the one that is named, or of all of them those that noted nothing since."""
        if killed.instance:
            return killed.instance == note.instance
        return self._last[note.instance] <= killed.ended + NOTICED

    def _unread(self, one: Sent) -> bool:
        """It was in the socket of one that was stopped, which can have noted nothing.

        Where a kill has reset the connection, a request that may be repeated
        must have been.
        """
        stopped = any(
            each.service == one.service
            and each.began <= one.finished
            and one.began <= each.began + UNAWARE
            for each in self._troubles[Cause.STOPPED]
        )
        if stopped or one.method in _REPEATABLE:
            return stopped
        return any(
            each.service in ("", one.service)
            and each.began <= one.finished
            and one.finished <= each.ended + NOTICED
            for each in self._troubles[Cause.KILLED]
        )


def _over(
    by_instance: Mapping[str, Sequence[Note]],
    sent: Mapping[str, Sent],
    troubles: Sequence[Trouble],
    limits: Mapping[str, int],
) -> list[str]:
    """Instances that had more requests in them at once than their limit.

    A request is in an instance from when that began it until it ended it. One
    whose client was given up by wakeful, or by its death, leaves it at that
    moment: the instance may notice later.
    """
    crashes = sorted(each.began for each in troubles if each.cause is Cause.CRASHED)
    found = []
    for instance, notes in by_instance.items():
        inside: dict[str, float] = {}  # until when at the latest
        most, at = 0, 0.0
        for note in notes:
            if note.what == "begun":
                inside = {name: until for name, until in inside.items() if until > note.at}
                until = _given_up(note, sent.get(note.id), crashes)
                if until > note.at:
                    inside[note.id] = until
                if len(inside) > most:
                    most, at = len(inside), note.at
            elif note.what in ("ended", "cut"):
                inside.pop(note.id, None)
        limit = limits[notes[0].service] if notes else 0
        if most > limit:
            found.append(f"{instance} of {notes[0].service}: {most} at {at:.3f}, limit {limit}")
    return found


def _given_up(note: Note, one: Sent | None, crashes: Sequence[float]) -> float:
    crash = next((each for each in crashes if each > note.at), inf)
    if one is None or one.outcome in (Outcome.ANSWERED, Outcome.TOLD):
        return crash
    # The client has noticed after the fact.
    return min(crash, one.finished - NOTICED)


def _in_words(one: Sent) -> str:
    took = one.finished - one.began
    said = f" ({one.reason})" if one.reason else ""
    return (
        f"{one.method} {one.id} sent at {one.began:.3f} was {one.outcome}{said} after {took:.3f} s"
    )
