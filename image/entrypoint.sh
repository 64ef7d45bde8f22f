#!/bin/sh
# The container's entrypoint: `lab` (the default) and `run` with their options, or any other command.
set -eu

# $1: the folder of control groups; $2: the file that names this process's group.
#
# In version 2 a control group that contains processes can't enable controllers for its children, so that no inner
# container could have a limit. This moves our processes into a child first. If this process isn't in the root group, the
# groups are the host's and are left alone.
enable_controllers() {
    if ! [ -f "$1/cgroup.controllers" ] || ! [ -w "$1/cgroup.procs" ] || ! grep -qx 0::/ "$2"; then return; fi
    mkdir -p "$1/workbook"
    # One at a time, because a process may end meanwhile.
    while read -r process; do
        echo "$process" >>"$1/workbook/cgroup.procs" || :
    done 2>/dev/null <"$1/cgroup.procs"
    for controller in $(cat "$1/cgroup.controllers"); do
        echo "+$controller" >>"$1/cgroup.subtree_control" || :
    done 2>/dev/null
}

# JupyterLab and the sandbox listen on loopback, but a published port reaches the container's own address. On the host's
# network there is no such address, and nothing to do.
forward_ports() {
    for interface in $(ip -oneline link show type veth | sed 's/^[0-9]*: \([^@:]*\).*/\1/'); do
        for address in $(ip -4 -oneline address show dev "$interface" | sed -n 's/.* inet \([0-9.]*\).*/\1/p'); do
            for port in 8888 5001; do
                socat -t 60 "TCP4-LISTEN:$port,bind=$address,fork,reuseaddr" "TCP4:127.0.0.1:$port" 2>/dev/null &
            done
        done
    done
}

# $1: the file of this container's token, which is made once. An empty token would let everybody in.
token() {
    if [ -z "${JUPYTER_TOKEN:-}" ]; then
        if [ ! -s "$1" ]; then
            mkdir -p "${1%/*}"
            (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(24))' >"$1")
        fi
        JUPYTER_TOKEN=$(cat "$1")
    fi
    export JUPYTER_TOKEN
}

lab() {
    token .sandbox/lab/token
    workbook setup
    echo "When JupyterLab is ready, open http://localhost:8888/lab?token=$JUPYTER_TOKEN"
    echo "If you published port 8888 as another one, that one. Services answer at http://localhost:5001 in your browser too."
    # exec, so that stopping the container stops the lab, which ends the sandbox and the engine.
    exec workbook lab -- --no-browser "$@"
}

main() {
    cd /opt/workbook
    enable_controllers /sys/fs/cgroup /proc/self/cgroup
    # Under JupyterHub the server listens at the container's own address itself, and the sandbox is private.
    [ -n "${JUPYTERHUB_API_TOKEN:-}" ] || forward_ports
    case ${1:-lab} in
    lab)
        [ $# = 0 ] || shift
        lab "$@"
        ;;
    run)
        shift
        workbook setup
        exec workbook run "$@"
        ;;
    *) exec "$@" ;;
    esac
}

main "$@"
