// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "arm.hpp"

namespace so100_hardware::emulator
{

/// Keeps the EEPROMs of the first `servos` servos of the chain in a JSON file, one object a
/// servo with LeRobot's register names, so that a calibration survives the emulator.
class EepromFile
{
public:
  EepromFile(std::string path, std::size_t servos) : path_(std::move(path)), servos_(servos) {}

  /// Puts the file's values into the servos and power cycles them. A file that does not exist is
  /// no error. Returns what is wrong, else an empty text.
  std::string load(Arm & arm);

  /// Writes the file anew if an EEPROM has changed since the last load or save. Returns what went
  /// wrong, else an empty text.
  std::string save(const Arm & arm);

private:
  unsigned revision(const Arm & arm) const;

  std::string path_;
  std::size_t servos_;
  unsigned saved_revision_ = 0;
};

}  // namespace so100_hardware::emulator
