"""What is wrong with the watching itself, in one line that says what to do."""

from __future__ import annotations

from .watch import Health

__all__ = ["concern"]

_SILENT_AFTER_S = 3.0
_MOST_NAMED = 8


def concern(health: Health, federation: str, now: float) -> str:
    """The line, or nothing; `now` is Unix seconds."""
    if health.given_up:
        return health.fault
    if not health.connected:
        if not health.since:
            return f"connecting to {health.source}"
        return f"lost {health.source}: {health.fault}; what is shown is from before"
    if health.fault:
        return health.fault
    if health.heard or now < health.since + _SILENT_AFTER_S:
        return ""
    others = [name for name in health.federations if name != federation]
    if federation in health.federations:
        return (
            f"the coordinator of {federation} was heard, but is not the one that coordinator_key "
            "names: check the key"
        )
    if not others:
        return (
            f"connected, but nothing of {federation!r} is heard: either no coordinator has been "
            f"there yet, or this account may not read pfedfrz/v1/{federation}/#"
        )
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return (
        f"connected, but nothing of {federation!r} is heard: on this broker are "
        f"{', '.join(others[:_MOST_NAMED])}{more}; if the name is right, this account may not read "
        f"pfedfrz/v1/{federation}/#"
    )
