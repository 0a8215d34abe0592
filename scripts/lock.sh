#!/bin/sh
# Writes requirements.lock, requirements-build.lock and requirements-dev.lock: every package that the .txt files
# pin, with the hashes of all of its files, for every CPython from 3.11 on. `[tool.uv]` in pyproject.toml says for
# which systems.
#
#   scripts/lock.sh         after a change of what a .txt file pins
set -eu
cd "$(dirname "$0")/.."

uv=.cache/uv/bin/uv
version=0.13.9

if ! [ "$("$uv" --version 2>/dev/null | cut -d " " -f 2)" = "$version" ]; then
    .venv/bin/python -m venv --clear .cache/uv
    .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$version"
fi
for name in requirements requirements-build requirements-dev; do
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --custom-compile-command "make lock" --output-file "$name.lock" "$name.txt"
done
