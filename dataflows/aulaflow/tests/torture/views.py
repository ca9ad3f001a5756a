"""The views of `school.SQL` by their definition, over the whole list of a student's events, in whole numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Callable, NamedTuple

from grading import trimmed
from school import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, rfc3339

SESSION_GAP_MS = 3 * SECOND_MS
SESSION_HORIZON_MS = DAY_MS
SESSION_PANE_MS = 338 * SECOND_MS
"""A pane of sessions is as wide as the gap, or as a 256th of the horizon if that is more, in whole seconds."""
SITTINGS_SIZE_MS = 6 * HOUR_MS


class Event(NamedTuple):
    """A behaviour event that counts."""

    at: int
    id: str
    kind: str
    micros: int
    points: int | None
    """Of `strict`: none where there is no number."""


def features(events: list[Event], clock: int) -> dict[str, dict]:
    """A student's rows at a clock, as profiles show them, without `updated_at`."""
    events = sorted(events)
    answers = [e for e in events if e.kind != "noise"]
    out: dict[str, dict] = {}

    def hop(name: str, kind: str, among: list[Event], slide: int, size: int, row: Callable) -> None:
        within = [e for e in among if covers(e.at, clock, slide, size)]
        if within:
            out[name] = {**row(within), "window": window(kind, clock, slide, size)}

    hop("fresh", "hop", events, SECOND_MS, 8 * SECOND_MS, lambda e: {"events": len(e), "total": total(e)})
    hop("days", "hop", events, HOUR_MS, 2 * DAY_MS, of_days)
    hop("minute", "tumble", answers, MINUTE_MS, MINUTE_MS, of_minute)
    hop("strict", "tumble", events, HOUR_MS, HOUR_MS, of_strict)
    sitting(out, events, clock)
    minutes(out, answers, clock)
    sittings(out, events, clock)
    return out


def of_days(within: list[Event]) -> dict:
    """`days`."""
    values = [e.micros for e in within]
    return {
        "events": len(within),
        "total": total(within),
        "mean": mean(values),
        "least": shown(min(values)),
        "most": shown(max(values)),
        "kinds": len({e.kind for e in within}),
        "first_kind": within[0].kind,
        "last_value": shown(within[-1].micros),
    }


def of_minute(within: list[Event]) -> dict:
    """`minute`."""
    values = [e.micros for e in within]
    return {
        "events": len(within),
        "mean": mean(values),
        "least_kind": min(e.kind for e in within),
        "most": shown(max(values)),
        "lengths": len(set(values)),
    }


def of_strict(within: list[Event]) -> dict:
    """`strict`: the sum of what is a number, or null where no event has one. The others count as events all the same."""
    points = [e.points for e in within if e.points is not None]
    return {"events": len(within), "points": sum(points) if points else None}


def sitting(out: dict, events: list[Event], clock: int) -> None:
    """The session that is open."""
    panes = -(-SESSION_HORIZON_MS // SESSION_PANE_MS)
    known = sessions(in_panes(events, clock, panes))
    if known and known[-1][-1].at + SESSION_GAP_MS > clock:
        last = known[-1]
        out["sitting"] = {
            "events": len(last),
            "total": total(last),
            "least": shown(min(e.micros for e in last)),
            "last_kind": last[-1].kind,
            "window": {
                "kind": "session",
                "gap_s": SESSION_GAP_MS // SECOND_MS,
                "start": rfc3339(last[0].at),
                "end": rfc3339(last[-1].at + SESSION_GAP_MS),
            },
        }


def minutes(out: dict, answers: list[Event], clock: int) -> None:
    """Over `minute`: one row for each minute that has events, the one under way too."""
    by_minute: dict[int, list[Event]] = {}
    for event in answers:
        if event.at // MINUTE_MS <= clock // MINUTE_MS:
            by_minute.setdefault(event.at // MINUTE_MS, []).append(event)
    rows = [e for minute, e in by_minute.items() if covers(minute * MINUTE_MS, clock, 10 * MINUTE_MS, HOUR_MS)]
    if rows:
        out["minutes"] = {
            "minutes": len(rows),
            "events": sum(map(len, rows)),
            "most": shown(max(e.micros for row in rows for e in row)),
            "window": window("hop", clock, 10 * MINUTE_MS, HOUR_MS),
        }


def sittings(out: dict, events: list[Event], clock: int) -> None:
    """Over `sitting`: a session counts where it began. Seen are the sessions' panes of the window and its horizon."""
    back = SITTINGS_SIZE_MS + -(-SESSION_HORIZON_MS // SESSION_PANE_MS) * SESSION_PANE_MS
    known = sessions(in_panes(events, clock, back // SESSION_PANE_MS + 2))
    within = [s for s in known if covers(s[0].at, clock, HOUR_MS, SITTINGS_SIZE_MS)]
    if within:
        out["sittings"] = {
            "sittings": len(within),
            "longest": max(map(len, within)),
            "last_total": total(within[-1]),
            "window": window("hop", clock, HOUR_MS, SITTINGS_SIZE_MS),
        }


def standing(grades: list[dict]) -> dict | None:
    """Over the grades that the student has now."""
    scored = [grade for grade in grades if grade["score"] is not None]
    if not scored:
        return None
    scores = [int(Fraction(grade["score"]) * 1_000_000) for grade in scored]
    passed = sum(grade["passing"] for grade in scored)
    row = {"subjects": len(scored), "mean": mean(scores), "worst": shown(min(scores)), "passed": passed}
    return {**row, "window": {"kind": "present"}}


def late(at: int, accepted: int) -> bool:
    """Whether an event is older than the longest window: `days`."""
    return at // HOUR_MS + 48 <= accepted // HOUR_MS


def covers(at: int, clock: int, slide: int, size: int) -> bool:
    """Whether a window that moves on every `slide` holds an instant."""
    return clock // slide - size // slide < at // slide <= clock // slide


def in_panes(events: list[Event], clock: int, panes: int) -> list[Event]:
    """The events in the last so many panes of sessions."""
    now = clock // SESSION_PANE_MS
    return [e for e in events if now - panes < e.at // SESSION_PANE_MS <= now]


def sessions(events: list[Event]) -> list[list[Event]]:
    """Runs of events with less than the gap between one and the next."""
    out: list[list[Event]] = []
    for event in events:
        if out and event.at - out[-1][-1].at < SESSION_GAP_MS:
            out[-1].append(event)
        else:
            out.append([event])
    return out


def window(kind: str, clock: int, slide: int, size: int) -> dict:
    """The bounds around a clock, as profiles show them."""
    end = (clock // slide + 1) * slide
    return {
        "kind": kind,
        "slide_s": slide // SECOND_MS,
        "size_s": size // SECOND_MS,
        "start": rfc3339(end - size),
        "end": rfc3339(end),
    }


def total(events: list[Event]) -> str:
    """The sum of their values."""
    return shown(sum(e.micros for e in events))


def mean(micros: list[int]) -> str:
    """The mean, its halves away from zero."""
    total_of, count = sum(micros), len(micros)
    magnitude = (2 * abs(total_of) + count) // (2 * count)
    return shown(-magnitude if total_of < 0 else magnitude)


def shown(micros: int) -> str:
    """Millionths as a decimal text."""
    text = trimmed(Fraction(abs(micros), 1_000_000), 6)
    return f"-{text}" if micros < 0 else text
