"""Topic names and subscription filters, as MQTT 5 sections 4.7.1 to 4.7.3 define them."""

from __future__ import annotations

__all__ = ["check_filter", "check_topic", "topic_matches"]

_LONGEST = 65_535


def check_topic(topic: str) -> None:
    """Nothing, when a message can be published on `topic`; else raises `ValueError`."""
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise ValueError(f"topic {topic!r} holds a wildcard; + and # are for subscriptions only")


def check_filter(topic_filter: str) -> None:
    """Nothing, when `topic_filter` can be subscribed to; else raises `ValueError`."""
    _check_text(topic_filter, "filter")
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if level in ("+", "#"):
            if level == "#" and position != len(levels) - 1:
                raise ValueError(f"filter {topic_filter!r}: # may only be the last level")
        elif "+" in level or "#" in level:
            raise ValueError(f"filter {topic_filter!r}: a wildcard must be a whole level")


def topic_matches(topic_filter: str, topic: str) -> bool:
    """True when a subscription to `topic_filter` receives what is published on `topic`.

    `#` also matches its parent level; wildcards at the first level do not match `$SYS` and its
    like. Both arguments must be valid.
    """
    if topic.startswith("$") and not topic_filter.startswith("$"):
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return len(levels) == len(wanted)


def _check_text(text: str, what: str) -> None:
    if not text:
        raise ValueError(f"an empty {what}")
    if "\0" in text:
        raise ValueError(f"{what} {text!r} holds a null character")
    if len(text.encode("utf-8")) > _LONGEST:
        raise ValueError(f"a {what} of more than {_LONGEST} bytes")
