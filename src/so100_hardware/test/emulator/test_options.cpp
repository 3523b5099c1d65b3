// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "options.hpp"

namespace so100_hardware::emulator
{
namespace
{
using Words = std::vector<std::string>;

std::string error(const Words & words)
{
  Options options;
  return parse_options(words, options);
}

Options good(const Words & words)
{
  Options options;
  EXPECT_EQ(parse_options(words, options), "");
  return options;
}

TEST(EmulatorOptions, DefaultIsAnSo100AtWireSpeed)
{
  const Options options = good({});
  ASSERT_EQ(options.servos.size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(options.servos[i].identity.id, i + 1);
    EXPECT_EQ(options.servos[i].identity.model, 777);
    EXPECT_EQ(options.servos[i].identity.firmware_major, 3);
    EXPECT_EQ(options.servos[i].identity.firmware_minor, 10);
    EXPECT_EQ(options.servos[i].identity.baud_code, 0);
  }
  EXPECT_EQ(options.supply_voltage, 12.0);
  EXPECT_TRUE(options.timing);
  EXPECT_FALSE(options.help);
  EXPECT_GT(options.servos[1].joint.gravity, 0.0);
}

TEST(EmulatorOptions, ServosCanDiffer)
{
  const Options options = good(
    {"--ids", "1,2,17", "--firmware", "3.9", "--firmware", "17=3.10", "--model-number", "2=2825",
     "--baud=2=115200", "--voltage", "7.4", "--gravity", "0"});
  ASSERT_EQ(options.servos.size(), 3U);
  EXPECT_EQ(options.servos[2].identity.id, 17);
  EXPECT_EQ(options.servos[0].identity.firmware_minor, 9);
  EXPECT_EQ(options.servos[2].identity.firmware_minor, 10);
  EXPECT_EQ(options.servos[1].identity.model, 2825);
  EXPECT_EQ(options.servos[2].identity.model, 777);
  EXPECT_EQ(options.servos[1].identity.baud_code, 4);
  EXPECT_EQ(options.servos[0].identity.baud_code, 0);
  EXPECT_EQ(options.supply_voltage, 7.4);
  EXPECT_EQ(options.servos[1].joint.gravity, 0.0);
}

TEST(EmulatorOptions, NewServosMayAllHaveIdOne)
{
  EXPECT_EQ(good({"--ids", "1,1,1"}).servos.size(), 3U);
}

TEST(EmulatorOptions, FaultsBecomeCommands)
{
  const Options options = good(
    {"--drop",
     "1",
     "--corrupt=2",
     "--bad-checksum",
     "3",
     "--truncate",
     "4",
     "--delay",
     "20:5",
     "--silent",
     "3",
     "--double",
     "2",
     "--block",
     "6",
     "--overload",
     "5",
     "--seed",
     "9",
     "--do",
     "temperature 1 60"});
  const Words expected{"drop 1",     "corrupt 2",   "bad-checksum 3",  "truncate 4",
                       "delay 20 5", "silent 3 on", "double 2 on",     "block 6",
                       "overload 5", "seed 9",      "temperature 1 60"};
  EXPECT_EQ(options.commands, expected);
}

TEST(EmulatorOptions, PathsAndSwitches)
{
  const Options options = good(
    {"--link", "/tmp/a", "--control", "/tmp/b", "--eeprom", "/tmp/c", "--no-timing", "--any-baud",
     "--torque-on-holds", "--goal-enables-torque", "--realtime", "-h"});
  EXPECT_EQ(options.link, "/tmp/a");
  EXPECT_EQ(options.control, "/tmp/b");
  EXPECT_EQ(options.eeprom, "/tmp/c");
  EXPECT_FALSE(options.timing);
  EXPECT_TRUE(options.any_baud);
  EXPECT_TRUE(options.servos[0].torque_on_holds);
  EXPECT_TRUE(options.servos[0].goal_enables_torque);
  EXPECT_TRUE(options.realtime);
  EXPECT_TRUE(options.help);
}

TEST(EmulatorOptions, MistakesAreNamed)
{
  EXPECT_NE(error({"--fly", "1"}).find("unknown option '--fly'"), std::string::npos);
  EXPECT_NE(error({"--link"}).find("'--link' is unknown or lacks its value"), std::string::npos);
  EXPECT_NE(error({"/dev/ttyACM0"}).find("unknown option '/dev/ttyACM0'"), std::string::npos);
  EXPECT_NE(error({"--ids", "1,254"}).find("'254' is no servo id"), std::string::npos);
  EXPECT_NE(error({"--ids", ""}).find("at least one servo"), std::string::npos);
  EXPECT_NE(error({"--firmware", "3"}).find("MAJOR.MINOR"), std::string::npos);
  EXPECT_NE(error({"--firmware", "x=3.1"}).find("MAJOR.MINOR"), std::string::npos);
  EXPECT_NE(error({"--model-number", "70000"}).find("--model-number takes"), std::string::npos);
  EXPECT_NE(error({"--baud", "9600"}).find("the servos know 1000000"), std::string::npos);
  EXPECT_NE(error({"--voltage", "30"}).find("'30' is no number of 0 to 25"), std::string::npos);
  EXPECT_NE(error({"--delay", "20"}).find("MS:PERCENT"), std::string::npos);
}

TEST(EmulatorOptions, UsageShowsOptionsCommandsAndCodes)
{
  const std::string text = usage();
  for (const char * word : {"--link", "--drop", "push SERVO", "--control", "Exit code", "import"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word;
  }
}

}  // namespace
}  // namespace so100_hardware::emulator
