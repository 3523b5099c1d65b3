# SPDX-License-Identifier: Apache-2.0
# Puts a bash or zsh into the built workspace:  . ./env.sh
#
# With a ROS 2 sourced, that one is the base; without, the ROS 2 in .venv (from PyPI) is.
# After it, `ros2` (where installed), `python` and all nodes of this workspace are found.

if [ -n "${BASH_SOURCE-}" ]; then
  _smolvla_root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
elif [ -n "${ZSH_VERSION-}" ]; then
  _smolvla_root="$(cd "$(dirname "${(%):-%x}")" && pwd)"
else
  echo "env.sh: needs bash or zsh; in another shell start one of them first" >&2
  return 1
fi

_smolvla_prepend() { # NAME VALUE: put VALUE first in the path list NAME, once
  eval "_smolvla_old=\${$1-}"
  case ":${_smolvla_old}:" in
    *":$2:"*) ;;
    *) export "$1=$2${_smolvla_old:+:${_smolvla_old}}" ;;
  esac
}

# In a colcon workspace with other packages it was built from the folder above src.
_smolvla_install="${_smolvla_root}/install"
for _smolvla_dir in "${_smolvla_root}/.." "${_smolvla_root}/../.."; do
  if [ ! -e "${_smolvla_install}/local_setup.sh" ] &&
    { [ -e "${_smolvla_dir}/install/smolvla_bringup" ] ||
      [ -e "${_smolvla_dir}/install/share/smolvla_bringup" ]; }; then
    _smolvla_install="$(cd "${_smolvla_dir}/install" && pwd)"
  fi
done

if [ ! -x "${_smolvla_root}/.venv/bin/python" ]; then
  if [ -z "${ROS_DISTRO-}" ] || [ ! -e "${_smolvla_install}/local_setup.sh" ]; then
    echo "env.sh: the workspace is not built yet; run 'make build' in ${_smolvla_root}" >&2
    unset -f _smolvla_prepend
    unset _smolvla_root _smolvla_install _smolvla_dir
    return 1
  fi
else
  export VIRTUAL_ENV="${_smolvla_root}/.venv"
  _smolvla_prepend PATH "${VIRTUAL_ENV}/bin"
  _smolvla_site="$("${VIRTUAL_ENV}/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  if [ -e "${VIRTUAL_ENV}/share/rclpy/package.xml" ]; then
    # ROS 2 from PyPI: the venv is a ROS prefix.
    export ROS_VERSION=2 ROS_PYTHON_VERSION=3
    export ROS_DISTRO="$(cat "${VIRTUAL_ENV}/.ros_distro" 2>/dev/null || echo kilted)"
    export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
    _smolvla_prepend AMENT_PREFIX_PATH "${VIRTUAL_ENV}"
    _smolvla_prepend CMAKE_PREFIX_PATH "${VIRTUAL_ENV}"
    for _smolvla_dir in "${_smolvla_site}"/ros_*.libs "${VIRTUAL_ENV}/lib"; do
      _smolvla_prepend LD_LIBRARY_PATH "${_smolvla_dir}"
    done
  fi
fi

# Raw camera images need more shared memory than Fast DDS takes by itself. A choice of the
# user's stays. The variable was renamed between Fast DDS 2 (Jazzy) and 3 (Kilted).
if [ -z "${FASTDDS_BUILTIN_TRANSPORTS-}${FASTRTPS_DEFAULT_PROFILES_FILE-}${FASTDDS_DEFAULT_PROFILES_FILE-}" ]; then
  if [ "${ROS_DISTRO-}" = jazzy ]; then
    export FASTRTPS_DEFAULT_PROFILES_FILE="${_smolvla_root}/src/smolvla_bringup/config/fastdds.xml"
  else
    export FASTDDS_DEFAULT_PROFILES_FILE="${_smolvla_root}/src/smolvla_bringup/config/fastdds.xml"
  fi
fi

if [ -n "${ZSH_VERSION-}" ]; then _smolvla_ext=zsh; else _smolvla_ext=bash; fi
if [ -e "${_smolvla_install}/local_setup.${_smolvla_ext}" ]; then
  # colcon's file reads variables that may be unset.
  case $- in *u*) _smolvla_nounset=1; set +u ;; *) _smolvla_nounset= ;; esac
  # It runs the Python of the build without quotes; the one behind .venv has no space in its path.
  if [ -z "${COLCON_PYTHON_EXECUTABLE-}" ] && [ -x "${_smolvla_root}/.venv/bin/python" ]; then
    COLCON_PYTHON_EXECUTABLE="$(readlink -f "${_smolvla_root}/.venv/bin/python")"
    . "${_smolvla_install}/local_setup.${_smolvla_ext}"
    unset COLCON_PYTHON_EXECUTABLE
  else
    . "${_smolvla_install}/local_setup.${_smolvla_ext}"
  fi
  if [ -n "${_smolvla_nounset}" ]; then set -u; fi
fi
unset -f _smolvla_prepend
unset _smolvla_root _smolvla_install _smolvla_old _smolvla_site _smolvla_dir _smolvla_ext _smolvla_nounset
