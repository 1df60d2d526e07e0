"""What a device trains is nobody's business: onnxruntime is told so before it is loaded."""

import os
import subprocess
import sys

import pytest

LOOK = (
    "import os, sys, pfedfrz_edge.runtimes\n"
    "early = 'onnxruntime' in sys.modules\n"
    "import pfedfrz_edge.runtimes.onnxruntime\n"
    "print(early, 'onnxruntime' in sys.modules, os.environ['ORT_DISABLE_TELEMETRY'])"
)


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_it_is_off_before_onnxruntime_is_there_unless_somebody_wants_it(
    before: str | None, after: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    if before is not None:
        environment["ORT_DISABLE_TELEMETRY"] = before
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", after]
