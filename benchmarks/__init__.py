"""What gitflow-agents costs, as ratios to the cheapest way of doing the same work.

`python -m benchmarks` prints one line a figure. A figure is a ratio of two things that were
measured in turns, in the same minutes, on the same machine: a time alone says more about the
machine than about the program. Start with `rows.py`: each function there is one row of the table.
"""
