"""No word to onnxruntime's maker: newer builds report their use over the network when they load.

Imported before onnxruntime is, by the package that everything else of a runtime is in; processes
that this one starts inherit it. Whoever wants to send reports sets ORT_DISABLE_TELEMETRY=0.
"""

from __future__ import annotations

import os

__all__: list[str] = []

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
