"""One process of an emulated fleet: a coordinator, a device, or a device that attacks.

    python -m pfedfrz_emulator.member_process PARENT_PID coordinator|device|page CONFIG [ATTACK]

The code is that of `pfedfrz coordinator`, `device` and `monitor --web`; an attacker is a device
with a tampering hook. Nothing here imports torch: a device process weighs what it does on a board.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_protocol import PfedfrzError

from .attacks import DeviceAttacker, load_orders
from .lifetime import end_with_parent

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Run the member; 0 when the federation is over, 1 otherwise."""
    parent_pid, role, configuration, *rest = arguments
    end_with_parent(int(parent_pid))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    path = Path(configuration)
    try:
        if role == "coordinator":
            from pfedfrz_coordinator.process import run_coordinator

            return 0 if run_coordinator(path) else 1
        if role == "page":
            from pfedfrz_monitor.settings import load_monitor_settings
            from pfedfrz_monitor.watch import open_watch, started
            from pfedfrz_monitor.web import serve

            settings = load_monitor_settings(path)
            watch = open_watch(settings)
            with started(watch):
                serve(watch, settings.web, settings.labels, say=print)
            return 0
        from pfedfrz_edge.process import run_device

        run_device(path, _attacker(path, Path(rest[0])) if rest else None)
    except PfedfrzError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _attacker(configuration: Path, orders: Path) -> DeviceAttacker:
    settings = load_device_settings(configuration)
    return DeviceAttacker(load_orders(orders), settings.device, settings.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
