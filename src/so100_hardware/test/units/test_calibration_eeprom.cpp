// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fake_servos.hpp"
#include "so100_hardware/calibration.hpp"

namespace so100_hardware
{
namespace
{

namespace registers = feetech::registers;
using feetech::Errc;

class CalibrationEeprom : public testing::Test
{
protected:
  CalibrationEeprom()
  {
    servos_.set(3, registers::homing_offset, 12);
    servos_.set(3, registers::min_position_limit, 100);
    servos_.set(3, registers::max_position_limit, 4000);
  }

  // Writes that went out for a register.
  int writes(const feetech::Register & reg) const
  {
    int count = 0;
    for (const int address : written_) {
      count += address == reg.address ? 1 : 0;
    }
    return count;
  }
  void count_writes()
  {
    servos_.transport.on_request = [this](const feetech::Packet & request) {
      if (request.code == static_cast<std::uint8_t>(feetech::Instruction::write)) {
        written_.push_back(request.parameters[0]);
      }
      servos_.answer(request);
    };
  }

  feetech::FakeServos servos_{{3}};
  feetech::Bus bus_{servos_.transport};
  std::vector<int> written_;
};

const JointCalibration kElbow{"elbow_flex", 3, 0, -1005, 861, 3066};

TEST_F(CalibrationEeprom, ReadsOffsetAndLimits)
{
  servos_.set(3, registers::homing_offset, -2047);
  const auto read = read_joint_eeprom(bus_, 3);
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_EQ(read.value(), (JointEeprom{-2047, 100, 4000}));
}

TEST_F(CalibrationEeprom, WritesReadsBackAndLocks)
{
  const auto written = write_joint_eeprom(bus_, 3, to_eeprom(kElbow));
  ASSERT_TRUE(written.ok()) << written.error().text();
  EXPECT_EQ(read_joint_eeprom(bus_, 3).value(), to_eeprom(kElbow));
  EXPECT_EQ(servos_.get(3, registers::lock), 1);
}

TEST_F(CalibrationEeprom, WritesOnlyWhatDiffers)
{
  count_writes();
  ASSERT_TRUE(write_joint_eeprom(bus_, 3, {12, 100, 3500}).ok());
  EXPECT_EQ(writes(registers::max_position_limit), 1);
  EXPECT_EQ(writes(registers::min_position_limit), 0);
  EXPECT_EQ(writes(registers::homing_offset), 0);

  written_.clear();
  ASSERT_TRUE(write_joint_eeprom(bus_, 3, {12, 100, 3500}).ok());
  EXPECT_TRUE(written_.empty()) << "EEPROM wears out; the same values must not be written again";
}

TEST_F(CalibrationEeprom, AServoThatDoesNotStoreIsAnError)
{
  // It acknowledges, but keeps its lock.
  servos_.transport.on_request = [this](const feetech::Packet & request) {
    servos_.answer(request);
    servos_.set(3, registers::lock, 1);
  };
  const auto written = write_joint_eeprom(bus_, 3, to_eeprom(kElbow));
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, Errc::not_stored);
  EXPECT_EQ(written.error().servo, 3);
}

TEST_F(CalibrationEeprom, ASilentServoIsAnError)
{
  servos_.silent.insert(3);
  EXPECT_EQ(read_joint_eeprom(bus_, 3).error().code, Errc::timeout);
  EXPECT_EQ(write_joint_eeprom(bus_, 3, to_eeprom(kElbow)).error().code, Errc::timeout);
}

TEST_F(CalibrationEeprom, DifferencesInWords)
{
  EXPECT_EQ(
    calibration_differences(kElbow, {12, 861, 4000}),
    (std::vector<std::string>{
      "elbow_flex (id 3): homing_offset is -1005 in the file, 12 in the servo",
      "elbow_flex (id 3): range_max is 3066 in the file, 4000 in the servo"}));
  EXPECT_TRUE(calibration_differences(kElbow, to_eeprom(kElbow)).empty());
}

}  // namespace
}  // namespace so100_hardware
