"""The workbook's own container engine, for machines that can't run dockerd. It imports no other package of ours.

It serves the part of Docker's Engine API that the workbook and a learner's ordinary commands use, on a Unix socket.
Containers are processes of this machine with a root folder of their own: they are not isolated, have no limits, and
use the machine's network. A call that the engine doesn't support is refused with a message that names it.
"""
