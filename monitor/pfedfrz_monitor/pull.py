"""Which devices keep pulling against the others, told from those that did so by chance.

One update below 0 says little where data differ: honest devices lie on both sides of it. A device
is named when the mean cosine of its last updates is below 0 beyond what their scatter explains:
three and a half standard errors, and more than a twentieth. It stays named until that mean is back
above a twentieth below 0. It may attack, or have data unlike all others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["LOOKED_AT", "ever_pulled_against", "keeps_pulling_against"]

LOOKED_AT = 10
"""Updates of a device."""
_FEWEST = 5
_ERRORS = 3.5
_LEAST_MEAN = -0.05
_LEAST_ERROR = 0.005
"""Of a cosine of a large model, which is an estimate."""


def keeps_pulling_against(cosines: Sequence[float], *, already: bool = False) -> bool:
    """Whether the last of these cosines, oldest first, say so; never of fewer than five.

    `already` says that the device was named before the newest of them.
    """
    last = cosines[-LOOKED_AT:]
    if len(last) < _FEWEST:
        return False
    mean = statistics.fmean(last)
    if already or mean >= _LEAST_MEAN:
        return mean < _LEAST_MEAN
    error = max(_LEAST_ERROR, statistics.stdev(last) / math.sqrt(len(last)))
    return mean + _ERRORS * error < 0


def ever_pulled_against(cosines: Sequence[float]) -> bool:
    """Whether a watcher who heard these one after the other would have named the device."""
    ends = range(_FEWEST, len(cosines) + 1)
    return any(keeps_pulling_against(cosines[max(0, end - LOOKED_AT) : end]) for end in ends)
