#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command with the benchmark Meta-World and plugins/smolvla_metaworld importable. Meta-World
# and the MuJoCo that it needs (130 MB) are installed into .venv/metaworld at the first use.
#
#     scripts/with_metaworld.sh python -m smolvla_metaworld.evaluate --help
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ $# -eq 0 ]; then
  sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
  exit 2
fi
# shellcheck source=/dev/null
. "${root}/env.sh"
wanted="${root}/requirements/metaworld.txt"
folder="${root}/.venv/metaworld"
if ! cmp -s "${wanted}" "${folder}/requirements.txt"; then
  echo "installing Meta-World into .venv/metaworld ..." >&2
  rm -rf "${folder}"
  "${root}/.venv/bin/python" -m pip --disable-pip-version-check install -q --no-deps \
    --target "${folder}" -r "${wanted}" -c <(grep -v '^mujoco==' "${root}/constraints.txt")
  cp "${wanted}" "${folder}/requirements.txt"
fi
export PYTHONPATH="${folder}:${root}/plugins/smolvla_metaworld${PYTHONPATH:+:${PYTHONPATH}}"
exec "$@"
