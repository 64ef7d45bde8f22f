"""A container engine of ours, for machines on which dockerd can't do its work. It imports nothing of the workbook's.

It answers Docker's Engine API on a Unix socket as far as the workbook and a learner's ordinary commands go. Containers
are processes of this machine with a root folder of their own: no isolation, no limits, the machine's network. What it
does not do it refuses with a sentence.
"""
