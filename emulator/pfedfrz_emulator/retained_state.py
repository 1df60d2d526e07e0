"""Leaving a broker that is not ours as it was found.

Every run has a federation name of its own, so what its members left retained would stay on a shared
broker for ever, a little more with every run.
"""

from __future__ import annotations

import time

from pfedfrz_monitor import FederationView
from pfedfrz_transport import Link, Message

__all__ = ["clear_retained_state"]

_QUIET_S = 0.5
_LONGEST_S = 10.0


def clear_retained_state(link: Link, view: FederationView) -> int:
    """Clear what the federation in `view` left retained; how many topics that were.

    For a link that is up, after the members have ended. Nothing is done about a link that is down.
    """
    topics = view.topics
    filters = list(view.filters)
    if view.announcement is not None:
        newest = view.announcement.model.version
        # A coordinator that was interrupted between rounds may have left two versions.
        near = range(max(0, newest - 1), newest + 2)
        filters += [topics.model_chunks(version) for version in near]
    for topic_filter in filters:
        link.subscribe(topic_filter)
    found: set[str] = set()
    end = time.monotonic() + _LONGEST_S
    quiet = time.monotonic() + _QUIET_S
    while link.is_up and (left := min(end, quiet) - time.monotonic()) > 0:
        event = link.poll(left)
        if isinstance(event, Message) and event.payload:
            quiet = time.monotonic() + _QUIET_S
            found.add(event.topic)
            link.clear_retained(event.topic)
    return len(found)
