"""The lines to which our engine answers differently from dockerd, with reasons. One that no longer differs fails."""

from typing import Final

_NO_RUNTIME = "The sentence names runc and its shim, which our engine has not."
_NO_STEPS = "With us no step of a build leaves an image or, when it fails, a container of its own."

REASONS: Final = {
    "043 search nothing-like-this --limit 1000": "Docker Hub is not searched: 501.",
    '053 image inspect --format "{{json .ContainerConfig.Cmd}} {{.Doc': (
        "No container made the image, and no Docker Engine: ContainerConfig and DockerVersion would be made up. Newer "
        "engines have dropped the first."
    ),
    '057 history --format "{{.ID}} {{.CreatedBy}}" app:2': (
        "The digest in a COPY's line is one over names, modes and contents, computed in a way of our own."
    ),
    "086 rmi app:2": _NO_STEPS,
    "090 run --rm base:1 nosuch": _NO_RUNTIME,
    "091 run --rm base:1 /etc": _NO_RUNTIME,
    '129 inspect --format "{{json .HostConfig}}" made': (
        "What is so: no runc, no shared memory of its own, nothing masked in /proc, IPC of the machine."
    ),
    "133 ps --all --filter status=created --quiet": _NO_STEPS,
    "150 exec live nosuch": _NO_RUNTIME,
    "154 exec --workdir /etc live pwd": _NO_RUNTIME,
    "155 exec --workdir /missing live pwd": _NO_RUNTIME,
    '192 ps --all --format "{{.Command}} {{.Status}}"': _NO_STEPS,
    "193 container prune --force": _NO_STEPS,
    "python images.prune": _NO_STEPS,
    "python containers.run nothing": _NO_RUNTIME,
}
