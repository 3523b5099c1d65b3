// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "so100_hardware/joints.hpp"
#include "so100_hardware/system_config.hpp"
#include "so100_hardware/telemetry.hpp"

namespace so100_hardware::test
{

/// What a URDF of the whole arm says, with nothing but the parameters that must be there.
inline SystemDescription arm_description()
{
  SystemDescription description;
  description.parameters = {{"port", "/dev/ttyACM0"}, {"calibration_file", "/tmp/arm.json"}};
  for (const JointInfo & info : kJoints) {
    description.joints.push_back(
      {std::string(info.name),
       {{"id", std::to_string(info.id)}},
       {"position"},
       state_interface_names()});
  }
  return description;
}

/// Success when there are as many lines as in `expected`, and each has all the parts for it.
inline ::testing::AssertionResult lines_mention(
  const std::vector<std::string> & lines, const std::vector<std::vector<std::string>> & expected)
{
  bool good = lines.size() == expected.size();
  for (std::size_t i = 0; good && i < lines.size(); ++i) {
    for (const std::string & part : expected[i]) {
      good = good && lines[i].find(part) != std::string::npos;
    }
  }
  if (good) {
    return ::testing::AssertionSuccess();
  }
  auto failure = ::testing::AssertionFailure() << "lines:";
  for (const std::string & line : lines) {
    failure << "\n  " << line;
  }
  failure << "\nshould mention:";
  for (const auto & parts : expected) {
    failure << "\n  ";
    for (const std::string & part : parts) {
      failure << " [" << part << "]";
    }
  }
  return failure;
}

}  // namespace so100_hardware::test
