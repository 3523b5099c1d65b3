// SPDX-License-Identifier: Apache-2.0
// The procedure on servos without a port, whose joints a test moves as a hand would.
#include <gtest/gtest.h>

#include <string>

#include "calibration_procedure.hpp"
#include "fake_servos.hpp"

namespace so100_hardware::tools
{
namespace
{

namespace registers = feetech::registers;

class Procedure : public testing::Test
{
protected:
  Procedure()
  {
    for (std::uint8_t id = 1; id <= 6; ++id) {
      encoder_[id] = 2000;
      servos_.set(id, registers::torque_enable, 1);
      servos_.set(id, registers::homing_offset, 100 + id);
      servos_.set(id, registers::min_position_limit, 500);
      servos_.set(id, registers::max_position_limit, 3500);
      servos_.set(id, registers::operating_mode, 1);
      servos_.set(id, registers::phase, 0x1C);
    }
    before_ = servos_.memory;
    servos_.transport.on_request = [this](const feetech::Packet & request) {
      for (const auto & [id, encoder] : encoder_) {
        const int turned = encoder - servos_.get(id, registers::homing_offset);
        servos_.set(id, registers::present_position, (turned + 4096) % 4096);
      }
      servos_.answer(request);
    };
  }

  // Moves all joints by so many ticks and lets the procedure see it.
  Step move_all(int ticks)
  {
    for (auto & entry : encoder_) {
      entry.second += ticks;
    }
    return procedure_.sweep();
  }

  bool restored() const
  {
    for (const auto & [id, memory] : servos_.memory) {
      for (std::size_t address = 0; address < 40; ++address) {
        if (memory[address] != before_.at(id)[address]) {
          return false;
        }
      }
    }
    return true;
  }

  bool all_off() const
  {
    for (const auto & entry : servos_.memory) {
      if (servos_.get(entry.first, registers::torque_enable) != 0) {
        return false;
      }
    }
    return true;
  }

  feetech::FakeServos servos_{{1, 2, 3, 4, 5, 6}};
  feetech::Bus bus_{servos_.transport};
  std::map<std::uint8_t, int> encoder_;
  std::map<std::uint8_t, std::array<std::uint8_t, 256>> before_;
  CalibrationProcedure procedure_{bus_, lerobot_arm()};
};

TEST_F(Procedure, StoresWhatLeRobotWould)
{
  encoder_[2] = 1000;
  encoder_[3] = 4000;
  ASSERT_TRUE(procedure_.begin().ok());
  EXPECT_TRUE(all_off());
  ASSERT_TRUE(procedure_.home().ok());
  for (const int step : {-900, 900, 1000, -500}) {
    ASSERT_TRUE(move_all(step).ok());
  }
  EXPECT_TRUE(procedure_.unmoved().empty());
  ASSERT_TRUE(procedure_.store().ok());

  // Offset = encoder - 2047 in the middle; the middle reads 2047; wrist_roll has the full turn.
  const Calibration expected{{
    {"shoulder_pan", 1, 0, -47, 1147, 3047},
    {"shoulder_lift", 2, 0, -1047, 1147, 3047},
    {"elbow_flex", 3, 0, 1953, 1147, 3047},
    {"wrist_flex", 4, 0, -47, 1147, 3047},
    {"wrist_roll", 5, 0, -47, 0, 4095},
    {"gripper", 6, 0, -47, 1147, 3047},
  }};
  EXPECT_EQ(to_json(procedure_.calibration()), to_json(expected));
  for (const JointCalibration & joint : expected.joints) {
    const auto id = static_cast<std::uint8_t>(joint.id);
    EXPECT_EQ(read_joint_eeprom(bus_, id).value(), to_eeprom(joint)) << joint.joint;
    EXPECT_EQ(servos_.get(id, registers::operating_mode), 0);
    EXPECT_EQ(servos_.get(id, registers::phase), 0x0C) << "multi-turn counting is off";
    EXPECT_EQ(servos_.get(id, registers::lock), 1);
  }
  EXPECT_TRUE(all_off());
  procedure_.restore();
  EXPECT_EQ(servos_.get(1, registers::min_position_limit), 1147) << "what is stored stays";
}

TEST_F(Procedure, RestorePutsEverythingBackAtAnyTime)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.restore().ok());
  EXPECT_TRUE(restored());

  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  ASSERT_TRUE(move_all(700).ok());
  EXPECT_FALSE(restored());
  ASSERT_TRUE(procedure_.restore().ok());
  EXPECT_TRUE(restored());
  EXPECT_TRUE(all_off());
}

TEST_F(Procedure, TheDestructorRestoresToo)
{
  {
    CalibrationProcedure procedure(bus_, lerobot_arm());
    ASSERT_TRUE(procedure.begin().ok());
    ASSERT_TRUE(procedure.home().ok());
    EXPECT_FALSE(restored());
  }
  EXPECT_TRUE(restored());
}

TEST_F(Procedure, HomingAgainForgetsTheSweep)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  ASSERT_TRUE(move_all(700).ok());
  ASSERT_TRUE(procedure_.home().ok());
  EXPECT_EQ(procedure_.unmoved().size(), 5U);
}

