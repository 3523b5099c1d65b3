#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs BUILD into a scratch prefix, builds this folder against it and runs what comes out.
#   run.sh BUILD SCRATCH
set -euo pipefail
build="$1" scratch="$2"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

rm -rf "$scratch/prefix"
cmake --install "$build" --prefix "$scratch/prefix" >/dev/null
cmake -S "$here" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$scratch/prefix"
cmake --build "$scratch/build"
"$scratch/build/consumer" | tee /dev/stderr | grep -q '^/dev/so100-no-such-port does not exist'
