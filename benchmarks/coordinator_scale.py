"""A coordinator among 100, 1,000 and 10,000 devices, beside a plain subscriber on the same broker.

The devices are light clients: real MQTT 5 connections, some thousand to a process, which offer
real updates and train nothing. The coordinator is the real process, the broker a Mosquitto of our
own. Before each round the same clients publish the same updates to a plain paho subscriber that
counts their bytes and does nothing else, as many at once as the coordinator grants: the ratio of
the two is what the coordinator's own work costs. Both are timed from the order to begin; the
coordinator until the last device has its verdict, the subscriber until the last byte is there.

A case is REGISTERED/SELECTED devices. The first round warms up and is left out of the medians.

    python benchmarks/coordinator_scale.py
    python benchmarks/coordinator_scale.py --cases 1000/1000 --repeats 5 --json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.light_fleet.case import Case, CaseResult, run_case
from pfedfrz_coordinator.cores import available_cores
from pfedfrz_protocol import ConfigurationError, OperationError

CASES = ("100/100", "1000/100", "1000/1000", "10000/200")
RATIO_AIM, MEMORY_AIM_MB = 0.8, 300


def main() -> int:
    """Run the cases and print a table; 1 when an update was lost or a case came to a halt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="REGISTERED/SELECTED")
    parser.add_argument("--repeats", type=int, default=3, help="measured rounds of a case (3)")
    parser.add_argument("--payload-kb", type=int, default=1000, help="size of an update (1000)")
    parser.add_argument("--wave", type=int, default=16, help="uploads at once (16)")
    parser.add_argument("--processes", type=int, default=2, help="of light clients (2)")
    parser.add_argument("--aggregation", default="mean", help="the rule (mean)")
    parser.add_argument("--json", action="store_true", help="every figure, as JSON")
    parser.add_argument("--tracer", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    results: list[CaseResult] = []
    for text in options.cases:
        registered, selected = (int(part) for part in text.split("/"))
        case = Case(
            registered, selected, options.payload_kb, options.wave, options.processes,
            aggregation=options.aggregation,
        )  # fmt: skip
        try:
            tracer = tuple(options.tracer.split())
            results.append(run_case(case, options.repeats, log=_log, tracer=tracer))
        except (OperationError, ConfigurationError) as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            return 1
    if options.json:
        print(json.dumps({"machine": _machine(), "cases": [asdict(r) for r in results]}, indent=1))
    else:
        _print_table(results)
    return any(figures.missed or figures.rejected for r in results for figures in r.rounds)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _machine() -> dict[str, object]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cores": available_cores(),
        "processor": model,
        "python": platform.python_version(),
        "paho-mqtt": version("paho-mqtt"),
        "numpy": version("numpy"),
        "load": os.getloadavg()[0],
    }


def _print_table(results: list[CaseResult]) -> None:
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    head = ("devices", "round", "uploads", "plain", "ratio", "in", "out", "CPU", "plain CPU")
    print(("{:>12} {:>8} {:>9} {:>9} {:>6} {:>7} {:>7} {:>8} {:>9}").format(*head), end="")
    print("  memory  missed rejected")
    for result in results:
        figure = result.median
        print(
            f"{result.case.name:>12} {figure(lambda r: r.round_s):>6.2f} s "
            f"{figure(lambda r: r.mb_s):>4.0f} MB/s "
            f"{figure(lambda r: r.upload_mb / r.yardstick_s):>4.0f} MB/s "
            f"{figure(lambda r: r.ratio):>6.2f} "
            f"{figure(lambda r: r.messages_in):>7.0f} {figure(lambda r: r.messages_out):>7.0f} "
            f"{figure(lambda r: r.coordinator_cpu_s):>6.2f} s "
            f"{figure(lambda r: r.yardstick_cpu_s):>7.2f} s "
            f"{result.peak_memory_mb:>4.0f} MB "
            f"{sum(r.missed for r in result.rounds):>7} "
            f"{sum(r.rejected for r in result.rounds):>8}"
        )
    ratio = min(result.median(lambda r: r.ratio) for result in results)
    memory = max(result.peak_memory_mb for result in results)
    print(
        f"lowest ratio {ratio:.2f} (aim {RATIO_AIM}), "
        f"most memory {memory:.0f} MB (aim {MEMORY_AIM_MB})"
    )


if __name__ == "__main__":
    sys.exit(main())