TEST_F(Procedure, TheEndOfTheEncoderAsksForAnotherPose)
{
  encoder_[3] = 4095;
  ASSERT_TRUE(procedure_.begin().ok());
  const Step step = procedure_.home();
  EXPECT_TRUE(step.again);
  EXPECT_EQ(
    step.problem,
    "elbow_flex (id 3) stands at 4095, the very end of its encoder; turn it a little and press "
    "Enter again");
  encoder_[3] = 4090;
  EXPECT_TRUE(procedure_.home().ok());
}

TEST_F(Procedure, AnArmThatMovesWhileHomedAsksAgain)
{
  ASSERT_TRUE(procedure_.begin().ok());
  const auto answer = servos_.transport.on_request;
  servos_.transport.on_request = [this, answer, moved = false](const auto & request) mutable {
    const bool homing = request.code == static_cast<std::uint8_t>(feetech::Instruction::write) &&
                        request.id == 4 &&
                        request.parameters[0] == registers::homing_offset.address;
    answer(request);
    if (homing && !moved && servos_.get(4, registers::homing_offset) != 0) {
      moved = true;
      encoder_[4] += 300;
    }
  };
  const Step step = procedure_.home();
  EXPECT_TRUE(step.again);
  EXPECT_EQ(
    step.problem,
    "wrist_flex (id 4) reads 2347 in place of 2047 after homing; hold the arm still and press "
    "Enter again");
}

TEST_F(Procedure, GoingOverTheEndOfTheEncoderIsNoRange)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  encoder_[5] += 2500;  // wrist_roll may
  ASSERT_TRUE(procedure_.sweep().ok());
  encoder_[2] += 2000;
  ASSERT_TRUE(procedure_.sweep().ok());
  encoder_[2] += 100;  // from 4047 to 51
  const Step step = procedure_.sweep();
  EXPECT_FALSE(step.again);
  EXPECT_EQ(
    step.problem,
    "shoulder_lift (id 2) went over the end of its encoder; start again with every joint nearer "
    "to the middle of its range");
}

TEST_F(Procedure, JointsThatWereNotMovedToBothEndsAreNamed)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  ASSERT_TRUE(move_all(-1000).ok());
  ASSERT_TRUE(move_all(1000).ok());
  encoder_[1] += 1000;
  encoder_[6] += 100;
  ASSERT_TRUE(procedure_.sweep().ok());
  // To one end only; the gripper turns less than the others.
  EXPECT_EQ(
    procedure_.unmoved(),
    (std::vector<std::string>{
      "shoulder_lift (88 of about 200 degrees)", "elbow_flex (88 of about 200 degrees)",
      "wrist_flex (88 of about 190 degrees)"}));
  EXPECT_EQ(procedure_.unmoved().size(), 3U) << "pressing Enter again is no answer";
}

TEST_F(Procedure, AJointThatSomethingStopsIsConfirmedByMovingItOnceMore)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  ASSERT_TRUE(move_all(-900).ok());
  ASSERT_TRUE(move_all(1800).ok());
  EXPECT_TRUE(procedure_.unmoved().empty());
  ASSERT_TRUE(procedure_.home().ok());
  ASSERT_TRUE(move_all(700).ok());
  EXPECT_EQ(procedure_.unmoved().size(), 5U);
  ASSERT_TRUE(move_all(-350).ok());
  EXPECT_EQ(procedure_.unmoved().size(), 5U) << "half of the way is not the whole";
  ASSERT_TRUE(move_all(-350).ok());
  ASSERT_TRUE(move_all(700).ok());
  EXPECT_TRUE(procedure_.unmoved().empty());
}

TEST_F(Procedure, AJointThatHardlyMovedIsNamedForEver)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(move_all(150).ok());
    ASSERT_TRUE(move_all(-150).ok());
    EXPECT_EQ(procedure_.unmoved().size(), 5U);
  }
}

TEST_F(Procedure, TheTableShowsTheSweep)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  ASSERT_TRUE(move_all(-1024).ok());
  ASSERT_TRUE(move_all(1124).ok());
  EXPECT_EQ(
    procedure_.table(),
    "JOINT           MIN   POS   MAX    DEGREES\n"
    "shoulder_pan   1023  2147  2147         99\n"
    "shoulder_lift  1023  2147  2147         99\n"
    "elbow_flex     1023  2147  2147         99\n"
    "wrist_flex     1023  2147  2147         99\n"
    "wrist_roll        0  2147  4095  full turn\n"
    "gripper        1023  2147  2147         99\n");
}

TEST_F(Procedure, ALostAnswerInTheSweepIsForgivenASilentServoIsNot)
{
  ASSERT_TRUE(procedure_.begin().ok());
  ASSERT_TRUE(procedure_.home().ok());
  servos_.silent.insert(4);
  EXPECT_TRUE(procedure_.sweep().ok());
  Step step;
  for (int i = 0; i < 100 && step.ok(); ++i) {
    step = procedure_.sweep();
  }
  EXPECT_NE(step.problem.find("servo 4"), std::string::npos) << step.problem;
  servos_.silent.clear();
  EXPECT_TRUE(procedure_.restore().ok());
  EXPECT_TRUE(restored());
}

TEST_F(Procedure, AServoThatIsNotThereAtTheBeginningLeavesNothingChanged)
{
  servos_.silent.insert(6);
  const Step step = procedure_.begin();
  EXPECT_NE(step.problem.find("servo 6"), std::string::npos) << step.problem;
  EXPECT_TRUE(restored());
}

}  // namespace
}  // namespace so100_hardware::tools
