"""A text exposition as a test reads it."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Exposition:
    """Everything that one scrape gave, parsed by Prometheus' own parser for Python."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: Samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Of one series of ours; `name` is without the prefix."""
        return self.samples[f"pfedfrz_{name}", tuple(sorted(labels.items()))]

    def labels(self) -> dict[str, set[str]]:
        """The labels' names of every series' name."""
        found: dict[str, set[str]] = {}
        for name, labels in self.samples:
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found


def scrape(url: str) -> Exposition:
    """Ask as Prometheus does."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return Exposition(answer.read().decode())
