"""Topic names, both ways.

Two roots: everything under `pfedfrz/` is JSON for people and monitors, everything under
`pfedfrz-bin/` is chunks of tensors, so that `mosquitto_sub -t 'pfedfrz/#' -v` stays readable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ConfigurationError

__all__ = ["DeviceTopic", "OperatorTopic", "Topics", "WorkerTopic", "check_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_NUMBER_DIGITS = 9


def check_name(kind: str, name: str) -> str:
    """`name`, if it can be a level of a topic and a file name; ConfigurationError otherwise."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{kind} {name!r} is not usable: 1 to 64 letters, digits, '-', '_' or '.', "
            "beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class DeviceTopic:
    """A topic of one device, taken apart."""

    device: str
    leaf: str


@dataclass(frozen=True)
class WorkerTopic:
    """A topic of one worker, taken apart."""

    worker: str
    leaf: str


@dataclass(frozen=True)
class OperatorTopic:
    """A topic of one operator, taken apart."""

    operator: str
    leaf: str


@dataclass(frozen=True)
class Topics:
    """The topics of one federation."""

    federation: str

    def __post_init__(self) -> None:
        check_name("federation", self.federation)

    @property
    def _text(self) -> str:
        return f"pfedfrz/v1/{self.federation}"

    @property
    def _binary(self) -> str:
        return f"pfedfrz-bin/v1/{self.federation}"

    @property
    def coordinator_status(self) -> str:
        """Retained, the coordinator's last will."""
        return f"{self._text}/coordinator/status"

    @property
    def round(self) -> str:
        """Retained: the open round."""
        return f"{self._text}/round"

    @property
    def control(self) -> str:
        """Retained: the desired state of the federation."""
        return f"{self._text}/control"

    @property
    def metrics(self) -> str:
        """Retained: the last closed round in numbers."""
        return f"{self._text}/metrics"

    @property
    def bundle(self) -> str:
        """Retained: the bundle that devices should go over to."""
        return f"{self._text}/bundle"

    @property
    def history(self) -> str:
        """Retained: the last closed rounds, each in a line."""
        return f"{self._text}/history"

    @property
    def members(self) -> str:
        """Retained: who is let in, who waits for that, and who is kept out."""
        return f"{self._text}/members"

    def operator(self, operator: str, leaf: str) -> str:
        """A JSON topic of an operator: request or answer."""
        return f"{self._text}/operator/{operator}/{leaf}"

    def every_operator(self, leaf: str) -> str:
        """The subscription filter for one leaf of every operator."""
        return f"{self._text}/operator/+/{leaf}"

    @property
    def everything(self) -> str:
        """The subscription filter for all JSON of the federation, and no tensor."""
        return f"{self._text}/#"

    def device(self, device: str, leaf: str) -> str:
        """A JSON topic of a device: status, heartbeat, metrics, command or event."""
        return f"{self._text}/device/{device}/{leaf}"

    def every_device(self, leaf: str) -> str:
        """The subscription filter for one leaf of every device."""
        return f"{self._text}/device/+/{leaf}"

    def model_chunk(self, version: int, chunk: int) -> str:
        """Retained: one chunk of a model version."""
        return f"{self._binary}/model/{version}/{chunk}"

    def model_chunks(self, version: int) -> str:
        """The subscription filter for all chunks of a model version."""
        return f"{self._binary}/model/{version}/+"

    @property
    def every_model_chunk(self) -> str:
        """The filter for all chunks of all model versions."""
        return f"{self._binary}/model/#"

    def bundle_chunk(self, bundle: str, chunk: int) -> str:
        """Retained: one chunk of the bundle with that digest."""
        return f"{self._binary}/bundle/{bundle}/{chunk}"

    @property
    def every_bundle_chunk(self) -> str:
        """The filter for all chunks of all bundles."""
        return f"{self._binary}/bundle/#"

    def updates_of(self, device: str) -> str:
        """The filter for all that a device uploads, or with `+` for what all do."""
        return f"{self._binary}/device/{device}/update/#"

    def update_chunk(self, device: str, round_number: int, chunk: int) -> str:
        """One chunk of a device's update."""
        return f"{self._binary}/device/{device}/update/{round_number}/{chunk}"

    @property
    def every_update_chunk(self) -> str:
        """The subscription filter for all updates of all devices."""
        return f"{self._binary}/device/+/update/+/+"

    @property
    def orders(self) -> str:
        """The coordinator's orders to whichever worker the broker picks."""
        return f"{self._text}/work/order"

    @property
    def shared_orders(self) -> str:
        """The subscription filter by which workers share the orders: each goes to one of them."""
        return f"$share/workers/{self.orders}"

    def worker(self, worker: str, leaf: str) -> str:
        """A JSON topic of a worker: command or event."""
        return f"{self._text}/worker/{worker}/{leaf}"

    def every_worker(self, leaf: str) -> str:
        """The subscription filter for one leaf of every worker."""
        return f"{self._text}/worker/+/{leaf}"

    def update_chunks(self, device: str, round_number: int) -> str:
        """The subscription filter for all chunks of a device's update for one round."""
        return f"{self._binary}/device/{device}/update/{round_number}/+"

    def sum_chunk(self, worker: str, round_number: int, share: int, chunk: int) -> str:
        """One chunk of a worker's partial sum."""
        return f"{self._binary}/worker/{worker}/sum/{round_number}/{share}/{chunk}"

    @property
    def every_sum_chunk(self) -> str:
        """The subscription filter for all partial sums of all workers."""
        return f"{self._binary}/worker/+/sum/+/+/+"

    def parse_worker(self, topic: str) -> WorkerTopic | None:
        """Worker and leaf of a JSON worker topic of this federation; None for any other topic."""
        found = self._name_and_leaf(topic, "worker")
        return WorkerTopic(*found) if found else None

    def parse_operator(self, topic: str) -> OperatorTopic | None:
        """Operator and leaf of a topic of an operator; None for any other topic."""
        found = self._name_and_leaf(topic, "operator")
        return OperatorTopic(*found) if found else None

    def _name_and_leaf(self, topic: str, kind: str) -> tuple[str, str] | None:
        prefix = f"{self._text}/{kind}/"
        if not topic.startswith(prefix):
            return None
        levels = topic[len(prefix) :].split("/")
        if len(levels) != 2:
            return None
        name, leaf = levels
        return (name, leaf) if _NAME.fullmatch(name) else None

    def parse_sum_chunk(self, topic: str) -> tuple[str, int, int, int] | None:
        """(worker, round, share, chunk) of a partial sum's chunk; None for any other topic."""
        levels = topic.removeprefix(f"{self._binary}/worker/").split("/")
        if not topic.startswith(f"{self._binary}/worker/") or len(levels) != 5:
            return None
        worker, leaf, *rest = levels
        round_number, share, chunk = (_number(level) for level in rest)
        if leaf != "sum" or round_number is None or share is None or chunk is None:
            return None
        return (worker, round_number, share, chunk) if _NAME.fullmatch(worker) else None

    def parse_device(self, topic: str) -> DeviceTopic | None:
        """Device and leaf of a JSON device topic of this federation; None for any other topic."""
        found = self._name_and_leaf(topic, "device")
        return DeviceTopic(*found) if found else None

    def parse_model_chunk(self, topic: str) -> tuple[int, int] | None:
        """(version, chunk) of a model chunk's topic; None for any other topic."""
        levels = topic.removeprefix(f"{self._binary}/model/").split("/")
        if not topic.startswith(f"{self._binary}/model/") or len(levels) != 2:
            return None
        version, chunk = (_number(level) for level in levels)
        return None if version is None or chunk is None else (version, chunk)

    def parse_bundle_chunk(self, topic: str) -> tuple[str, int] | None:
        """(digest, chunk) of a bundle chunk's topic; None for any other topic."""
        levels = topic.removeprefix(f"{self._binary}/bundle/").split("/")
        if not topic.startswith(f"{self._binary}/bundle/") or len(levels) != 2:
            return None
        chunk = _number(levels[1])
        return None if chunk is None or not _DIGEST.fullmatch(levels[0]) else (levels[0], chunk)

    def parse_update_chunk(self, topic: str) -> tuple[str, int, int] | None:
        """(device, round, chunk) of an update chunk's topic; None for any other topic."""
        levels = topic.removeprefix(f"{self._binary}/device/").split("/")
        if not topic.startswith(f"{self._binary}/device/") or len(levels) != 4:
            return None
        device, update, round_level, chunk_level = levels
        round_number, chunk = _number(round_level), _number(chunk_level)
        if update != "update" or round_number is None or chunk is None:
            return None
        return (device, round_number, chunk) if _NAME.fullmatch(device) else None


def _number(level: str) -> int | None:
    plain = level.isascii() and level.isdigit() and len(level) <= _MAX_NUMBER_DIGITS
    return int(level) if plain else None
