#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds src/so100_hardware plainly with CMake and runs its tests, twice: optimised with -Werror,
# and under AddressSanitizer and UBSan. Nothing is rebuilt that did not change.
#
#   scripts/test_cpp.sh             # both
#   scripts/test_cpp.sh release     # one of: release sanitize
#   JOBS=8 scripts/test_cpp.sh      # compiler processes at a time; default: the cores, at most 4
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SOURCE="$ROOT/src/so100_hardware"
CORES="$(nproc)"
JOBS="${JOBS:-$((CORES < 4 ? CORES : 4))}"
# ROS 2 from PyPI or a sourced one would make it an ament build; that is colcon's.
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

run_configuration() {
  local name="$1" status=0 build="$ROOT/build/cpp/$1" programs failed cases bad
  shift
  mkdir -p "$build"
  step "$name: configure" "$build/configure.log" \
    cmake -S "$SOURCE" -B "$build" -DCMAKE_DISABLE_FIND_PACKAGE_ament_cmake=ON -DBUILD_TESTING=ON \
    "$@" &&
    step "$name: build" "$build/build.log" cmake --build "$build" -j "$JOBS" || {
    printf '%s: 0 passed, 1 failed (it did not build)\n' "$name"
    return 1
  }
  rm -rf "$build/test_results"
  step "$name: test" "$build/test.log" ctest --test-dir "$build" --output-on-failure || status=1
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

command -v cmake >/dev/null && command -v c++ >/dev/null || {
  echo "test_cpp: needs cmake and g++; install them (apt-get install cmake g++) or run make setup" >&2
  exit 1
}

main() {
  local name result=0
  for name in "$@"; do
    case "$name" in
      release)
        run_configuration release -DCMAKE_BUILD_TYPE=Release -DSO100_WERROR=ON || result=1
        ;;
      sanitize)
        run_configuration sanitize -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1 -g" \
          -DSO100_SANITIZE=ON -DSO100_WERROR=ON || result=1
        ;;
      *)
        echo "test_cpp: unknown configuration '$name'; use release or sanitize" >&2
        exit 2
        ;;
    esac
  done
  exit $result
}

[ $# -gt 0 ] || set -- release sanitize
main "$@"
