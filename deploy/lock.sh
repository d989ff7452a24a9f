#!/usr/bin/env bash
# Writes the versions and hashes that the Containerfile installs: requirements.lock for the image,
# build.lock for what builds the wheel in its first stage. Versions that are there are kept while
# they satisfy pyproject.toml; `deploy/lock.sh --upgrade` takes the newest.
# Needs uv (https://docs.astral.sh/uv/) and a package index.
set -euo pipefail
cd "$(dirname "$0")/.."

options=(
    --quiet "$@"
    --generate-hashes
    --only-binary :all:
    --python-version 3.13
    --python-platform linux
    --custom-compile-command deploy/lock.sh
    --no-emit-index-url
    --no-emit-find-links
    --no-emit-build-options
)

uv pip compile "${options[@]}" --output-file deploy/requirements.lock pyproject.toml \
    --extra anndata --extra dashboard --extra kubernetes --extra object-stores --extra tls

python3 -c 'import tomllib
for line in tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]:
    print(line)' |
    uv pip compile "${options[@]}" --output-file deploy/build.lock -
