"""A room: a real JupyterHub for a class, a sandbox for each learner, and a page for the lead.

`make hub` starts it. `docs/room.md` says what is isolated on one machine and what is not.
"""
