"""A source that is looked at again and again; what was good last stays when it breaks."""

from __future__ import annotations

import logging

from pfedfrz_protocol import ConfigurationError

from .source import Source, StillWritten

__all__ = ["WatchedSource"]

log = logging.getLogger(__name__)


class WatchedSource:
    """The last good reading of a source."""

    def __init__(self, source: Source) -> None:
        """Read it; ConfigurationError where it cannot be: at the start a person is there."""
        self._source = source
        self._signature = source.signature()
        self._complaint = ""
        self.reading = source.read()

    @property
    def name(self) -> str:
        """The source's."""
        return self._source.name

    def look(self) -> bool:
        """Read the source again if it changed; whether there is another reading now.

        A source that is gone or broken is said once and keeps what it gave.
        """
        try:
            # Before the reading: what changes while it is read is seen at the next look.
            signature = self._source.signature()
            unchanged = signature is not None and signature == self._signature
            if unchanged and self.reading.is_settled and not self._complaint:
                return False
            reading = self._source.read()
        except StillWritten:
            return False
        except ConfigurationError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("%s; going on with the %d samples from before", error,
                            len(self.reading.data))  # fmt: skip
            return False
        except MemoryError:
            log.error("%s: there is no memory for it any more; set max_samples", self.name)
            return False
        if self._complaint:
            self._complaint = ""
            log.info("%s: can be read again", self.name)
        self._signature, self.reading = signature, reading
        return True
