#!/bin/sh
# Makes the virtual environment that everything else needs: .venv, with exactly what requirements.txt locks.
# It uses what POSIX gives: macOS and Alpine have other tools than Debian under the same names.
#
# Run it as often as you like: when nothing has changed it ends at once and says nothing.
#   WORKBOOK_PYTHON   the Python to use (3.11, 3.12 or 3.13) instead of the newest one found
#   WORKBOOK_VENV     where to make the environment instead of .venv
#   WORKBOOK_LOCK     what to install instead of requirements.txt
# PIP_*, UV_* and the usual variables for proxies and CA certificates keep their meaning.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=${WORKBOOK_VENV:-$root/.venv}
before=$venv.before
stamp=$venv/workbook-stamp
log=$venv/install.log
lock=${WORKBOOK_LOCK:-$root/requirements.txt}

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# What the environment was made from: a change in any of these makes it stale. pyproject.toml isn't among them, because
# the lock alone decides what is installed. The interpreter is followed to its real place, because an upgrade of the
# system may put another version behind the same name.
fingerprint() {
    cat "$lock" "$root/machine/install.sh" | cksum
    printf '%s\n%s\n' "$root" "$(real_place "$venv/bin/python")"
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

is_current() {
    [ -x "$venv/bin/python" ] && [ -f "$stamp" ] || return 1
    [ "$(cat "$stamp")" = "$(fingerprint)" ] || return 1
    [ -z "${WORKBOOK_PYTHON:-}" ] ||
        [ "$(real_place "$WORKBOOK_PYTHON")" = "$(real_place "$venv/bin/python")" ]
}

real_place() { "$1" -I -S -c 'import os, sys; print(os.path.realpath(sys._base_executable))' 2>/dev/null; }

# Prints the Python to use, nothing if there is none. A name on the PATH proves nothing (a version manager's shim may
# stand for a version that isn't chosen): each is run, in every folder of the PATH. One that can make environments by
# itself goes first.
choose_python() {
    if [ -n "${WORKBOOK_PYTHON:-}" ]; then
        if fits "$WORKBOOK_PYTHON"; then say "$WORKBOOK_PYTHON"; fi
        return
    fi
    second=
    for name in python3.13 python3.12 python3.11 python3 python; do
        old_ifs=$IFS
        IFS=:
        for folder in $PATH; do
            IFS=$old_ifs
            candidate=${folder:-.}/$name
            [ -x "$candidate" ] && fits "$candidate" || continue
            if has_venv "$candidate"; then
                say "$candidate"
                return
            fi
            second=${second:-$candidate}
        done
        IFS=$old_ifs
    done
    if [ -n "$second" ]; then say "$second"; fi
}

debian_root() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && grep -Eqs '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release
}

apt_install() {
    say "Installing $* from the distribution's packages (up to 30 MB, about 15 s)."
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -y -o DPkg::Lock::Timeout=60 install --no-install-recommends "$@" >/dev/null 2>&1 && return
    # the lists are missing or old
    apt-get -qq update >/dev/null 2>&1 || true
    apt-get -qq -y -o DPkg::Lock::Timeout=60 install --no-install-recommends "$@" >/dev/null ||
        fail "apt-get can't install $*. Install it by hand, then try again."
}

# uv is a faster way to the same end. It doesn't read pip's variables, so they are handed on.
by_uv() {
    command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1 || return 1
    say "Making $venv with uv: up to 200 MB to download if nothing is cached, 5 to 30 s."
    UV_NATIVE_TLS=${UV_NATIVE_TLS:-true}
    UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
    export UV_NATIVE_TLS UV_SYSTEM_CERTS
    if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"; fi
    if [ -n "${PIP_EXTRA_INDEX_URL:-}" ]; then export UV_INDEX="${UV_INDEX:-$PIP_EXTRA_INDEX_URL}"; fi
    if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
    clear_venv
    uv --quiet venv --no-project --python "$python" "$venv" >/dev/null 2>&1 &&
        uv --quiet pip install --python "$venv/bin/python" --require-hashes -r "$lock" \
            >"$log" 2>&1 && return
    say "uv didn't manage; pip does it instead."
    return 1
}

by_pip() {
    say "Making $venv with pip: up to 200 MB to download if nothing is cached, 30 to 90 s."
    clear_venv
    "$python" -m venv "$venv" >/dev/null || fail "$python can't make a virtual environment in $venv."
    if ! "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-compile \
        --require-hashes -r "$lock" >"$log" 2>&1; then
        grep -v '^WARNING' "$log" | tail -n 15 >&2
        put_back
        fail "pip could not install ${lock##*/}. All it said is in $log. Is the package index reachable?"
    fi
}

# Makes room for a new environment. One that is complete is kept until the new one is: without a network there would be
# none. Only ever touches an environment: WORKBOOK_VENV might name somebody's folder by mistake.
clear_venv() {
    if [ -d "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ] && [ "$venv" != "$root/.venv" ]; then
        fail "$venv exists and is no virtual environment. Remove it, or choose another WORKBOOK_VENV."
    fi
    if [ -f "$stamp" ]; then
        rm -rf "$before"
        mv "$venv" "$before"
    fi
    rm -rf "$venv"
}

put_back() {
    [ -d "$before" ] || return 0
    mv "$log" "$before/install.log"
    rm -rf "$venv"
    mv "$before" "$venv"
    say "The environment from before is still there." >&2
}

# The project itself is a path in site-packages, so an edit counts at once, and one command.
add_project() {
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    say "$root" >"$site/artifact-registry-workbook.pth"
    # The interpreter's path may be too long for a first line, or hold a space: the shell starts it. To Python the
    # second and third line are a string.
    cat >"$venv/bin/workbook" <<SCRIPT
#!/bin/sh
'''exec' "$venv/bin/python" "\$0" "\$@"
' '''
import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
SCRIPT
    chmod 755 "$venv/bin/workbook"
}

main() {
    case ${1:-} in
    --choose-python) choose_python; return ;;
    --is-current) is_current; return ;;
    esac
    case $(uname -s) in
    MINGW* | MSYS* | CYGWIN*) fail "On Windows the workbook runs in WSL 2: https://learn.microsoft.com/windows/wsl/install" ;;
    esac
    if is_current; then return; fi
    python=$(choose_python)
    if [ -z "$python" ]; then
        if [ -n "${WORKBOOK_PYTHON:-}" ]; then
            fail "WORKBOOK_PYTHON is $WORKBOOK_PYTHON, which isn't a Python 3.11, 3.12 or 3.13 that runs."
        fi
        if debian_root; then
            apt_install python3 python3-venv
            python=$(choose_python)
        fi
        [ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed and none was found. Install one, or set WORKBOOK_PYTHON."
    fi
    if ! by_uv; then
        if ! has_venv "$python"; then
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            if debian_root; then
                apt_install "python$version-venv"
            else
                fail "$python can't make virtual environments. Install its venv module (Debian, Ubuntu: sudo apt-get install python$version-venv)."
            fi
        fi
        by_pip
    fi
    # Notebook 6 calls a service with it, and a minimal Debian has none. The set-up goes on without.
    if ! command -v curl >/dev/null 2>&1 && debian_root; then (apt_install curl) || true; fi
    add_project
    fingerprint >"$stamp"
    rm -rf "$before"
    say "$venv is ready: $("$venv/bin/python" --version)."
}

# On one line: a pull while this runs must not have the shell read on in another text.
main "$@"; exit
