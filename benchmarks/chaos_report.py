"""The ledger as it is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.chaos_ledger import Ledger, Verdict
from benchmarks.chaos_left import Forgotten
from benchmarks.chaos_schedule import Event
from benchmarks.table import table

_SHOWN = 20  # of what must not be, of each kind
_COLUMNS = {
    Verdict.ANSWERED: "answered",
    Verdict.REFUSED: "refused",
    Verdict.TOLD: "told to go",
    Verdict.IN_INSTANCE: "in a killed instance",
    Verdict.IN_WAKEFUL: "in wakeful, killed",
    Verdict.AWAY: "wakeful not there",
    Verdict.ASTRAY: "in a forgotten instance",
    Verdict.LOST: "lost",
}


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of the seed."""

    seed: int
    seconds: float
    done: Mapping[Event, int]
    missed: Mapping[Event, int]  # there was nothing to do it to
    forgotten: Sequence[Forgotten]


def report(made: Made, ledger: Ledger) -> str:
    rows = [
        (service, str(sum(of.values())), *(str(of.get(each, 0)) for each in _COLUMNS))
        for service, of in ledger.verdicts.items()
    ]
    every = [sum(int(row[at]) for row in rows) for at in range(1, len(_COLUMNS) + 2)]
    rows.append(("all", *map(str, every)))
    acts = [
        (event.value, str(made.done.get(event, 0)), str(made.missed.get(event, 0) or ""))
        for event in Event
    ]
    refusals = ", ".join(f"{count} {reason}" for reason, count in sorted(ledger.refusals.items()))
    sums = [
        ("requests lost, other than inside a killed process", ledger.lost),
        ("requests sent twice", ledger.twice),
        ("instances over their limit", ledger.over),
        ("containers, sandboxes, networks, processes left", ledger.left),
    ]
    return "\n".join(
        [
            f"seed {made.seed}, {made.seconds:g} s",
            "",
            table(("what was done", "times", "nothing to do it to"), acts),
            "",
            table(("requests", "sent", *_COLUMNS.values()), rows),
            f"refused: {refusals or 'none'}",
            f"processes in containers that the engine has forgotten: {len(made.forgotten)}",
            "",
            table(("has to be 0", ""), [(what, str(len(found))) for what, found in sums]),
            *(line for what, found in sums if found for line in _list(what, found)),
        ]
    )


def as_json(made: Made, ledger: Ledger) -> dict[str, object]:
    return {
        "benchmark": "chaos",
        "seed": made.seed,
        "seconds": made.seconds,
        "done": {event.name: count for event, count in made.done.items()},
        "missed": {event.name: count for event, count in made.missed.items()},
        "forgotten": [each.command for each in made.forgotten],
        "requests": ledger.verdicts,
        "refusals": ledger.refusals,
        "lost": ledger.lost,
        "twice": ledger.twice,
        "over": ledger.over,
        "left": ledger.left,
    }


def _list(what: str, found: Sequence[str]) -> list[str]:
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return ["", f"{what}:", *(f"  {each}" for each in found[:_SHOWN]), *more]
