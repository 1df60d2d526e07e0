"""The broker's access list: who may read and write which topics of one federation.

Every account has its own rules, none a pattern for whoever comes: an account that is taken out
loses everything with the next reload, also while it is connected, and also when its certificate is
still good.
"""

from __future__ import annotations

from collections.abc import Iterator

from pfedfrz_protocol import Topics

from .registry import Registry, Role

__all__ = ["access_list"]

_FROM_DEVICE = ("status", "heartbeat", "metrics", "event")
_HEAD = "# made by `pfedfrz provision`, which writes it anew: no changes by hand\n"


def access_list(registry: Registry) -> str:
    """Mosquitto's `acl_file`."""
    topics = Topics(registry.federation)
    blocks = [_HEAD]
    for name, member in sorted(registry.members.items()):
        rules = "".join(f"topic {rule}\n" for rule in _rules(topics, name, member.role))
        blocks.append(f"user {name}\n{rules}")
    return "\n".join(blocks)


def _rules(topics: Topics, name: str, role: Role) -> Iterator[str]:
    shared = (
        topics.coordinator_status,
        topics.round,
        topics.control,
        topics.metrics,
        topics.bundle,
    )
    if role in (Role.MONITOR, Role.OPERATOR):
        yield f"read {topics.everything}"
        if role is Role.OPERATOR:
            yield f"write {topics.operator(name, 'request')}"
    elif role is Role.COORDINATOR:
        yield from (f"read {topics.every_device(leaf)}" for leaf in _FROM_DEVICE)
        yield f"read {topics.updates_of('+')}"
        yield f"read {topics.every_operator('request')}"
        yield from (f"write {topic}" for topic in (*shared, topics.history, topics.members))
        yield f"write {topics.every_operator('answer')}"
        yield f"write {topics.every_device('command')}"
        yield f"write {topics.every_model_chunk}"
        yield f"write {topics.every_bundle_chunk}"
    else:
        yield from (f"write {topics.device(name, leaf)}" for leaf in _FROM_DEVICE)
        yield f"write {topics.updates_of(name)}"
        yield f"read {topics.device(name, 'command')}"
        yield from (f"read {topic}" for topic in shared)
        yield f"read {topics.every_model_chunk}"
        yield f"read {topics.every_bundle_chunk}"
