"""A thing and its settings in one string: attacks, aggregation rules, splits, datasets."""

from __future__ import annotations

from pfedfrz_coordinator.aggregation import find_rule
from pfedfrz_emulator.attacks import find_attack
from pfedfrz_emulator.datasets import check_dataset_name
from pfedfrz_emulator.splits import find_split
from pfedfrz_protocol import ConfigurationError, find_loss, find_method, split_choice

READERS = (find_attack, find_rule, find_split, check_dataset_name, find_method, find_loss)


def target(data: bytes) -> None:
    """The first byte is what is chosen; what is wrong is said in one printable line."""
    text = data[1:].decode("utf-8", "surrogateescape")
    for read in (
        READERS[(data[0] if data else 0) % len(READERS)],
        lambda chosen: split_choice(chosen, "thing"),
    ):
        try:
            read(text)
        except ConfigurationError as error:
            assert "\n" not in str(error) and len(str(error)) < 4000 + 10 * len(text)


def seeds() -> dict[str, bytes]:
    texts = {
        "attack": (0, "backdoor:scale=5,start_round=3"),
        "attack-nan": (0, "ipm:scale=nan"),
        "attack-infinity": (0, "ipm:scale=1e9999"),
        "attack-huge": (0, "backdoor:start_round=" + "9" * 5000),
        "attack-negative": (0, "backdoor:start_round=-3,scale=-1"),
        "rule": (1, "krum:attackers=2"),
        "rule-huge": (1, "bucketing:size=999999999999999999"),
        "rule-twice": (1, "krum:attackers=2,attackers=3"),
        "split": (2, "dirichlet:alpha=0.1"),
        "split-path": (2, "file:path=../../etc/passwd"),
        "split-foreign": (2, "pathological:labels=٢"),
        "dataset": (3, "npz:../../x"),
        "dataset-nul": (3, "npz:a\x00b"),
        "method": (4, "pfedfrz"),
        "loss": (5, "cross-entropy"),
        "no-value": (0, "ipm:scale="),
        "blank": (0, "ipm: scale=2"),
        "many-keys": (0, "ipm:" + ",".join(f"a{n}=1" for n in range(500))),
        "direction": (0, "\u202eipm"),
        "line-break": (0, "ipm\n:scale=2"),
        "empty": (0, ""),
    }
    return {name: bytes([kind]) + text.encode() for name, (kind, text) in texts.items()}
