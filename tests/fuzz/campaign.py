"""`scripts/fuzz`: atheris over one target or all, with a table of what was executed at the end.

Every target runs in a process of its own, bounded in memory and in time for each input. What it
learns goes to `fuzz-runs/corpus/`, what it finds to `fuzz-runs/finds/`; neither is committed. The
committed corpus is read and never written to.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from targets import target_names  # noqa: E402

RUNS = ROOT / "fuzz-runs"
RSS_LIMIT_MB = 1536
TIMEOUT_S = 10
MAX_BYTES = 16_384
_EXECUTED = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(rb"stat::peak_rss_mb:\s*(\d+)")
_SAVED = re.compile(rb"Test unit written to (\S+)")


@dataclass(frozen=True)
class Outcome:
    """What one target did."""

    target: str
    executions: int
    seconds: float
    peak_mb: int
    find: Path | None


def run_target(target: str, limits: list[str]) -> Outcome:
    """Run until a limit or a find; the log goes beside the finds."""
    learnt, finds = RUNS / "corpus" / target, RUNS / "finds"
    for folder in (learnt, finds, RUNS / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, str(HERE / "one_target.py"), target, str(learnt),
        str(HERE / "corpus" / target), *limits, f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-timeout={TIMEOUT_S}", f"-max_len={MAX_BYTES}", "-print_final_stats=1",
        f"-artifact_prefix={finds}/{target}-",
    ]  # fmt: skip
    path = os.pathsep.join([*sys.path[:2], *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.monotonic()
    memory = Path("/dev/shm")
    # libFuzzer ends a process without its last words: what is left of its files is taken away here.
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        settings = {**os.environ, "PYTHONPATH": path, "PFEDFRZ_FUZZ_SCRATCH": scratch}
        done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, check=False)
    output = done.stdout + done.stderr
    (RUNS / "logs" / f"{target}.log").write_bytes(output)
    executed, peak = _EXECUTED.findall(output), _PEAK.findall(output)
    saved = _SAVED.search(output)
    find = Path(saved[1].decode()) if saved else None
    if done.returncode and find is None:
        find = RUNS / "logs" / f"{target}.log"  # it never began: an import, an option
    return Outcome(
        target,
        int(executed[-1]) if executed else 0,
        time.monotonic() - began,
        int(peak[-1]) if peak else 0,
        find,
    )


def main() -> int:
    """0 when nothing was found, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Fuzz the decoders of pfedfrz with atheris.")
    parser.add_argument("--target", action="append", choices=target_names(), help="default: all")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--runs", type=int, help="executions of each target")
    length.add_argument("--seconds", type=int, help="time for each target (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1)")
    parser.add_argument("--seed", type=int, help="of libFuzzer; a new one each time by default")
    chosen = parser.parse_args()
    limits = (
        [f"-runs={chosen.runs}"] if chosen.runs else [f"-max_total_time={chosen.seconds or 60}"]
    )
    if chosen.seed is not None:
        limits.append(f"-seed={chosen.seed}")
    told = threading.Lock()

    def run(target: str) -> Outcome:
        outcome = run_target(target, limits)
        with told:
            print(_row(outcome), flush=True)
        return outcome

    print(f"| {'target':17} | {'executions':>12} | {'seconds':>7} | {'peak MB':>7} | found |")
    print(f"|{'-' * 19}|{'-' * 13}:|{'-' * 8}:|{'-' * 8}:|-------|")
    with ThreadPoolExecutor(chosen.jobs) as pool:
        outcomes = list(pool.map(run, chosen.target or target_names()))
    total = sum(outcome.executions for outcome in outcomes)
    print(
        f"| {'all':17} | {total:12,} | {sum(o.seconds for o in outcomes):7.0f} |         |       |"
    )
    finds = [outcome for outcome in outcomes if outcome.find]
    for outcome in finds:
        print(f"{outcome.target}: look at {RUNS / 'logs' / outcome.target}.log, and replay with")
        print(f"  scripts/fuzz --replay {outcome.target} {outcome.find}")
    return 1 if finds else 0


def _row(outcome: Outcome) -> str:
    found = "yes" if outcome.find else "no"
    return (
        f"| {outcome.target:17} | {outcome.executions:12,} | {outcome.seconds:7.0f} "
        f"| {outcome.peak_mb:7} | {found:5} |"
    )


if __name__ == "__main__":
    sys.exit(main())
