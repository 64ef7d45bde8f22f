"""A script of docker commands and docker-py calls for any engine, with their usual mistakes.

Each line is `docker …` in the shell's spelling; what follows ` < ` is its input. `{registry}` is a repository to which
the engine may push, `{nope}` one that isn't there, `{host}` the registry's address, `{work}` a folder of files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import docker

# Files of {work}. A name that ends with a slash is a folder.
FILES: Final = {
    "ctx/Dockerfile": (
        "FROM base:1 AS first\nARG WORD=none\nENV SAID=$WORD PLAIN=1\nLABEL kept=yes\nWORKDIR /made\n"
        "RUN echo step > step && mkdir d && chmod 700 d\nFROM base:1\nCOPY --from=first /made /taken\n"
        "COPY --chown=1000:1000 file folder/ /data/\nEXPOSE 8080\nVOLUME /kept\nUSER learner\n"
        'HEALTHCHECK --interval=1s CMD true\nENTRYPOINT ["cat"]\nCMD ["/taken/step"]\n'
    ),
    "ctx/.dockerignore": "ignored\n*.log\n",
    "ctx/file": "content\n",
    "ctx/ignored": "not sent\n",
    "ctx/a.log": "not sent\n",
    "ctx/folder/inner": "inner\n",
    "bad/exit": "FROM base:1\nRUN exit 7\n",
    "bad/word": "FROM base:1\nRUNN true\n",
    "bad/copy": "FROM base:1\nCOPY missing /\n",
    "bad/first": "RUN true\n",
    "bad/stage": "FROM base:1\nCOPY --from=nowhere:1 /a /b\n",
    "bad/empty": "\n",
    "bad/flag": "FROM base:1\nCOPY --wrong=1 a /b\n",
    "bad/user": "FROM base:1\nUSER nobody-here\nRUN true\n",
    "bad/env": "FROM base:1\nENV A\n",
    "bad/port": "FROM base:1\nEXPOSE word\n",
    "bad/noargs": "FROM base:1\nCMD\n",
    "bad/chown": "FROM base:1\nCOPY --chown=who exit /\n",
    "bad/health": "FROM base:1\nHEALTHCHECK NEVER\n",
    "bad/signal": "FROM base:1\nSTOPSIGNAL SIGWHAT\n",
    "bad/shell": "FROM base:1\nSHELL sh -c\n",
    "bad/from": "FROM base:1 as\n",
    "bad/relative": "FROM base:1\nCOPY ../outside /\n",
    "bad/ignored": "FROM base:1\nCOPY exit* empty /one\n",
    "send/one": "1\n",
    "send/sub/two": "2\n",
    "noarchive.tar": "this is no archive\n",
}

_IMAGES: Final = """
version --format "{{.Client.Os}}"
images
images --quiet nothing
images --all --filter dangling=true
images --filter wrong=1
images --digests --format "{{.Repository}} {{.Tag}} {{.Digest}}"
image ls base
tag base:1 copy:1
tag base:1 Copy:1
tag nothing:1 copy:2
tag base:1 copy:!bad
tag base:1 team/app
image inspect --format "{{.RepoTags}} {{.Os}} {{.Size}}" base:1
image inspect --format "{{json .Config}}" base:1
image inspect --format "{{json .RootFS.Type}} {{len .RootFS.Layers}} {{.Comment}} {{.Author}} {{.Parent}}" base:1
image inspect nothing:1
inspect nothing:1
inspect --type image nothing:1
history base:1
history --no-trunc --format "{{.CreatedBy}}|{{.Size}}|{{.Comment}}" base:1
history nothing:1
images --format "{{.Repository}}:{{.Tag}} {{.Size}}" --filter reference=copy
images --filter before=copy:1 --quiet
images --filter since=nothing:1
rmi copy:1
rmi copy:1
rmi team/app:latest
rmi nothing:1 other:2
image prune --force
image rm
import {work}/noarchive.tar wrong:1
import {work}/missing.tar
import --change "CMD [\\"ls\\"]" --change "ENV A=1" --message said {work}/base.tar changed:1
image inspect --format "{{json .Config.Cmd}} {{json .Config.Env}} {{.Comment}}" changed:1
import --change "RUN true" {work}/base.tar changed:2
import {work}/base.tar Bad:1
save --output {work}/{engine}.tar changed:1
save --output {work}/nowhere.tar nothing:1
rmi changed:1
load --input {work}/{engine}.tar
load --input {work}/noarchive.tar
load --input {work}/missing.tar
load --quiet --input {work}/{engine}.tar
search nothing-like-this --limit 1000
image inspect --format "{{len .RepoDigests}}" changed:1
"""

_BUILDS: Final = """
build --tag app:1 {work}/ctx
build --tag app:1 --build-arg WORD=given {work}/ctx
build --tag app:1 --build-arg WORD=given --build-arg UNKNOWN=1 {work}/ctx
build --quiet --tag app:2 --label more=1 {work}/ctx
build --target first --tag app:first {work}/ctx
build --target nowhere {work}/ctx
build --no-cache --quiet --tag app:1 {work}/ctx
image inspect --format "{{json .Config}}" app:1
image inspect --format "{{json .ContainerConfig.Cmd}} {{.DockerVersion}} {{.Architecture}}" app:first
image inspect --format "{{.Config.Labels}} {{.Config.WorkingDir}} {{.Config.Env}}" app:first
history --no-trunc --format "{{.CreatedBy}}|{{.Size}}" app:1
history --no-trunc --format "{{.CreatedBy}}|{{.Size}}" app:first
history --format "{{.ID}} {{.CreatedBy}}" app:2
build {work}/bad
build --file {work}/bad/exit {work}/bad
build --quiet --file {work}/bad/exit {work}/bad
build --file {work}/bad/word {work}/bad
build --file {work}/bad/copy {work}/bad
build --file {work}/bad/first {work}/bad
build --file {work}/bad/stage {work}/bad
build --file {work}/bad/empty {work}/bad
build --file {work}/bad/flag {work}/bad
build --file {work}/bad/user {work}/bad
build --file {work}/bad/env {work}/bad
build --file {work}/bad/port {work}/bad
build --file {work}/bad/noargs {work}/bad
build --file {work}/bad/chown {work}/bad
build --file {work}/bad/health {work}/bad
build --file {work}/bad/signal {work}/bad
build --file {work}/bad/shell {work}/bad
build --file {work}/bad/from {work}/bad
build --file {work}/bad/relative {work}/bad
build --file {work}/bad/ignored {work}/bad
build --file {work}/bad/missing {work}/bad
build --tag Bad:1 {work}/ctx
build {work}/nowhere
images --format "{{.Repository}}:{{.Tag}}" app:first
run --rm app:1
run --rm --entrypoint ls app:1 -ln /data /taken
run --rm --entrypoint id app:1
run --rm --entrypoint env app:first
rmi app:2
image prune --force --filter label=more=2
"""

_CONTAINERS: Final = """
run --rm base:1 echo out
run --rm base:1 sh -c "echo out; echo err >&2; exit 3"
run --rm base:1 nosuch
run --rm base:1 /etc
run --rm base:1
run --rm --pull never nothing:1 true
run --rm --user learner base:1 id
run --rm --user 1234:5678 base:1 id
run --rm --user nobody-here base:1 id
run --rm --user root:nogroup-here base:1 id
run --rm --env A=1 --env B --env-file {work}/missing base:1 env
run --rm --env A=1 --env PATH=/bin base:1 env
run --rm --workdir /somewhere/new base:1 sh -c "pwd; ls -ld ."
run --rm --workdir relative base:1 pwd
run --rm --hostname named base:1 sh -c "cat /etc/hostname"
run --rm --name wrong/name base:1 true
run --rm --name x base:1 true
run --rm --volume {work}/send:/in:ro base:1 cat /in/one
run --rm --volume named-volume:/v base:1 sh -c "echo kept > /v/f; cat /v/f"
run --rm --volume named-volume:/v base:1 cat /v/f
run --rm --volume bad%name:/v base:1 true
run --rm --volume /a base:1 ls -ld /a
run --rm --mount type=bind,source={work}/missing,target=/in base:1 true
run --rm --tmpfs /t base:1 sh -c "echo 1 > /t/f; cat /t/f"
run --rm --network nowhere base:1 true
run --rm --stop-signal SIGWHAT base:1 true
run --rm --ulimit nofile=64:64 base:1 sh -c "ulimit -n"
run --interactive --rm base:1 cat < hello
create --name made base:1 sh -c "echo first; echo second; exit 5"
create --name made base:1 true
create nothing:1
ps --all --filter name=made --format "{{.Names}} {{.Image}} {{.Status}} {{.Command}}"
start --attach made
start nothing
logs made
logs --tail 1 made
logs nothing
wait made
inspect --format "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Error}}" made
inspect --format "{{.Path}} {{.Args}} {{.Name}} {{.RestartCount}} {{.Platform}}" made
inspect --format "{{json .Config}}" made
inspect --format "{{json .HostConfig}}" made
inspect --format "{{json .Mounts}} {{json .NetworkSettings.Ports}}" made
ps --filter wrong=1
ps --all --filter exited=5 --format "{{.Names}}"
ps --all --filter status=created --quiet
ps --all --filter status=wrong --quiet
ps --all --filter label=none --quiet
kill made
kill --signal WHAT made
stop made
stop nothing
rename made renamed
rename renamed renamed
rename nothing other
rm renamed
rm renamed
run --detach --name live --label l=1 --publish 127.0.0.1::8080 base:1 sh {loop}
ps --filter name=live --format "{{.Names}} {{.State}} {{.Labels}}"
ps --filter label=l=1 --format "{{.Names}}"
exec live echo inside
exec live sh -c "echo out; echo err >&2; exit 9"
exec live nosuch
exec --user learner live id
exec --user nobody-here live id
exec --env A=1 live printenv A
exec --workdir /etc live pwd
exec --workdir /missing live pwd
exec --detach live touch /tmp-file
exec --interactive live cat < hello
exec nothing true
exec live
run --detach --name steady base:1 sleep 1000
top steady -o pid,comm
rm --force steady
top nothing
port live 8080
port live 9090
port nothing
rm live
rmi base:1
attach nothing
cp live:/etc/passwd {work}/{engine}-passwd
cp live:/missing {work}/x
cp {work}/send/one live:/copied
cp {work}/send live:/sent
cp {work}/send/one live:/missing/folder/
cp {work}/missing live:/x
cp nothing:/x {work}/x
exec live cat /copied /sent/one /sent/sub/two
cp live:/sent/. {work}/{engine}-sent
diff nothing
stop live
logs live
logs --since 2100-01-01 live
inspect --format "{{.State.Status}} {{.State.ExitCode}}" live
exec live true
restart --time 0 live
kill live
wait live
export --output {work}/{engine}-export.tar live
commit nothing
rm --force live
rm --force nothing
ps --all --format "{{.Command}} {{.Status}}"
container prune --force
run --detach --name limited --rm base:1 sleep 60
rm --force limited
run --detach --name healthy --health-cmd "test -e /ok" --health-interval 1s base:1 sleep 60
inspect --format "{{.State.Health.Status}}" healthy
inspect --format "{{json .Config.Healthcheck}}" healthy
rm --force healthy
update --memory 64m nothing
pause nothing
unpause nothing
"""

_OTHERS: Final = """
volume ls --filter name=named --format "{{.Name}} {{.Driver}}"
volume create made-volume
volume create bad%name
volume inspect --format "{{.Name}} {{.Driver}} {{.Scope}} {{json .Options}} {{json .Labels}}" made-volume
volume inspect nothing
volume rm made-volume
volume rm nothing
volume rm named-volume
volume create --driver nosuch other
network inspect nothing
network rm nothing
network rm host
network inspect host --format "{{.Name}} {{.Driver}} {{.Scope}}"
network ls --filter name=host --format "{{.Name}} {{.Driver}}"
network create --driver wrong one
swarm leave
node ls
service ls
secret ls
plugin ls
manifest inspect --insecure {registry}/nothing:1
"""

_REGISTRY: Final = """
tag base:1 {registry}/pushed:v1
push {registry}/pushed:v1
login --username oauth2accesstoken --password wrong {host}
login --username oauth2accesstoken --password {token} {host}
push {registry}/pushed:v1
push {registry}/pushed:v1
push {registry}/pushed:v2
push {registry}/never:v1
push {registry}/Bad:v1
tag base:1 {nope}/app:v1
push {nope}/app:v1
tag base:1 {immutable}/app:v1
push {immutable}/app:v1
tag changed:1 {immutable}/app:v1
push {immutable}/app:v1
image inspect --format "{{.RepoDigests}}" base:1
rmi {registry}/pushed:v1
pull {registry}/pushed:v1
pull {registry}/pushed:v1
pull --quiet {registry}/pushed:v1
pull {registry}/pushed:nothing
pull {registry}/nothing:v1
pull {registry}/pushed@sha256:0000000000000000000000000000000000000000000000000000000000000000
pull {registry}/pushed@sha256:1
pull {nope}/app:v1
pull --platform linux/s390x {registry}/pushed:v1
pull {registry}/Bad
pull localhost:1/nothing:1
push --all-tags {registry}/pushed
tag base:1 {registry}/mounted:v1
push {registry}/mounted:v1
run --rm --pull always {registry}/pushed:v1 echo pulled
images --digests --format "{{.Repository}} {{.Tag}} {{.Digest}}" {registry}/pushed
rmi {registry}/pushed:v1
logout {host}
pull {registry}/pushed:v1
"""

Asked = Callable[[docker.DockerClient], Any]

PYTHON: Final[dict[str, Asked]] = {
    "ping": lambda c: c.ping(),
    "images.get": lambda c: c.images.get("base:1").tags,
    "images.get nothing": lambda c: c.images.get("nothing:1"),
    "images.list": lambda c: sorted(tag for one in c.images.list(name="base") for tag in one.tags),
    "images.pull nothing": lambda c: c.images.pull("localhost:1/nothing", tag="1"),
    "images.history": lambda c: [one["CreatedBy"] for one in c.images.get("base:1").history()],
    "images.tag": lambda c: c.images.get("base:1").tag("from-python", "1"),
    "images.save": lambda c: sum(len(block) > 0 for block in c.images.get("from-python:1").save()) > 0,
    "images.remove": lambda c: c.images.remove("from-python:1"),
    "images.remove nothing": lambda c: c.images.remove("from-python:1"),
    "images.load nothing": lambda c: c.images.load(b"no archive"),
    "images.prune": lambda c: c.images.prune()["ImagesDeleted"],
    "images.push": lambda c: list(c.api.push("localhost:1/never", tag="1", stream=True, decode=True)),
    "containers.run": lambda c: c.containers.run("base:1", ["echo", "from python"], remove=True),
    "containers.run fails": lambda c: c.containers.run("base:1", ["sh", "-c", "echo e >&2; exit 4"], remove=True),
    "containers.run nothing": lambda c: c.containers.run("base:1", ["nosuch"], remove=True),
    "containers.get nothing": lambda c: c.containers.get("nothing"),
    "containers.create": lambda c: c.containers.create("base:1", ["sleep", "60"], name="py", labels={"a": "1"}).status,
    "containers.list": lambda c: [(one.status, one.labels) for one in c.containers.list(all=True)],
    "container.start": lambda c: c.containers.get("py").start(),
    "container.exec": lambda c: tuple(c.containers.get("py").exec_run(["sh", "-c", "echo in; exit 2"])),
    "container.exec demux": lambda c: tuple(
        c.containers.get("py").exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    ),
    "container.put": lambda c: c.containers.get("py").put_archive("/nowhere", b""),
    "container.get": lambda c: c.containers.get("py").get_archive("/etc/passwd")[1]["name"],
    "container.get nothing": lambda c: c.containers.get("py").get_archive("/nowhere"),
    "container.stop": lambda c: c.containers.get("py").stop(timeout=0),
    "container.wait": lambda c: c.containers.get("py").wait(),
    "container.logs": lambda c: c.containers.get("py").logs(),
    "container.rename": lambda c: c.containers.get("py").rename("py2"),
    "container.remove": lambda c: c.containers.get("py2").remove(),
    "containers.prune": lambda c: c.containers.prune()["ContainersDeleted"],
    "volumes": lambda c: (c.volumes.create("py-volume").name, c.volumes.get("py-volume").remove()),
    "volumes.get nothing": lambda c: c.volumes.get("nothing"),
    "networks.get nothing": lambda c: c.networks.get("nothing"),
    "login": lambda c: c.login("somebody", "wrong", registry="localhost:1", reauth=True),
    "registry data": lambda c: c.images.get_registry_data("localhost:1/nothing:1"),
}

PARTS: Final = {
    "images": _IMAGES,
    "builds": _BUILDS,
    "containers": _CONTAINERS,
    "others": _OTHERS,
    "registry": _REGISTRY,
}
COMMANDS: Final = tuple((part, line) for part, text in PARTS.items() for line in text.strip().splitlines())
# The parts for `make test`. The others take long and are run by `make soak`.
SHORT: Final = ("images", "registry")
