// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "servo_model.hpp"

namespace so100_hardware::emulator
{

/// What the command line asks for.
struct Options
{
  std::vector<ServoOptions> servos;
  double supply_voltage = 12.0;
  bool timing = true;
  bool any_baud = false;
  bool realtime = false;
  std::string link;
  std::string control;
  std::string eeprom;
  std::vector<std::string> commands;  ///< control commands to run before the port opens
  bool help = false;
};

/// Reads the arguments (without the program's name) into `options`. Returns what is wrong with
/// them, else an empty text.
std::string parse_options(const std::vector<std::string> & arguments, Options & options);

/// The text of --help.
std::string usage();

}  // namespace so100_hardware::emulator
