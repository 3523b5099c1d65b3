// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "arm.hpp"
#include "so100_hardware/calibration.hpp"

namespace so100_hardware::tools
{

/// How a step of the procedure went.
struct Step
{
  std::string problem;  ///< one line, empty when it went well
  bool again = false;   ///< it was the user's pose: worth another try

  bool ok() const { return problem.empty(); }
};

/// LeRobot's calibration, step by step. The torque is off from begin() on and stays off. Until
/// store() the EEPROM can be put back to what it was; the destructor does it if nobody else did.
class CalibrationProcedure
{
public:
  CalibrationProcedure(feetech::Bus & bus, Arm arm);
  ~CalibrationProcedure();
  CalibrationProcedure(const CalibrationProcedure &) = delete;
  CalibrationProcedure & operator=(const CalibrationProcedure &) = delete;

  /// Torque off; remembers the EEPROM; position mode, positions within one turn.
  Step begin();

  /// Makes the present pose the middle: every joint reads 2047 here. Can be called again.
  Step home();

  /// Takes up the present positions. To be called as often as possible while the arm is moved.
  Step sweep();

  /// Joints that were not moved to both of their ends since home(), as "gripper (31 of about 110
  /// degrees)". One that was moved twice through the same short range, with a call between, is
  /// stopped by something and not named again, unless it has hardly moved at all.
  std::vector<std::string> unmoved();

  /// The table of the sweep: joint, lowest, present and highest position, width in degrees.
  std::string table() const;

  /// Writes offsets and ranges, reads them back, and keeps them.
  Step store();

  /// What store() wrote.
  const Calibration & calibration() const { return calibration_; }

  /// Puts the EEPROM back to what it was at begin().
  Step restore();

private:
  struct Joint
  {
    int offset = 0;
    int min = 0;
    int position = 0;
    int max = 0;
    int again_min = 0;  // since the last unmoved()
    int again_max = 0;
    int asked = 0;         // how wide it was then
    bool wrapped = false;  // it went over the end of the encoder
  };

  Step read_positions(std::vector<int> & positions);
  feetech::Result<void> write_modes(
    const std::vector<int> & modes, const std::vector<int> & phases);

  feetech::Bus & bus_;
  Arm arm_;
  std::vector<Joint> joints_;
  Calibration calibration_;
  ArmEeprom eeprom_before_;
  std::vector<int> modes_before_;
  std::vector<int> phases_before_;
  bool changed_ = false;  // the EEPROM differs, or may differ, from what it was
  int missed_ = 0;
};

}  // namespace so100_hardware::tools
