"""The table of refused updates: who, why and when."""

from __future__ import annotations

from collections.abc import Sequence

from .markup import Element, element
from .plain_table import MOST_ROWS, plain_table
from .records import Refusal, RunRecord

__all__ = ["refusal_table"]

_TITLES = ("device", "reason", "times", "rounds", "the last one, in words")
_MOST_ROUNDS = 8


def refusal_table(record: RunRecord) -> Element:
    """A row for each device and reason, those with the most first, at most `MOST_ROWS`."""
    groups: dict[tuple[str, str], list[Refusal]] = {}
    for refusal in record.refusals:
        groups.setdefault((refusal.device, refusal.reason), []).append(refusal)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    attackers = {device.device for device in record.devices if device.attacker}
    rows = []
    for (name, reason), refusals in ordered[:MOST_ROWS]:
        badge = element("span", {"class": "badge"}, "attacker") if name in attackers else None
        rows.append(
            element(
                "tr",
                {},
                element("th", {"scope": "row"}, name, badge),
                element("td", {}, reason),
                element("td", {"class": "number"}, str(len(refusals))),
                element("td", {}, _rounds(sorted({r.round for r in refusals}))),
                element("td", {"class": "detail"}, refusals[-1].detail),
            )
        )
    return plain_table("refusals", _TITLES, rows, numbers=("times",))


def _rounds(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST_ROUNDS]))
    left = len(numbers) - _MOST_ROUNDS
    return f"{shown} and {left} more" if left > 0 else shown
