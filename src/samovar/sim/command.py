"""The command ``python -m samovar.sim``: its options, what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from samovar.errors import WorkloadError
from samovar.sim import seeds
from samovar.sim.meter import Meter, table
from samovar.sim.workload import read
from samovar.sim.world import World

_EXAMPLES = """examples:
  python -m samovar.sim --seeds 10000          worlds made from 10,000 seeds, each checked
  python -m samovar.sim --seed 4711 --trace    the history of one of them
  python -m samovar.sim examples/workload.toml what some policies would do to a workload

Exit codes: 0, all is well; 1, a seed breaks a rule; 2, the command or the file is not understood.
"""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.file is not None:
        return _try_policies(options.file, options.json)
    if options.seed is not None:
        return _one(options.seed, options.trace)
    return _many(range(options.first, options.first + options.seeds), options.processes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m samovar.sim",
        description="Run the core of samovar under a virtual clock: in random worlds, to find what is wrong with it, "
        "or on a workload, to see what reuse policies would do to it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="WORKLOAD", help="a TOML file: docs/simulator.md")
    parser.add_argument("--seeds", type=_count, default=1000, metavar="N", help="how many random worlds (1000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (0)")
    parser.add_argument("--processes", type=_count, default=0, metavar="N", help="how many at once (the processors)")
    parser.add_argument("--seed", type=int, metavar="N", help="only this one")
    parser.add_argument("--trace", action="store_true", help="with --seed: print its history")
    parser.add_argument("--json", action="store_true", help="with WORKLOAD: the figures as JSON")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _many(wanted: range, processes: int) -> int:
    began = time.perf_counter()
    found = seeds.Found()
    said = 0
    for part in seeds.run_all(wanted, processes):
        found = found.plus(part)
        for seed, rule in part.broken:
            print(f"seed {seed}: {rule}\n    replay it: python -m samovar.sim --seed {seed} --trace", flush=True)
        if found.seeds - said >= len(wanted) / 10:
            said = found.seeds
            print(f"{said} of {len(wanted)} seeds", file=sys.stderr, flush=True)
    took = time.perf_counter() - began
    print(
        f"{found.seeds} worlds, {found.steps} events, {found.seconds / 3600:.1f} h of virtual time in {took:.1f} s: "
        f"{found.seeds / took:.0f} worlds and {found.steps / took:.0f} events a second"
    )
    print(f"{len(found.broken)} seeds break a rule" if found.broken else "no rule is broken")
    return 1 if found.broken else 0


def _one(seed: int, is_told: bool) -> int:
    rule = seeds.replay(seed, print if is_told else lambda line: None)
    print(f"seed {seed}: {rule}" if rule else f"seed {seed}: no rule is broken")
    return 1 if rule else 0


def _try_policies(file: Path, as_json: bool) -> int:
    try:
        scenarios = read(file)
    except WorkloadError as error:
        print(error, file=sys.stderr)
        return 2
    found = {}
    for scenario in scenarios:
        ((name, settings),) = scenario.pools.items()
        meter = Meter(settings.concurrency)
        World(scenario, (meter,)).run()
        found[name] = meter.figures()
    print(json.dumps({name: it._asdict() for name, it in found.items()}, indent=2) if as_json else table(found))
    return 0
