"""How the attackers of one emulated fleet tell each other what they have honestly trained.

A folder that only the emulator gives to attackers: nothing of it goes over the broker. Each
attacker of a round writes its honest update and waits, not for ever, for those of its fellows that
the round selected; what has come by then is what it knows.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from pfedfrz_edge.local_training import TrainingCancelled
from pfedfrz_protocol import Parameters
from pfedfrz_storage import write_atomically

from .attack import Weights

__all__ = ["Collusion"]

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.02
_KEPT_ROUNDS = 2


@dataclass(frozen=True)
class Collusion:
    """The meeting place of a fleet's attackers, below `directory`."""

    directory: Path

    def share(
        self,
        round_number: int,
        base: str,
        device: str,
        trained: Weights,
        fellows: Collection[str],
        *,
        patience_s: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Parameters, ...]:
        """The honest updates of this attacker and its fellows, in the order of device names.

        `base` is the digest of the model that the round started from: a round that is opened again
        on the same model finds what was trained before. A fellow that has written nothing readable
        after `patience_s` is left out, and that is logged. Raises TrainingCancelled soon after
        `cancelled` says so.
        """
        folder = self.directory / f"round-{round_number:06d}-{base[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{device}.safetensors", save(dict(trained)))
        self._forget(round_number, device)
        found = {device: {name: weight.copy() for name, weight in trained.items()}}
        give_up_at = time.monotonic() + patience_s
        while True:
            for fellow in sorted(set(fellows) - found.keys()):
                weights = _read(folder / f"{fellow}.safetensors")
                if weights is not None:
                    found[fellow] = weights
            absent = sorted(set(fellows) - found.keys())
            if not absent:
                break
            if time.monotonic() > give_up_at:
                log.warning("round %d: attack without %s", round_number, ", ".join(absent))
                break
            if cancelled():
                raise TrainingCancelled("the round was superseded")
            time.sleep(_LOOK_EVERY_S)
        return tuple(found[name] for name in sorted(found))

    def _forget(self, round_number: int, device: str) -> None:
        """Remove this device's own updates of rounds that nobody waits in any more."""
        for folder in self.directory.glob("round-*"):
            if int(folder.name.split("-")[1]) <= round_number - _KEPT_ROUNDS:
                (folder / f"{device}.safetensors").unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # others still have theirs there
                    folder.rmdir()


def _read(path: Path) -> Parameters | None:
    try:
        return dict(load(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: %s", path, error)
        return None
