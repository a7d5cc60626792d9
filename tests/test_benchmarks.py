"""Each row of the benchmarks runs and measures something; how much, only its own run can say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.measure import Figure, count_processes, interleave, per_task, ratio
from benchmarks.rows import ROWS

Row = Callable[[Bench], Iterator[Figure]]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return sizes that take no time; no other engine is measured but those beside this Python."""
    (tmp_path / "home").mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    return Bench(tmp_path / "bench", 1, "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_row_measures_something(bench: Bench, name: str) -> None:
    (bench.scratch / "home").mkdir(parents=True)
    figures = list(ROWS[name](bench))
    assert {figure.row for figure in figures} == {name}
    taken = [figure for figure in figures if figure.value is not None]
    assert taken
    assert all(figure.line().startswith(name) for figure in figures)
    assert {figure.what for figure in figures if figure not in taken} <= ABSENT


ABSENT = {
    *(f"gitflow-agents over {peer}" for peer in ("doit", "luigi", "make", "snakemake", "taskflow")),
    *(f"`ready --json` over {tracker}" for tracker in ("backlog", "task-master", "tk")),
}
"""What may be missing: no engine is installed for a comparison."""


def test_a_ratio_is_that_of_the_medians_with_the_range_of_the_rounds() -> None:
    figure = ratio("row", "ours over theirs", (2.0, 9.0, 4.0), (1.0, 3.0, 2.0), target=1.5)
    assert (figure.value, figure.low, figure.high) == (2.0, 2.0, 3.0)
    assert figure.line().endswith("2.00x [2.00..3.00] target <= 1.5x: MISSED")


def test_what_is_paid_once_is_in_no_figure_a_task() -> None:
    assert per_task((10.0, 22.0), (1.0, 2.0), 10) == (1.0, 20.0 / 9)


def test_contenders_are_measured_in_turns() -> None:
    seen: list[str] = []

    def contender(name: str) -> Callable[[], float]:
        def measure() -> float:
            seen.append(name)
            return float(len(seen))

        return measure

    taken = interleave({"a": contender("a"), "b": contender("b")}, 2)
    assert (seen, taken) == (["a", "b", "a", "b"], {"a": (1.0, 3.0), "b": (2.0, 4.0)})


def test_processes_that_git_starts_by_itself_are_counted_apart(tmp_path: Path) -> None:
    lines = [
        '{"event": "start", "sid": "1"}',
        '{"event": "cmd_name", "name": "merge-tree"}',
        '{"event": "start", "sid": "1/2"}',
        '{"event": "cmd_name", "name": "gc"}',
    ]
    trace = tmp_path / "trace"
    trace.mkdir()
    (trace / "one").write_text("\n".join(lines[:2]) + "\n")
    (trace / "two").write_text("\n".join(lines[2:]) + "\n")
    counted = count_processes(trace)
    assert (counted.ours, counted.every, dict(counted.names)) == (1, 2, {"merge-tree": 1, "gc": 1})
