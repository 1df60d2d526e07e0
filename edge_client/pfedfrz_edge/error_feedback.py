"""What coarse encodings left out of a device's updates, kept for the next one.

Error feedback (Seide et al. 2014; Karimireddy et al. 2019, Error Feedback Fixes SignSGD): with the
remainder e of the updates before, the device sends Q(S_i + e) in place of Q(S_i) and keeps
e' = S_i + e - Q(S_i + e). What is lost once is made up for later instead of adding up.

e' belongs to an update that the coordinator may still refuse, so it waits beside e until that
update is accepted. It concerns shared weights only; losing it costs accuracy and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import numpy as np

from pfedfrz_protocol import OperationError, Parameters, TensorSpec
from pfedfrz_storage import DamagedFile, load_tensors, save_tensors

__all__ = ["ErrorFeedback"]

log = logging.getLogger(__name__)


class ErrorFeedback:
    """The remainder of one device, in its state directory."""

    def __init__(self, state_dir: Path, bundle_digest: str, layout: tuple[TensorSpec, ...]) -> None:
        self._kept = state_dir / "error-feedback.safetensors"
        self._waiting = state_dir / "error-feedback-waiting.safetensors"
        self._bundle = bundle_digest
        self._layout = layout

    def add_to(self, shared: Parameters) -> Parameters:
        """S_i + e; new arrays."""
        remainder = self._load()
        if remainder is None:
            return dict(shared)
        return {name: weights + remainder[name] for name, weights in shared.items()}

    def wait(self, round_number: int, wanted: Parameters, sent: Parameters) -> None:
        """Keep what an update leaves out, S_i + e - Q(S_i + e), until that is accepted."""
        remainder = {name: wanted[name] - sent[name] for name in wanted}
        if not all(np.isfinite(values).all() for values in remainder.values()):
            return
        notes = {"bundle": self._bundle, "round": str(round_number)}
        try:
            save_tensors(self._waiting, remainder, notes, mode=0o600)
        except OperationError as error:
            log.warning("what this update leaves out is not kept: %s", error)

    def accepted(self, round_number: int) -> None:
        """The update of that round was accepted: what it left out is the remainder from now on."""
        try:
            _, notes = load_tensors(self._waiting)
            if notes.get("round") == str(round_number):
                self._waiting.replace(self._kept)
        except (OperationError, OSError):
            # No remainder waits, or none that can be read: the one before has been sent.
            with contextlib.suppress(OSError):
                self._kept.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove it, also what waits: losing it costs accuracy and nothing else."""
        for path in (self._kept, self._waiting):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _load(self) -> Parameters | None:
        try:
            remainder, notes = load_tensors(self._kept)
        except (DamagedFile, OperationError, OSError):
            return None
        fits = notes.get("bundle") == self._bundle and {
            n: t.shape for n, t in remainder.items()
        } == {spec.name: spec.shape for spec in self._layout}
        return remainder if fits else None
