"""How often each job of some workflow files was executed by the tests; none may be left out.

FORGE_COUNTS=FILE make test-all
python -m tests.forge.counts FILE WORKFLOW...
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.forge.expressions import load


def table(counted: Counter[str], files: Sequence[Path]) -> dict[str, int]:
    """Return how often each job of some files was executed, by `FILE JOB`."""
    jobs = [f"{file.name} {job}" for file in files for job in load(file.read_text())["jobs"]]
    return {job: counted[job] for job in jobs}


def read(file: Path) -> Counter[str]:
    """Return what a run of the tests counted: a line a job, `OWNER/NAME FOLDER/FILE JOB`."""
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter(line.rpartition("/")[2] for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Print the table and return 1 if a job was never executed."""
    counted = read(Path(arguments[0]))
    found = table(counted, [Path(one) for one in arguments[1:]])
    for job, times in found.items():
        sys.stdout.write(f"{times:6} {job}\n")
    missing = [job for job, times in found.items() if not times]
    if missing:
        sys.stderr.write(f"error: never executed: {', '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
