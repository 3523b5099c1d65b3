#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds src/so100_hardware plainly with CMake and runs its tests, twice: optimized with -Werror,
# and under AddressSanitizer and UBSan. Where the sourced ROS 2 has ros2_control, the plugin is
# built too and its own tests run through ros2_control. Nothing is rebuilt that did not change.
#
#   scripts/test_cpp.sh             # all
#   scripts/test_cpp.sh release     # one of: release sanitize ros2_control
#   JOBS=8 scripts/test_cpp.sh      # compiler processes at a time; default: the cores, at most 4
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SOURCE="$ROOT/src/so100_hardware"
CORES="$(nproc)"
JOBS="${JOBS:-$((CORES < 4 ? CORES : 4))}"
# ROS 2 from PyPI or a sourced one would make it an ament build; only ros2_control wants one.
SOURCED_ROS="${AMENT_PREFIX_PATH-}"
SOURCED_CMAKE="${CMAKE_PREFIX_PATH-}"
unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH

# step TITLE LOG COMMAND…: one line; the output only if it fails.
step() {
  local title="$1" log="$2" start=$SECONDS
  shift 2
  printf '  %s … ' "$title"
  if "$@" >"$log" 2>&1; then
    printf '%d s\n' $((SECONDS - start))
  else
    printf 'failed\n\n'
    cat "$log" >&2
    return 1
  fi
}

# "CASES passed, FAILED failed" from the result files of GoogleTest and the list of ctest.
summary() {
  local build="$1"
  awk '
    /<testsuites / {
      match($0, / tests="[0-9]+"/);    tests += substr($0, RSTART + 8, RLENGTH - 9)
      match($0, / failures="[0-9]+"/); bad += substr($0, RSTART + 11, RLENGTH - 12)
    }
    END { print tests + 0, bad + 0 }' "$build"/test_results/*.xml 2>/dev/null || echo 0 0
}

# configure NAME OPTION…
configure() {
  local name="$1" build="$ROOT/build/cpp/$1"
  shift
  mkdir -p "$build"
  step "$name: configure" "$build/configure.log" \
    cmake -S "$SOURCE" -B "$build" -DBUILD_TESTING=ON -DSO100_WERROR=ON "$@"
}

did_not_build() {
  printf '%s: 0 passed, 1 failed (it did not build)\n' "$1"
  return 1
}

# build_and_test NAME [LABEL]: what is built, and which tests run; without LABEL: all.
build_and_test() {
  local name="$1" label="${2-}" status=0 build="$ROOT/build/cpp/$1" programs failed cases bad
  step "$name: build" "$build/build.log" \
    cmake --build "$build" -j "$JOBS" ${label:+--target "${label}_tests"} ||
    { did_not_build "$name"; return 1; }
  rm -rf "$build/test_results"
  step "$name: test" "$build/test.log" \
    ctest --test-dir "$build" --output-on-failure ${label:+-L "^$label\$"} || status=1
  programs="$(grep -cE '^ *[0-9]+/[0-9]+ Test' "$build/test.log" || true)"
  failed="$(grep -cE '^ *[0-9]+/[0-9]+ Test.*(\*\*\*)' "$build/test.log" || true)"
  read -r cases bad <<<"$(summary "$build")"
  if [ "$programs" -eq 0 ]; then
    printf '  %s: no test ran\n' "$name" >&2
    return 1
  fi
  printf '%s: %d passed, %d failed (test programs; %d cases, %d of them failed)\n' \
    "$name" $((programs - failed)) "$failed" "$cases" "$bad"
  return $status
}

plain_configuration() {
  local name="$1"
  shift
  configure "$name" -DCMAKE_DISABLE_FIND_PACKAGE_ament_cmake=ON "$@" ||
    { did_not_build "$name"; return 1; }
  build_and_test "$name"
}

# The sourced ROS 2's hardware_interface; nothing where there is none.
hardware_interface() {
  local prefix IFS=:
  for prefix in $SOURCED_ROS; do
    if [ -e "$prefix/share/hardware_interface/package.xml" ]; then
      printf '%s' "$prefix"
      return
    fi
  done
}

# ros2_control_configuration NAME: returns 3 when it has to be left out.
ros2_control_configuration() {
  local name="$1" build="$ROOT/build/cpp/$1" left_out
  if [ -z "$(hardware_interface)" ]; then
    echo "$name: left out, no ROS 2 with ros2_control is sourced (apt-get install ros-${ROS_DISTRO:-kilted}-ros2-control, then source it)"
    return 3
  fi
  export AMENT_PREFIX_PATH="$SOURCED_ROS"
  export CMAKE_PREFIX_PATH="${SOURCED_CMAKE:+$SOURCED_CMAKE:}$SOURCED_ROS"
  # CMake remembers where it found a package, also after another ROS was sourced.
  if [ "$(cat "$build/.prefixes" 2>/dev/null)" != "$CMAKE_PREFIX_PATH" ]; then rm -rf "$build"; fi
  configure "$name" -DCMAKE_BUILD_TYPE=Release || { did_not_build "$name"; return 1; }
  printf '%s' "$CMAKE_PREFIX_PATH" >"$build/.prefixes"
  left_out="$(sed -n 's/.*the ros2_control plugin is left out, *//p' "$build/configure.log")"
  if [ -n "$left_out" ]; then
    echo "$name: left out, ${left_out}"
    return 3
  fi
  build_and_test "$name" ros2_control
}

command -v cmake >/dev/null && command -v c++ >/dev/null || {
  echo "test_cpp: needs cmake and g++; install them (apt-get install cmake g++) or run make setup" >&2
  exit 1
}

# run_configuration NAME
run_configuration() {
  case "$1" in
    release)
      plain_configuration release -DCMAKE_BUILD_TYPE=Release
      ;;
    sanitize)
      # Not optimized, with line numbers alone: compiled in less than half the time.
      plain_configuration sanitize -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O0 -g1" \
        -DSO100_SANITIZE=ON
      ;;
    ros2_control)
      (ros2_control_configuration ros2_control)
      ;;
    *)
      echo "test_cpp: unknown configuration '$1'; use release, sanitize or ros2_control" >&2
      exit 2
      ;;
  esac
}

main() {
  local name status named=$# result=0
  [ $# -gt 0 ] || set -- release sanitize ros2_control
  for name in "$@"; do
    status=0
    run_configuration "$name" || status=$?
    # Left out is no failure, unless somebody asked for just that one.
    if [ $status -ne 0 ] && { [ $status -ne 3 ] || [ "$named" -gt 0 ]; }; then result=1; fi
  done
  exit $result
}

main "$@"
