"""The examination of an offered bundle, beside the device's loop; see `self_test.py`."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pfedfrz_protocol import OperationError
from pfedfrz_protocol.messages import MAX_TEXT
from pfedfrz_protocol.one_line import one_line
from pfedfrz_storage import make_directory, write_atomically

from .bundle_exchange import BundleChecked, CheckBundle

__all__ = ["BundleCheck"]

log = logging.getLogger(__name__)
_LONGEST_S = 300.0
_LOOK_S = 0.2
_MOST_WORDS = 4096


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
        with (
            tempfile.TemporaryFile() as words,  # a pipe would have to be emptied into memory
            subprocess.Popen(
                [*command, self._digest, str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
            ) as process,
        ):
            ended = self._wait(process)
            words.seek(max(0, words.seek(0, os.SEEK_END) - _MOST_WORDS))
            said = words.read().decode(errors="replace").strip().splitlines()
        if not ended:
            return f"its examination did not end within {self._longest_s:g} s"
        last = said[-1] if said else "it said nothing"
        last = one_line(last.replace(str(self._archive), "the offered bundle"), MAX_TEXT)
        if process.returncode < 0:
            return f"its examination was killed by signal {-process.returncode}: {last}"
        return last if process.returncode else None

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it ended by itself; otherwise it is killed."""
        deadline = time.monotonic() + self._longest_s
        while not self._cancelled.is_set() and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(_LOOK_S, self._longest_s))
                return True
        process.kill()
        process.wait()
        return False
