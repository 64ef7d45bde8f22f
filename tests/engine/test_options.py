"""Each option of `docker create` and `docker build` is supported, named in a warning, or refused by name."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
import pytest
import requests
from docker.errors import APIError

from engine import fields, jail
from tests.engine import conversations
from tests.engine.conftest import WAY, Running, ours

# Of each option of `docker create` a value, and what comes of it: the field in the refusal, the word of a warning, or
# a template of `docker inspect` and what it then shows.
REFUSED: Final = {
    "--blkio-weight 10": "HostConfig.BlkioWeight",
    "--blkio-weight-device /dev/null:10": "HostConfig.BlkioWeightDevice",
    "--cgroup-parent x": "HostConfig.CgroupParent",
    "--cgroupns private": "HostConfig.CgroupnsMode",
    "--cpu-rt-period 1": "HostConfig.CpuRealtimePeriod",
    "--cpu-rt-runtime 1": "HostConfig.CpuRealtimeRuntime",
    "--device /dev/null": "HostConfig.Devices",
    "--device-cgroup-rule 'c 1:3 r'": "HostConfig.DeviceCgroupRules",
    "--device-read-bps /dev/null:1": "HostConfig.BlkioDeviceReadBps",
    "--device-read-iops /dev/null:1": "HostConfig.BlkioDeviceReadIOps",
    "--device-write-bps /dev/null:1": "HostConfig.BlkioDeviceWriteBps",
    "--device-write-iops /dev/null:1": "HostConfig.BlkioDeviceWriteIOps",
    "--domainname x": "Config.Domainname",
    "--gpus all": "HostConfig.DeviceRequests",
    "--health-start-interval 1s --health-cmd true": "Config.Healthcheck.StartInterval",
    "--ip 10.0.0.2": "NetworkingConfig.EndpointsConfig.IPAMConfig",
    "--ip6 fd00::2": "NetworkingConfig.EndpointsConfig.IPAMConfig",
    "--ipc private": "HostConfig.IpcMode",
    "--isolation hyperv": "HostConfig.Isolation",
    "--link other": "HostConfig.Links",
    "--link-local-ip 169.254.1.1": "NetworkingConfig.EndpointsConfig.IPAMConfig",
    "--log-driver none": "HostConfig.LogConfig",
    "--log-opt max-size=1m": "HostConfig.LogConfig",
    "--mac-address 02:00:00:00:00:01": "NetworkingConfig.EndpointsConfig.MacAddress",
    "--mount type=tmpfs,target=/t,tmpfs-size=1m": "HostConfig.Mounts.TmpfsOptions",
    "--mount type=volume,target=/t,volume-nocopy": "HostConfig.Mounts.VolumeOptions",
    "--network none": "HostConfig.NetworkMode",
    "--oom-kill-disable": "HostConfig.OomKillDisable",
    "--oom-score-adj 1": "HostConfig.OomScoreAdj",
    "--pid container:x": "HostConfig.PidMode",
    "--privileged": "HostConfig.Privileged",
    "--publish 53:53/udp": "HostConfig.PortBindings",
    "--publish 127.0.0.1::80 --publish 127.0.0.1::80": "HostConfig.PortBindings",
    "--restart always": "HostConfig.RestartPolicy",
    "--runtime other": "HostConfig.Runtime",
    "--shm-size 1m": "HostConfig.ShmSize",
    "--storage-opt size=1m": "HostConfig.StorageOpt",
    "--sysctl net.ipv4.ip_forward=1": "HostConfig.Sysctls",
    "--tmpfs /t:size=1m": "HostConfig.Tmpfs",
    "--ulimit sigpending=1": "HostConfig.Ulimits",
    "--volume /t:/t:shared": "HostConfig.Binds",
    "--volume-driver other": "HostConfig.VolumeDriver",
    "--volumes-from other": "HostConfig.VolumesFrom",
}
WARNED: Final = {
    "--cap-add sys_admin": "capabilities",
    "--cap-drop all": "capabilities",
    "--security-opt no-new-privileges": "capabilities",
    "--cpu-period 1000": "CPU",
    "--cpu-quota 1000": "CPU",
    "--cpu-shares 10": "CPU",
    "--cpus 1": "CPU",
    "--cpuset-cpus 0": "CPU",
    "--cpuset-mems 0": "CPU",
    "--memory 64m": "memory",
    "--memory-reservation 64m": "memory",
    "--memory-swap 64m": "memory",
    "--pids-limit 10": "PIDs",
}
SHOWN: Final = {
    "--annotation a=1": ("{{.HostConfig.Annotations}}", "map[a:1]"),
    "--attach stdout": ("{{.Config.AttachStdout}}", "true"),
    "--entrypoint ls": ("{{.Path}}", "ls"),
    "--env A=1": ("{{.Config.Env}}", "[A=1]"),
    "--env-file {work}/environment": ("{{.Config.Env}}", "[A=1]"),
    "--expose 80": ("{{.Config.ExposedPorts}}", "map[80/tcp:{}]"),
    "--health-cmd true --health-interval 1s --health-timeout 1s --health-retries 2 --health-start-period 1s": (
        "{{.Config.Healthcheck}}",
        "{[CMD-SHELL true] 1s 1s 1s 0s 2}",
    ),
    "--hostname h": ("{{.Config.Hostname}}", "h"),
    "--init": ("{{.HostConfig.Init}}", "true"),
    "--interactive": ("{{.Config.OpenStdin}}", "true"),
    "--label a=1": ("{{.Config.Labels}}", "map[a:1]"),
    "--label-file {work}/environment": ("{{.Config.Labels}}", "map[A:1]"),
    "--mount type=volume,source=a,target=/t,readonly": ("{{(index .Mounts 0).RW}}", "false"),
    "--name called": ("{{.Name}}", "/called"),
    "--network host": ("{{.HostConfig.NetworkMode}}", "host"),
    "--no-healthcheck": ("{{.Config.Healthcheck.Test}}", "[NONE]"),
    "--memory-swappiness -1": ("{{.HostConfig.MemorySwappiness}}", "<nil>"),
    "--userns host": ("{{.HostConfig.UsernsMode}}", "host"),
    "--uts host": ("{{.HostConfig.UTSMode}}", "host"),
    "--pid host": ("{{.HostConfig.PidMode}}", "host"),
    "--platform {platform}": ("{{.Platform}}", "linux"),
    "--publish 127.0.0.1:8123:80": ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{127.0.0.1 8123}]]"),
    "--publish-all": ("{{.HostConfig.PublishAllPorts}}", "true"),
    "--pull never": ("{{.State.Status}}", "created"),
    "--quiet": ("{{.State.Status}}", "created"),
    "--rm": ("{{.HostConfig.AutoRemove}}", "true"),
    "--stop-signal SIGINT": ("{{.Config.StopSignal}}", "SIGINT"),
    "--stop-timeout 3": ("{{.Config.StopTimeout}}", "3"),
    "--tty": ("{{.Config.Tty}}", "true"),
    "--user 5:6": ("{{.Config.User}}", "5:6"),
    "--volume named:/t": ("{{(index .Mounts 0).Name}}", "named"),
    "--workdir /w": ("{{.Config.WorkingDir}}", "/w"),
}
# Options that show inside the container.
INSIDE: Final = {
    "--add-host one:10.1.2.3": ("cat /etc/hosts", "10.1.2.3\tone"),
    "--add-host one:host-gateway": ("cat /etc/hosts", "127.0.0.1\tone"),
    "--dns 10.1.2.3": ("cat /etc/resolv.conf", "nameserver 10.1.2.3"),
    "--dns-search example.test": ("cat /etc/resolv.conf", "search example.test"),
    "--dns-option ndots:3": ("cat /etc/resolv.conf", "options ndots:3"),
    "--group-add 4321": ("id -G", "4321"),
    "--group-add more": ("id -G", "1001"),
    "--tmpfs /t": ("echo 1 > /t/f && cat /t/f", "1"),
    "--ulimit nofile=99:99": ("ulimit -n", "99"),
    "--cidfile {folder}/cid": ("echo ran", "ran"),
    "--read-only": ("touch /f || echo refused", "refused"),
}
# Options of the client alone, refused by it with this engine's networks, or for Windows. Their fields: see `FIELDS`.
CLIENT: Final = {
    *("--disable-content-trust", "--help", "--kernel-memory", "--use-api-socket", "--network-alias"),
    *("--cpu-count", "--cpu-percent", "--io-maxbandwidth", "--io-maxiops"),
}

# What `docker inspect` shows of a HostConfig on Docker Engine 20.10.
OF_DOCKERD: Final = """
Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom ConsoleSize
CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode
Privileged PublishAllPorts ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize Runtime Isolation CpuShares Memory
NanoCpus CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps
BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices
DeviceCgroupRules DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount
CpuPercent IOMaximumIOps IOMaximumBandwidth MaskedPaths ReadonlyPaths
"""

BUILD_REFUSED: Final = {
    "--cache-from a": "cachefrom",
    "--cgroup-parent a": "cgroupparent",
    "--cpu-period 1": "cpuperiod",
    "--cpu-quota 1": "cpuquota",
    "--cpu-shares 1": "cpushares",
    "--cpuset-cpus 0": "cpusetcpus",
    "--cpuset-mems 0": "cpusetmems",
    "--isolation hyperv": "isolation",
    "--memory 64m": "memory",
    "--memory-swap 64m": "memswap",
    "--network none": "networkmode",
    "--security-opt a": "securityopt",
    "--shm-size 1m": "shmsize",
    "--ulimit nofile=1": "ulimits",
}
BUILD_DONE: Final = {
    "--add-host one:10.1.2.3": "10.1.2.3",
    "--build-arg A=given": "given",
    "--compress": "step",
    "--file {work}/other": "other",
    "--force-rm": "step",
    "--iidfile {folder}/iid": "step",
    "--label a=1": "step",
    "--no-cache": "step",
    "--platform {platform}": "step",
    "--network host": "step",
    "--pull=false": "step",
    "--rm": "step",
    "--tag other:1": "step",
    "--target last": "step",
}
BUILD_CLIENT: Final = {"--disable-content-trust", "--quiet", "--squash"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("options")
    with ours(folder / "engine") as one:
        made = one.docker("import", str(conversations.base(folder)), "base:1")
        assert made.returncode == 0, made.stderr
        (folder / "engine/environment").write_text("A=1\n")
        (folder / "engine/Dockerfile").write_text("FROM base:1 AS last\nARG A=step\nRUN echo seen $A; cat /etc/hosts\n")
        (folder / "engine/other").write_text("FROM base:1\nRUN echo other\n")
        (folder / "engine/.dockerignore").write_text("*\n!other\n!Dockerfile\n")
        yield one


def words(running: Running, option: str, folder: Path) -> list[str]:
    platform = running.docker("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", "base:1").stdout.strip()
    filled = option.replace("{work}", str(running.folder)).replace("{folder}", str(folder))
    return [one.strip("'") for one in re.findall(r"'[^']*'|\S+", filled.replace("{platform}", platform))]


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_is_not_done_is_refused_by_its_field(running: Running, option: str, tmp_path: Path) -> None:
    made = running.docker("create", *words(running, option, tmp_path), "base:1", "true")
    if option.startswith("--device-") and made.returncode == 0:
        told = running.docker("inspect", "--format", f"{{{{.{REFUSED[option]}}}}}", made.stdout.strip())
        if told.stdout == "[]\n":
            pytest.skip("this docker command has the option and sends nothing of it, as 26.1 does")
    assert made.returncode != 0, made.stdout
    assert f"the workbook's engine does not do this: {REFUSED[option]}" in made.stderr


@pytest.mark.parametrize("option", WARNED)
def test_a_limit_that_is_not_held_is_said(running: Running, option: str, tmp_path: Path) -> None:
    made = running.docker("create", *words(running, option, tmp_path), "base:1", "true")
    assert made.returncode == 0, made.stderr
    assert WARNED[option] in made.stderr
    assert "iscarded" in made.stderr


@pytest.mark.parametrize("option", SHOWN)
def test_an_option_that_is_kept_is_shown(running: Running, option: str, tmp_path: Path) -> None:
    made = running.docker("create", *words(running, option, tmp_path), "base:1", "true")
    assert made.returncode == 0, made.stderr
    template, shown = SHOWN[option]
    told = running.docker("inspect", "--format", template, made.stdout.strip())
    assert told.stdout.strip() == shown, told.stderr
    assert running.docker("rm", made.stdout.strip()).returncode == 0


@pytest.mark.parametrize("option", INSIDE)
def test_an_option_that_is_done_is_seen_inside(running: Running, option: str, tmp_path: Path) -> None:
    command, seen = INSIDE[option]
    ran = running.docker("run", "--rm", *words(running, option, tmp_path), "base:1", "sh", "-c", command)
    if "The option is discarded" in ran.stderr:
        assert jail.means(WAY).way(jail.Process(Path("/"), [], {}, binds=[jail.Bind("/", "/")])) != "chroot"
        pytest.skip(f"not here, which is said: {ran.stderr}")
    assert ran.returncode == 0, ran.stderr
    assert seen in re.split(r"[\n ]", ran.stdout) or seen in ran.stdout.splitlines()


@pytest.mark.parametrize("option", BUILD_REFUSED)
def test_a_parameter_of_a_build_that_is_not_done_is_refused(running: Running, option: str, tmp_path: Path) -> None:
    built = running.docker("build", *words(running, option, tmp_path), str(running.folder))
    assert built.returncode != 0
    assert f"the workbook's engine does not do this: the build's parameter {BUILD_REFUSED[option]}" in built.stderr


@pytest.mark.parametrize("option", BUILD_DONE)
def test_a_parameter_of_a_build_is_done(running: Running, option: str, tmp_path: Path) -> None:
    built = running.docker("build", "--no-cache", *words(running, option, tmp_path), str(running.folder))
    assert built.returncode == 0, built.stderr
    assert BUILD_DONE[option] in built.stdout


def _options(text: str) -> set[str]:
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", text, re.MULTILINE))


def test_no_option_of_create_is_left_out(running: Running) -> None:
    tried = {word for table in (REFUSED, WARNED, SHOWN, INSIDE) for one in table for word in one.split()}
    assert _options(running.docker("create", "--help").stdout) - tried - CLIENT == set()


def test_no_field_of_theirs_is_left_out(running: Running) -> None:
    made = running.docker("create", "base:1", "true").stdout.strip()
    ours = json.loads(running.docker("inspect", "--format", "{{json .HostConfig}}", made).stdout)
    named = {one.removeprefix("HostConfig.") for one in (*REFUSED.values(), *(field for field, _ in FIELDS))}
    assert set(OF_DOCKERD.split()) - set(ours) == set()
    assert set(OF_DOCKERD.split()) - named - fields.TAKEN == set()


def test_no_option_of_build_is_left_out(running: Running) -> None:
    tried = {word.partition("=")[0] for table in (BUILD_REFUSED, BUILD_DONE) for one in table for word in one.split()}
    assert _options(running.docker("build", "--help").stdout) - tried - BUILD_CLIENT == set()


def raw(running: Running, body: dict[str, Any]) -> requests.Response:
    with docker.APIClient(base_url=running.host, version="1.44") as client:
        return client._post_json(client._url("/containers/create"), data=body)


# Fields that programs send, and the command has no option for or doesn't always send: https://docs.docker.com/reference/api/engine/version/v1.44/
FIELDS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("Config.NetworkDisabled", {"NetworkDisabled": True}),
    ("Config.MacAddress", {"MacAddress": "02:00:00:00:00:01"}),
    ("Config.OnBuild", {"OnBuild": ["RUN true"]}),
    ("Config.ArgsEscaped", {"ArgsEscaped": True}),
    ("Config.Unheard", {"Unheard": 1}),
    ("HostConfig.Unheard", {"HostConfig": {"Unheard": 1}}),
    ("HostConfig.MaskedPaths", {"HostConfig": {"MaskedPaths": ["/proc/kcore"]}}),
    ("HostConfig.ReadonlyPaths", {"HostConfig": {"ReadonlyPaths": ["/proc/sys"]}}),
    ("HostConfig.Cgroup", {"HostConfig": {"Cgroup": "x"}}),
    ("HostConfig.KernelMemoryTCP", {"HostConfig": {"KernelMemoryTCP": 1}}),
    ("HostConfig.InitPath", {"HostConfig": {"InitPath": "/init"}}),
    ("HostConfig.CpuCount", {"HostConfig": {"CpuCount": 1}}),
    ("HostConfig.CpuPercent", {"HostConfig": {"CpuPercent": 1}}),
    ("HostConfig.IOMaximumBandwidth", {"HostConfig": {"IOMaximumBandwidth": 1}}),
    ("HostConfig.IOMaximumIOps", {"HostConfig": {"IOMaximumIOps": 1}}),
    *(
        (f"HostConfig.{field}", {"HostConfig": {field: [{"Path": "/dev/null", "Rate": 1}]}})
        for field in ("BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps")
    ),
    ("HostConfig.UsernsMode", {"HostConfig": {"UsernsMode": "keep"}}),
    ("HostConfig.UTSMode", {"HostConfig": {"UTSMode": "other"}}),
    ("HostConfig.MemorySwappiness", {"HostConfig": {"MemorySwappiness": 50}}),
    *(
        (f"NetworkingConfig.EndpointsConfig.{name}", {"NetworkingConfig": {"EndpointsConfig": {"host": {name: value}}}})
        for name, value in (
            ("Aliases", ["a"]),
            ("Links", ["a"]),
            ("DriverOpts", {"a": "1"}),
            ("GwPriority", 1),
        )
    ),
]


@pytest.mark.parametrize(("field", "body"), FIELDS, ids=[field for field, _ in FIELDS])
def test_a_field_that_is_not_done_is_refused(running: Running, field: str, body: dict[str, Any]) -> None:
    answer = raw(running, {"Image": "base:1", "Cmd": ["true"], **body})
    assert answer.status_code == 501
    assert field in answer.json()["message"]


def test_a_field_of_a_further_process_is_refused(running: Running) -> None:
    with contextlib.closing(docker.DockerClient(base_url=running.host, version="1.44")) as client:
        one = client.containers.run("base:1", ["sleep", "60"], detach=True)
        try:
            with pytest.raises(APIError, match="does not do this: Privileged"):
                one.exec_run(["true"], privileged=True)
        finally:
            one.remove(force=True)
