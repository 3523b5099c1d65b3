// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
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
  bool connected = true;  ///< false: it neither hears nor answers, and goes on as it is
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

}  // namespace so100_hardware::emulator
