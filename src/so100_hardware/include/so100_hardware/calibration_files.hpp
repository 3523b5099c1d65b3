// SPDX-License-Identifier: Apache-2.0
// Where LeRobot keeps its calibration files, and how one is replaced without ever losing it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "so100_hardware/calibration.hpp"

namespace so100_hardware
{

/// The calibration folders of LeRobot in the order of search: $HF_LEROBOT_CALIBRATION,
/// $HF_LEROBOT_HOME/calibration, $HF_HOME/lerobot/calibration,
/// $XDG_CACHE_HOME/huggingface/lerobot/calibration, ~/.cache/huggingface/lerobot/calibration.
/// A leading ~ is the home folder. Variables that are not set are left out.
std::vector<std::filesystem::path> calibration_roots();

/// The file of an arm with this id, wherever it is.
///
/// In each of calibration_roots() it may lie under robots/so_follower (LeRobot 0.4.4 and later),
/// robots/so101_follower or robots/so100_follower. The first root that has the id decides, as a
/// variable that the user set must win over the default. Are there several in that root, they
/// must say the same: then the newest name is taken, and a note says so; if they differ, the
/// result is a problem that names them.
///
/// @param id_or_path  an id as LeRobot's --robot.id; with a '/' or ending in .json, a path
/// @return the loaded file; not found: a problem that names all places
LoadedCalibration find_calibration(
  const std::string & id_or_path, const std::vector<std::string> & joints = lerobot_joints());

/// Where LeRobot would write the calibration of this id: the path of an existing file, else
/// <first root>/robots/so_follower/<id>.json. A path stays what it is.
/// nullopt: the id is empty or no file name, or there is no home folder.
std::optional<std::filesystem::path> calibration_path(const std::string & id_or_path);

/// What came of saving: the backup's path (empty when there was no older file), or an error.
struct SavedCalibration
{
  std::filesystem::path file;
  std::filesystem::path backup;
  std::string error;  ///< one line, empty when all went well

  bool ok() const { return error.empty(); }
};

/// Write a calibration as LeRobot would, whole or not at all: into a new file beside it, then
/// renamed. An older file with other contents is kept as <file>.bak. Folders are made. A
/// calibration with problems is refused.
SavedCalibration save_calibration(
  const std::filesystem::path & file, const Calibration & calibration,
  const std::vector<std::string> & joints = lerobot_joints());

}  // namespace so100_hardware
