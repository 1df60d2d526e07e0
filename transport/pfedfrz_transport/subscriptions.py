"""Who receives what: an index of subscriptions that is quick for many clients with like filters."""

from __future__ import annotations

from collections import defaultdict

from .filters import topic_matches

__all__ = ["SubscriptionIndex"]


class SubscriptionIndex:
    """Subscriptions by filter. A filter without wildcards is found by one look-up."""

    def __init__(self) -> None:
        self._exact: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._wild: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def add(self, client_id: str, topic_filter: str, qos: int) -> None:
        """Add a subscription or change its QoS."""
        self._side(topic_filter)[topic_filter][client_id] = qos

    def remove(self, client_id: str, topic_filter: str) -> None:
        """Remove a subscription, if it is there."""
        side = self._side(topic_filter)
        side[topic_filter].pop(client_id, None)
        if not side[topic_filter]:
            del side[topic_filter]

    def remove_client(self, client_id: str) -> None:
        """Remove all subscriptions of a client."""
        for side in (self._exact, self._wild):
            for topic_filter in [held for held, clients in side.items() if client_id in clients]:
                self.remove(client_id, topic_filter)

    def clear(self) -> None:
        """Remove everything."""
        self._exact.clear()
        self._wild.clear()

    def receivers(self, topic: str) -> dict[str, int]:
        """`{client id: highest QoS}` of the clients with a matching subscription."""
        found = dict(self._exact.get(topic, ()))
        for topic_filter, clients in self._wild.items():
            if topic_matches(topic_filter, topic):
                for client_id, qos in clients.items():
                    found[client_id] = max(qos, found.get(client_id, 0))
        return found

    def _side(self, topic_filter: str) -> defaultdict[str, dict[str, int]]:
        is_wild = "+" in topic_filter or "#" in topic_filter
        return self._wild if is_wild else self._exact
