"""Imported by Python itself: lets a process believe that it is LATER seconds later than it is."""

import os
import time

_real, _later = time.time, float(os.environ.get("LATER", "0"))
time.time = lambda: _real() + _later
