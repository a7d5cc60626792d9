"""Print the ratios of one run.

    python -m benchmarks [ROW ...] [--quick]

Other engines (GNU make, doit, luigi, snakemake, taskflow) and trackers (tk, backlog, task-master)
are measured where they are on PATH, so what has them can be put before it: PATH=/peers/bin:$PATH.

A missed target is a line that says so, not an exit code: noise would be a failure. What noise
cannot break (counts of processes and calls) is held by tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import NotMeasured, machine, not_measured
from benchmarks.rows import ROWS

# A file system in memory: a disk that others write to is most of the noise there is.
MEMORY = Path("/dev/shm")
ROOM = 2 << 30


def roomy() -> Path:
    """Return a folder in memory where there is one with room, else the system's for temporaries."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        return MEMORY
    return Path(tempfile.gettempdir())


def main() -> None:
    """Run the rows that are named, or all, and print a line a figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, three rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each figure (default: 7, quick 3)")
    parser.add_argument(
        "--dir", type=Path, default=roomy(), help="work in a folder here (default: %(default)s)"
    )
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    rounds = options.rounds or (3 if options.quick else 7)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
        scratch = Path(folder).resolve()
        (scratch / "home").mkdir()
        sizes = "quick sizes" if options.quick else "full sizes"
        print(machine(scratch))
        print(f"medians of {rounds} rounds in turns, {sizes}; [lowest..highest round]\n")
        bench = Bench(scratch, rounds, "quick" if options.quick else "full")
        # Some rows call the product in this very process: it sees what its commands see.
        env = bench.env
        os.environ.clear()
        os.environ.update(env)
        for name in options.rows or ROWS:
            try:
                for figure in ROWS[name](bench):
                    print(figure.line(), flush=True)
            except NotMeasured as reason:
                print(not_measured(name, "the rest of this row", reason).line(), flush=True)


if __name__ == "__main__":
    main()
