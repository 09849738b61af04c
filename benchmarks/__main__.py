"""Every figure of samovar in one run, each beside the floor it stands on: ``python -m benchmarks``.

The raw floor is a round trip of 100 bytes between two blocking Python processes over one Unix socket, each on a core of
its own, measured between the other measures. Every measure has processes of its own; figures are medians of several
rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from measures import SIZES, Figures, Size  # noqa: E402

MB = 1e6


@dataclass(frozen=True)
class Row:
    measure: str
    figure: str
    value: float
    unit: str  # of the value: "s", "/s", "bytes"
    ratio: float
    floor: str  # what the ratio is to
    target: str
    reached: bool | None  # None: there is no target


# measuring


def measured(name: str, size: str) -> Figures:
    command = [sys.executable, str(HERE / "measures.py"), name, size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks: the measure {name!r} failed; what it said is above")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def starts(rounds: int) -> Figures:
    """From the start of a process to its first line and to its end."""
    figures: Figures = {"first_result": [], "whole_program": [], "bare_python": []}
    for _ in range(rounds):
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, str(HERE / "first.py")], stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            line = program.stdout.readline()
            figures["first_result"].append(time.perf_counter() - started)
        figures["whole_program"].append(time.perf_counter() - started)
        if program.returncode or not line:
            raise SystemExit("benchmarks: first.py failed; what it said is above")
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        figures["bare_python"].append(time.perf_counter() - started)
    return figures


def memory() -> Figures:
    """Bytes of the process of the script and its engine with all helpers, of a replica, and of a bare interpreter."""
    command = [sys.executable, str(HERE / "first.py"), "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        replicas = {int(number) for number in program.stdout.readline().split()}
        beside = {program.pid, *descendants(program.pid)} - replicas
        figures = {
            "engine_rss": [sum(resident(process, "Rss") for process in beside)],
            "engine_pss": [sum(resident(process, "Pss") for process in beside)],
            "replica_rss": [resident(process, "Rss") for process in replicas],
            "replica_pss": [resident(process, "Pss") for process in replicas],
        }
        program.communicate()
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        figures["bare_rss"] = [resident(bare.pid, "Rss")]
        figures["bare_pss"] = [resident(bare.pid, "Pss")]
        bare.communicate(b"\n")
    return figures


def resident(process: int, kind: str) -> float:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return float(line.split()[1]) * 1024
    raise SystemExit(f"benchmarks: smaps_rollup of process {process} has no {kind}")


def descendants(process: int) -> set[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found: set[int] = set()
    added = {process}
    while added:
        added = {child for child, parent in parents.items() if parent in added} - found
        found |= added
    return found


def measure_all(size: str) -> Figures:
    figures: Figures = {}

    def add(more: Figures) -> None:
        for name, values in more.items():
            figures.setdefault(name, []).extend(values)

    for _ in range(SIZES[size].rounds):
        for name in ("floor", "call", "pool", "executor"):
            say(name)
            add(measured(name, size))
    for name in ("gather", "floor", "fan", "floor", "naps", "copy", "array"):
        say(name)
        add(measured(name, size))
    say("first results")
    add(starts(5 if size == "full" else 1))
    say("memory")
    add(memory())
    return figures


def say(text: str) -> None:
    print(f"measuring: {text}", file=sys.stderr, flush=True)


# the table


def rows(figures: Figures, size: Size) -> list[Row]:
    middle = {name: statistics.median(values) for name, values in figures.items()}
    floor = middle["floor"]

    def trip(measure: str, name: str, target: float = 0) -> Row:
        value = middle[name]
        text = f"≤ {target * 1e6:.0f} µs" if target else ""
        return Row(
            measure, micros(value), value, "s", value / floor, "floor", text, value <= target if target else None
        )

    def rate(measure: str, name: str, target: float = 0) -> Row:
        each = middle[name]
        text = f"≥ {target:,.0f}/s" if target else ""
        reached = 1 / each >= target if target else None
        return Row(measure, f"{1 / each:,.0f}/s", 1 / each, "/s", each / floor, "floor, a task", text, reached)

    def cost(position: int) -> Row:
        value, first = middle[f"fan_{position}"], middle["fan_0"]
        count, ratio, beside = size.fans[position], value / first, f"{size.fans[0]:,} tasks"
        target, reached = ("flat: ≤ 1.25", ratio <= 1.25) if position else ("", None)
        name = f"cost of a task of {count:,} from a task"
        return Row(name, micros(value), value, "s", ratio, beside, target, reached)

    def span(measure: str, name: str, beside: float, what: str, target: float = 0) -> Row:
        value, least = middle[name], min(figures[name])
        text = f"≤ {target:g} s" if target else ""
        figure = f"{value:.3f} s (min {least:.3f})"
        return Row(measure, figure, value, "s", value / beside, what, text, value <= target if target else None)

    def space(measure: str, name: str, kind: str, target: float) -> Row:
        value, bare = middle[f"{name}_{kind}"], middle[f"bare_{kind}"]
        text = f"≤ {target:.0f} MB" if target else ""
        reached = value <= target * MB if target else None
        figure = f"{value / MB:.1f} MB"
        return Row(f"{measure}, {kind.upper()}", figure, value, "bytes", value / bare, "bare Python", text, reached)

    many = f"{size.many:,} tiny tasks"
    megabytes = size.array * 8 / MB
    bare = middle["bare_python"]
    ideal = size.naps * 0.1 / 200
    return [
        trip("raw floor: round trip of 100 bytes, p50", "floor"),
        trip("round trip, script to replica, p50", "script_call", 120e-6),
        trip("round trip, task to task, p50", "task_call", 170e-6),
        trip("round trip, multiprocessing.Pool, p50", "pool_call"),
        trip("round trip, ProcessPoolExecutor, p50", "executor_call"),
        rate(f"{many}, script, gathered run.aio", "script_gather", 50_000),
        rate(f"{many}, script, loop over run", "script_loop", 50_000),
        rate(f"{size.fans[1]:,} tiny tasks, gathered inside a task", "fan_1", 30_000),
        rate(f"{many}, multiprocessing.Pool, map one by one", "pool_many"),
        rate(f"{many}, ProcessPoolExecutor, submit", "executor_many"),
        *[cost(position) for position in range(len(size.fans))],
        span(f"{size.naps:,} of sleep(0.1) on 2 replicas of 100", "naps", ideal, f"ideal {ideal:.2f} s", ideal * 1.1),
        span(f"array of {megabytes:.0f} MB there and back", "array", middle["copy"], "copy", 0.1),
        span(f"copy: {megabytes:.0f} MB to tmpfs and mapped, twice", "copy", middle["copy"], "copy"),
        span("from nothing to the first result of a pool of 2", "first_result", bare, "python -c pass", 0.35),
        span("the same program until its process has ended", "whole_program", bare, "python -c pass"),
        span("python -c pass", "bare_python", bare, "python -c pass"),
        space("script, engine and helpers", "engine", "rss", 60),
        space("script, engine and helpers", "engine", "pss", 60),
        space("a replica", "replica", "rss", 30),
        space("a replica", "replica", "pss", 30),
        space("a bare Python", "bare", "rss", 0),
        space("a bare Python", "bare", "pss", 0),
    ]


def micros(value: float) -> str:
    return f"{value * 1e6:.1f} µs"


def table(found: list[Row], judged: bool) -> str:
    marks = {None: "", True: "reached", False: "MISSED"} if judged else {None: "", True: "", False: ""}
    lines = [("measure", "figure", "ratio", "to", "target", "")]
    lines += [
        (row.measure, row.figure, f"{row.ratio:.2f} x", row.floor, row.target, marks[row.reached]) for row in found
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    right = (1, 2)
    header, *body = (
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return "\n".join([header, "─" * len(max(body, key=len)), *body])


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure samovar beside the floors it stands on.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the rows and the figures of all rounds as JSON")
    options = parser.parse_args()
    size = "quick" if options.quick else "full"
    load = os.getloadavg()[0]  # of others: nothing has been measured yet
    figures = measure_all(size)
    found = rows(figures, SIZES[size])
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.machine()}"
    machine = f"Python {platform.python_version()}, {cores} cores, {system}, load before {load:.1f}, {size} sizes"
    if options.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in found], "rounds": figures}, indent=1))
        return
    print(f"{machine}\n\n{table(found, judged=size == 'full')}")
    if options.quick:
        print("\nThe targets are for the full sizes; quick ones are not judged.")
    if load > cores / 2:
        print("\nOthers kept this machine busy: compare the ratios, not the figures.")
    if cores < 2:
        print("\nOne core only: the floor is two processes on the same core.")


if __name__ == "__main__":
    main()
