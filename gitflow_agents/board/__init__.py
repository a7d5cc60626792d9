"""What a project board shows of a plan, and the writes that bring it there.

A board is a projection: what it has to show is computed from a snapshot, compared with what it
shows and with what was written there before, and only the difference is written.  Nothing here
asks anybody.
"""
