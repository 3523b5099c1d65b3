// SPDX-License-Identifier: Apache-2.0
// The rule book of calibrations, config/calibration_rules.json, which the Python side reads too:
// where files lie, what a joint may hold, which other formats are known, and every message.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "so100_hardware/calibration.hpp"

namespace so100_hardware
{

/// The rule book; built into the library.
const nlohmann::ordered_json & calibration_rules();

/// What a `{name}` in a text stands for.
using Fields = std::map<std::string, std::string>;

/// A text with its `{name}` filled in.
std::string filled(std::string text, const Fields & fields);

/// The message of this name, filled in.
std::string message(const char * name, const Fields & fields = {});

/// "joint 'gripper': …"
std::string about_joint(const std::string & joint, const std::string & text);

/// A rule that a joint breaks.
struct Finding
{
  bool refused;  ///< the arm must not move with it
  std::string text;
};

/// The rules that a joint breaks; of those on one value the first.
std::vector<Finding> findings(const JointCalibration & joint);

/// The line that names a known other format by the keys of a file; empty when it is none.
std::string other_format(const std::vector<std::string> & keys, const std::string & file);

}  // namespace so100_hardware
