"""What this computer must have before anything runs: the virtual environment, a Docker Engine, a base image.

Nothing here knows about Google, the sandbox or the notebooks. `install.sh` makes the environment that the rest needs.
"""
