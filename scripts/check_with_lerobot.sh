#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lets LeRobot of today judge this suite: checkpoints, datasets, the arm, its evaluator on the
# simulation and on Meta-World, and dataset graders.
#
#     scripts/check_with_lerobot.sh                      all parts
#     scripts/check_with_lerobot.sh checkpoints arm      some of: checkpoints datasets arm simulation
#                                                        metaworld graders
#
# Prints a row per step and returns 1 if one failed. Everything it makes goes into WORK. The
# environments are made there if none are named (8 GB, downloads from PyPI):
#
#     WORK                  folder, default bench_out/with_lerobot of this workspace
#     LEROBOT_PYTHON        Python with LeRobot 0.6.1, its extra metaworld, feetech-servo-sdk and pyzmq
#     LEROBOT_OLD_PYTHON    Python with LeRobot 0.4.4; without it nothing is compared with that
#     GRADERS               bin folder with lerobot-doctor, deepen and kalanos
#     PYTHON312             Python 3.12 for new environments, default python3.12
#     EPISODES              that LeRobot's evaluator plays of each task, default 20
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
case "${1-}" in
  -h | --help)
    sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
work="${WORK:-${root}/bench_out/with_lerobot}"
mkdir -p "${work}"
work="$(cd "${work}" && pwd)"
python312="${PYTHON312:-python3.12}"

venv() { # FOLDER PACKAGE...: an environment with the packages, made once
  local folder="$1"
  shift
  if [ ! -e "${folder}/.complete" ]; then
    if ! "${python312}" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 12))' 2>/dev/null; then
      echo "check_with_lerobot.sh: ${python312} is no Python 3.12 or newer, which LeRobot needs;" \
        "name one with PYTHON312=, or a Python with LeRobot with LEROBOT_PYTHON=" >&2
      exit 2
    fi
    echo "installing $* into ${folder} ..." >&2
    "${python312}" -m venv "${folder}"
    "${folder}/bin/pip" install -q "$@"
    touch "${folder}/.complete"
  fi
}

needs() { # PART: whether it is to be run
  [ "${#parts[@]}" -eq 0 ] || [[ " ${parts[*]} " == *" $1 "* ]]
}

parts=("$@")
lerobot="${LEROBOT_PYTHON-}"
if [ -z "${lerobot}" ]; then
  lerobot="${work}/lerobot/bin/python"
  if needs checkpoints || needs datasets || needs arm || needs simulation ||
    needs metaworld; then
    venv "${work}/lerobot" \
      "lerobot[smolvla,dataset,feetech,training,hardware,viz,metaworld]==0.6.1" pyzmq "mujoco<4"
  fi
fi
graders="${GRADERS-}"
if [ -z "${graders}" ]; then
  graders="${work}/graders/bin"
  if needs graders || needs metaworld; then
    venv "${work}/graders" \
      "lerobot-doctor==0.2.0" "deepen-grade[lerobot]==0.4.1" "kalanos[video]==0.8.2"
  fi
fi
cd "${root}"
. ./env.sh
if [ ! -e install/local_setup.sh ]; then
  echo "check_with_lerobot.sh: the workspace is not built; run 'make build' first" >&2
  exit 2
fi
exec python -m scripts.with_lerobot --work "${work}" --lerobot "${lerobot}" \
  --graders "${graders}" ${LEROBOT_OLD_PYTHON:+--old-lerobot "${LEROBOT_OLD_PYTHON}"} "$@"
