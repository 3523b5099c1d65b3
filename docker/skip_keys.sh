#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the rosdep keys that the image's virtual environment has, or that come by choice:
# skip_keys.sh FOLDER-WITH-PACKAGES
set -euo pipefail

# requirements/run.txt has these, newer than the distribution.
keys=(python3-argcomplete python3-matplotlib python3-opencv python3-scipy python3-tqdm)
# RViz is an argument of the image.
keys+=(rviz2 rviz_common rviz_default_plugins)
# What rosdep would install with pip, outside of the virtual environment.
mapfile -t pip < <(find "$1" -name package.xml -exec sed -n 's|.*>\([^<]*-pip\)<.*|\1|p' {} + | sort -u)
echo "${keys[@]}" "${pip[@]}"
