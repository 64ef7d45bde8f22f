"""A room: a real JupyterHub for a class, a sandbox for each learner, and a page for whoever leads.

`make hub` starts it. What one machine isolates, and what not, stands in `docs/room.md`.
"""
