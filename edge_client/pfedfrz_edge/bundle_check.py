"""The examination of an offered bundle, beside the device's loop; see `self_test.py`."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from pfedfrz_protocol import OperationError
from pfedfrz_storage import make_directory, write_atomically

from .bundle_update import BundleChecked, CheckBundle

__all__ = ["BundleCheck"]

log = logging.getLogger(__name__)
_LONGEST_S = 300.0
_LOOK_S = 0.2


class BundleCheck:
    """One archive under examination, on a thread and in a process of its own."""

    def __init__(
        self,
        asked: CheckBundle,
        archive: Path,
        configuration: Path,
        post: Callable[[object], None],
        *,
        longest_s: float = _LONGEST_S,
    ) -> None:
        """`archive` is where it is put; `post` takes a BundleChecked, from the thread."""
        self._digest = asked.offer.bundle
        self._content = asked.archive
        self._archive = archive
        self._configuration = configuration
        self._post = post
        self._longest_s = longest_s
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pfedfrz-check", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def cancel(self) -> None:
        """End it without a result; returns when its process is gone."""
        self._cancelled.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            make_directory(self._archive.parent, mode=0o700)
            write_atomically(self._archive, self._content, mode=0o600)
            self._content = b""  # the memory is wanted for what comes
            fault = self._examine()
        except OperationError as error:
            fault = str(error)
        except Exception as error:
            log.exception("the examination of a bundle broke")
            fault = f"{type(error).__name__}: {error}"
        if not self._cancelled.is_set():
            self._post(BundleChecked(self._digest, fault))

    def _examine(self) -> str | None:
        """What is wrong with the archive, as one line; None when nothing is."""
        command = [sys.executable, "-m", f"{__package__}.self_test", str(self._archive)]
        with subprocess.Popen(
            [*command, self._digest, str(self._configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            waited_s = 0.0
            while True:
                try:
                    _, said = process.communicate(timeout=_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    waited_s += _LOOK_S
                if self._cancelled.is_set() or waited_s >= self._longest_s:
                    process.kill()
                    process.communicate()
                    return f"its examination did not end within {self._longest_s:g} s"
        if process.returncode == 0:
            return None
        last = (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        if process.returncode < 0:
            return f"its examination was killed by signal {-process.returncode}: {last}"
        return last.replace(str(self._archive), "the offered bundle")
