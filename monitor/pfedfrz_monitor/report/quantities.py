"""Quantities as people read them; a dash where there is none."""

from __future__ import annotations

import math

__all__ = ["MISSING", "bytes_text", "duration_text", "loss_text", "number_text", "percent_text"]

MISSING = "\N{EN DASH}"
_NARROW = "\N{NO-BREAK SPACE}"


def percent_text(share: float | None, digits: int = 1) -> str:
    """0.9412 as `94.1 %`."""
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{100 * share:.{digits}f}{_NARROW}%"


def loss_text(loss: float | None) -> str:
    """A loss with three significant digits; a diverged one is said."""
    if loss is None:
        return MISSING
    return f"{loss:.3g}" if math.isfinite(loss) else "not finite"


def bytes_text(count: int) -> str:
    """1234567 as `1.23 MB`; powers of 1000."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        # 999.5 would be shown as 1000 of the smaller unit.
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{_NARROW}{unit}"


def duration_text(seconds: float) -> str:
    """103.4 as `1 min 43 s`."""
    if not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f}{_NARROW}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{_NARROW}min {whole % 60}{_NARROW}s"
    return f"{whole // 3600}{_NARROW}h {whole % 3600 // 60}{_NARROW}min"


def number_text(value: float) -> str:
    """A number with three significant digits, with a true minus sign."""
    text = f"{value:.3g}" if abs(value) < 1e5 else f"{value:.0e}"
    return text.replace("-", "\N{MINUS SIGN}")
