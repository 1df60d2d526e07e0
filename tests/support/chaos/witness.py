"""What an outsider sees of a run: messages on the broker, checkpoints, personal files after kills.

It keeps a name of its own for every checkpoint, so that the coordinator can delete them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec

from pfedfrz_protocol import Topics
from pfedfrz_storage import load_tensors
from pfedfrz_transport import BrokerAddress, LinkLimits, Message, MqttLink, MqttOptions
from pfedfrz_transport.backoff import BackoffPolicy

__all__ = ["Witness"]


class Witness:
    """Watches one federation over a link that nobody cuts, and its files."""

    def __init__(self, directory: Path, federation: str, broker: BrokerAddress) -> None:
        self._directory = directory
        self.folder = directory / "witness"
        (self.folder / "updates").mkdir(parents=True)
        (self.folder / "models").mkdir()
        self._topics = Topics(federation)
        self._link = MqttLink(
            broker,
            f"{federation}.witness",
            options=MqttOptions(
                receive_maximum=1024,
                limits=LinkLimits(inbox_messages=50_000),
                backoff=BackoffPolicy(first_s=0.05, longest_s=0.2),
            ),
        )
        for topic in (
            self._topics.round,
            self._topics.metrics,
            self._topics.every_device("command"),
        ):
            self._link.subscribe(topic)
        self._link.start()
        self._link.wait_until_up(10.0)
        self.told: dict[int, set[str]] = defaultdict(set)
        """Round -> devices that were told that their update is accepted."""
        self.digests: dict[int, set[str]] = defaultdict(set)
        """Model version -> every digest that was announced for it."""
        self.announced: list[tuple[int, int]] = []
        """(epoch, round) of the announcements, each where it was first seen.

        A broker that comes back with an old database says old ones once more.
        """
        self.closed: Counter[int] = Counter()
        self.faults: list[str] = []
        """What was wrong at the moment when it was looked at."""
        self._newest: dict[str, tuple[int, int]] = {}
        """Device -> (sequence number, round) of the newest personal file ever seen."""

    @property
    def last_closed(self) -> int:
        """The last round of which it was said that it has closed."""
        return max(self.closed, default=0)

    def look(self, seconds: float) -> None:
        """Take what comes for that long, and look at the files."""
        until = time.monotonic() + seconds
        while True:
            event = self._link.poll(max(0.0, min(0.01, until - time.monotonic())))
            if isinstance(event, Message) and event.payload:
                self._see(event.topic, msgspec.json.decode(event.payload))
            self._keep_checkpoints()
            if event is None and time.monotonic() >= until:
                return

    def _see(self, topic: str, said: dict[str, object]) -> None:
        number = said.get("round")
        if not isinstance(number, int):
            return  # not about a round
        if topic == self._topics.round:
            model = said["model"]
            assert isinstance(model, dict)
            self.digests[model["version"]].add(model["digest"])
            place = (int(str(said["epoch"])), number)
            if place not in self.announced:
                self.announced.append(place)
        elif topic == self._topics.metrics:
            self.closed[number] += 1
        elif said.get("type") == "accepted":
            device = self._topics.parse_device(topic)
            assert device is not None
            self.told[number].add(device.device)

    def _keep_checkpoints(self) -> None:
        for path in (self._directory / "coordinator" / "models").glob("model-*.safetensors"):
            with contextlib.suppress(OSError):
                kept = self.folder / "models" / f"{path.stem}.{path.stat().st_ino}.safetensors"
                if not kept.exists():
                    os.link(path, kept)

    def look_at_personal(self, device: str) -> None:
        """After a device was killed: its newest personal file is whole, and none was before it."""
        files = sorted((self._directory / "devices" / device).glob("personal-*.safetensors"))
        if not files:
            return
        _, notes = load_tensors(files[-1])  # raises when it is not whole
        newest = (int(files[-1].stem.rpartition("-")[2]), int(notes["round"]))
        before = self._newest.get(device, (0, 0))
        if newest[0] < before[0]:
            self.faults.append(f"{device}: personal file {before} was followed by {newest}")
        self._newest[device] = newest

    def close(self) -> None:
        """Look no more."""
        self._link.close()
