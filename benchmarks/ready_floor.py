"""The least that a Python program can do to say what is ready: read one JSON file, one pass.

    python ready_floor.py TASKS.json

The file holds a list of objects with id, status, preconditions and provides.
"""

import json
import sys

with open(sys.argv[1], "rb") as file:
    tasks = json.load(file)
provided = {name for task in tasks if task["status"] == "completed" for name in task["provides"]}
ready = [
    task["id"]
    for task in tasks
    if task["status"] == "pending" and provided.issuperset(task["preconditions"])
]
print(json.dumps({"schema": 1, "plan": "bench", "ready": ready}))
