// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "servo_model.hpp"
#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::emulator
{

using feetech::TimePoint;

/// One servo in the daisy chain and how it hangs on it.
struct Unit
{
  explicit Unit(const ServoOptions & options) : servo(options) {}

  ServoModel servo;
  bool connected = true;  ///< false: it neither receives nor answers, and goes on as it is
};

/// The servos on one supply. Time comes from the caller, so tests need no sleep.
class Arm
{
public:
  explicit Arm(const std::vector<ServoOptions> & servos, double supply_voltage = 12.0);

  /// Moves everything on to `now`, in steps of 1 ms. The first call sets the start. After a
  /// pause of more than 10 s (a stopped process) only the last 10 s are lived through.
  void advance_to(TimePoint now);

  /// V; the drop over cable and plugs is taken off in proportion to the current of all servos.
  void set_supply(double volts) { supply_ = volts; }
  double supply() const { return supply_; }

  /// Appends a servo at the end of the chain, or takes one out.
  void add(const ServoOptions & options);
  void remove(std::size_t index);

  std::size_t size() const { return units_.size(); }
  Unit & unit(std::size_t index) { return *units_[index]; }
  const Unit & unit(std::size_t index) const { return *units_[index]; }

private:
  void step();

  std::vector<std::unique_ptr<Unit>> units_;
  double supply_;
  TimePoint time_{};
  bool started_ = false;
};

/// What hangs on servo `index` (0 …) of an SO-100: gravity on shoulder_lift, elbow_flex and
/// wrist_flex, nothing on the others. `gravity` scales it, 0 takes it away.
Joint so100_joint(std::size_t index, double gravity = 1.0);

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
