"""Where Prometheus may ask a coordinator how it is."""

from __future__ import annotations

import json
import re

import msgspec

from pfedfrz_protocol import ConfigurationError

__all__ = ["MetricsPolicy"]

_FORM = re.compile(r"(?:\[([0-9A-Za-z:.%_-]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")

_MOST_SHOWN = 80


class MetricsPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[metrics]`."""

    listen: str = ""
    """HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464; empty for nowhere. Whoever reaches it reads
    the numbers of the federation: there is no password."""
    per_device: bool = False
    """Also show each device by its name, of the first 1,000 of a round."""

    def __post_init__(self) -> None:
        if self.listen:
            self.address()

    def address(self) -> tuple[str, int]:
        """Host and port; ConfigurationError for what is none."""
        found = _FORM.fullmatch(self.listen)
        if found is None or int(found[3]) > 65_535:
            shown = json.dumps(self.listen[:_MOST_SHOWN])
            raise ConfigurationError(
                f'[metrics] listen = {shown} (want HOST:PORT, such as "127.0.0.1:9464" or '
                '"[::1]:9464")'
            )
        return found[1] or found[2], int(found[3])
