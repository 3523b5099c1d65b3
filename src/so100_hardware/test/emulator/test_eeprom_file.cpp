// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "arm.hpp"
#include "bus_fixture.hpp"
#include "temporary_folder.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;

class EepromFileTest : public ::testing::Test
{
protected:
  void write(const std::string & text) { std::ofstream(path_) << text; }
  nlohmann::json content() const
  {
    std::ifstream file(path_);
    return nlohmann::json::parse(file);
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.file("eeprom.json");
};

TEST_F(EepromFileTest, CalibrationSurvivesTheEmulator)
{
  {
    Arm arm(numbered({1, 2}));
    EepromFile file(path_, arm.size());
    ASSERT_EQ(file.load(arm), "");  // no file yet
    ServoModel & servo = arm.unit(1).servo;
    put(servo, reg::lock, 0);
    put(servo, reg::homing_offset, -321);
    put(servo, reg::min_position_limit, 700);
    put(servo, reg::id, 12);
    put(servo, reg::lock, 1);
    put(servo, reg::p_coefficient, 16);  // locked
    ASSERT_EQ(file.save(arm), "");
  }
  Arm arm(numbered({1, 2}));
  EepromFile file(path_, arm.size());
  ASSERT_EQ(file.load(arm), "");
  const ServoModel & servo = arm.unit(1).servo;
  EXPECT_EQ(servo.get(reg::homing_offset), -321);
  EXPECT_EQ(servo.get(reg::min_position_limit), 700);
  EXPECT_EQ(servo.id(), 12);
  EXPECT_EQ(servo.get(reg::p_coefficient), 32);
  EXPECT_EQ(servo.get(reg::present_position), 2048 + 321);
  EXPECT_EQ(arm.unit(0).servo.id(), 1);
}

TEST_F(EepromFileTest, IsWrittenOnlyWhenSomethingChanged)
{
  Arm arm(numbered({1}));
  EepromFile file(path_, arm.size());
  ASSERT_EQ(file.load(arm), "");
  ASSERT_EQ(file.save(arm), "");
  EXPECT_FALSE(std::filesystem::exists(path_));
  put(arm.unit(0).servo, reg::lock, 0);
  put(arm.unit(0).servo, reg::return_delay, 0);
  ASSERT_EQ(file.save(arm), "");
  EXPECT_EQ(content()["servos"][0]["Return_Delay_Time"], 0);
  std::filesystem::remove(path_);
  ASSERT_EQ(file.save(arm), "");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(EepromFileTest, DoubledServoIsNotKept)
{
  Arm arm(numbered({1}));
  EepromFile file(path_, arm.size());
  arm.add(numbered({1})[0]);
  put(arm.unit(0).servo, reg::lock, 0);
  put(arm.unit(0).servo, reg::return_delay, 0);
  ASSERT_EQ(file.save(arm), "");
  EXPECT_EQ(content()["servos"].size(), 1U);
}

TEST_F(EepromFileTest, BrokenFileIsRefusedWithAWordWhatToDo)
{
  Arm arm(numbered({1}));
  EepromFile file(path_, arm.size());
  for (const char * text : {"", "{", "[]", "{}", R"({"servos": 3})"}) {
    write(text);
    EXPECT_NE(file.load(arm).find("is no EEPROM file"), std::string::npos) << text;
  }
  write(R"({"servos": [{"Homing_Offset": "x"}]})");
  EXPECT_NE(file.load(arm).find("Homing_Offset of servo 1 is no integer"), std::string::npos);
}

TEST_F(EepromFileTest, UnwritableFileIsReported)
{
  Arm arm(numbered({1}));
  EepromFile file(folder_.file("no/such/folder.json"), arm.size());
  put(arm.unit(0).servo, reg::lock, 0);
  put(arm.unit(0).servo, reg::return_delay, 0);
  EXPECT_NE(file.save(arm).find("cannot write the EEPROM file"), std::string::npos);
}

}  // namespace
}  // namespace so100_hardware::emulator
