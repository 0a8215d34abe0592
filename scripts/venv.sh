#!/bin/sh
# Makes .venv and installs what a lock names into it, once, and again only when the lock has changed. A file whose
# hash is not in the lock is not installed.
#
#   scripts/venv.sh requirements.lock
#
# PYTHON names the interpreter to use; without it the first of python3, python3.13, python3.12 and python3.11
# that is new enough. On Debian and Ubuntu, as root, a missing venv module is installed through apt.
set -eu
cd "$(dirname "$0")/.."

lock=$1

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$python"; then
            command -v "$python"
            return
        fi
    done
    found=$("${PYTHON:-python3}" --version 2>/dev/null) || found="not installed"
    echo "Switchboard needs Python 3.11 or newer; ${PYTHON:-python3} is ${found#Python }." >&2
    return 1
}

install_venv_module() {
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq </dev/null && apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null && return
    fi
    echo "Python's venv module is missing: install $package (Debian, Ubuntu: apt-get install $package)." >&2
    return 1
}

make_venv() {
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module "$python"
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

up_to_date() {
    for file in requirements.lock "$lock"; do
        cmp -s "$file" ".venv/$file" || return 1
    done
}

.venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || make_venv
if ! up_to_date; then
    echo "Installing $lock"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock" </dev/null
    # requirements-dev.lock names all that requirements.lock does.
    cp requirements.lock .venv/
    cp "$lock" .venv/
fi
