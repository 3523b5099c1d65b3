// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware::feetech
{
namespace
{

namespace r = registers;

TEST(Registers, NoOverlapAndSorted)
{
  int end = 0;
  for (const Register & reg : r::all) {
    EXPECT_GE(reg.address, end) << reg.name;
    EXPECT_TRUE(reg.size == 1 || reg.size == 2) << reg.name;
    EXPECT_LT(reg.sign_bit, 8 * reg.size) << reg.name;
    end = reg.address + reg.size;
  }
}

TEST(Registers, NamesAreUnique)
{
  std::set<std::string> names;
  for (const Register & reg : r::all) {
    EXPECT_TRUE(names.insert(reg.name).second) << reg.name;
  }
}

TEST(Registers, Areas)
{
  for (const Register & reg : r::all) {
    const bool eeprom = reg.address < 40 || reg.address >= 80;
    const bool measured = reg.address >= 56 && reg.address < 80;
    const bool identity = reg.address < 5;
    EXPECT_EQ(reg.eeprom, eeprom) << reg.name;
    EXPECT_EQ(reg.read_only, measured || identity) << reg.name;
  }
}

// The whole table of the facts, so that a slip of a digit shows.
TEST(Registers, AddressesOfTheManual)
{
  const struct
  {
    const char * name;
    int address;
    int size;
    int sign_bit;
  } expected[] = {
    {"Firmware_Major_Version", 0, 1, -1},
    {"Model_Number", 3, 2, -1},
    {"ID", 5, 1, -1},
    {"Baud_Rate", 6, 1, -1},
    {"Return_Delay_Time", 7, 1, -1},
    {"Min_Position_Limit", 9, 2, -1},
    {"Max_Position_Limit", 11, 2, -1},
    {"Max_Torque_Limit", 16, 2, -1},
    {"Phase", 18, 1, -1},
    {"P_Coefficient", 21, 1, -1},
    {"D_Coefficient", 22, 1, -1},
    {"I_Coefficient", 23, 1, -1},
    {"Protection_Current", 28, 2, -1},
    {"Homing_Offset", 31, 2, 11},
    {"Operating_Mode", 33, 1, -1},
    {"Overload_Torque", 36, 1, -1},
    {"Torque_Enable", 40, 1, -1},
    {"Acceleration", 41, 1, -1},
    {"Goal_Position", 42, 2, 15},
    {"Goal_Velocity", 46, 2, 15},
    {"Torque_Limit", 48, 2, -1},
    {"Lock", 55, 1, -1},
    {"Present_Position", 56, 2, 15},
    {"Present_Velocity", 58, 2, 15},
    {"Present_Load", 60, 2, 10},
    {"Present_Voltage", 62, 1, -1},
    {"Present_Temperature", 63, 1, -1},
    {"Status", 65, 1, -1},
    {"Moving", 66, 1, -1},
    {"Present_Current", 69, 2, -1},
    {"Maximum_Acceleration", 85, 1, -1},
  };
  for (const auto & entry : expected) {
    const Register * reg = find_register(entry.address);
    ASSERT_NE(reg, nullptr) << entry.name;
    EXPECT_STREQ(reg->name, entry.name);
    EXPECT_EQ(reg->address, entry.address);
    EXPECT_EQ(reg->size, entry.size) << entry.name;
    EXPECT_EQ(reg->sign_bit, entry.sign_bit) << entry.name;
  }
}

TEST(Registers, FindCoversWordsAndKnowsGaps)
{
  EXPECT_STREQ(find_register(57)->name, "Present_Position");
  EXPECT_EQ(find_register(50), nullptr);
  EXPECT_EQ(find_register(-1), nullptr);
  EXPECT_EQ(find_register(200), nullptr);
}

TEST(Registers, RoundTripOfEveryValue)
{
  for (const Register & reg : r::all) {
    for (int value = min_value(reg); value <= max_value(reg); ++value) {
      std::uint8_t bytes[2] = {0, 0};
      ASSERT_TRUE(encode(reg, value, bytes)) << reg.name << ' ' << value;
      ASSERT_EQ(decode(reg, bytes), value) << reg.name;
    }
  }
}

TEST(Registers, OutOfRangeWritesNothing)
{
  for (const Register & reg : r::all) {
    std::uint8_t bytes[2] = {0xAA, 0xBB};
    EXPECT_FALSE(encode(reg, max_value(reg) + 1, bytes)) << reg.name;
    EXPECT_FALSE(encode(reg, min_value(reg) - 1, bytes)) << reg.name;
    EXPECT_EQ(bytes[0], 0xAA);
    EXPECT_EQ(bytes[1], 0xBB);
  }
}

TEST(Registers, SignMagnitude)
{
  std::uint8_t bytes[2];
  ASSERT_TRUE(encode(r::homing_offset, -2047, bytes));
  EXPECT_EQ(bytes[0] | bytes[1] << 8, 0x0FFF);
  EXPECT_EQ(max_value(r::homing_offset), 2047);
  ASSERT_TRUE(encode(r::goal_position, -1, bytes));
  EXPECT_EQ(bytes[0] | bytes[1] << 8, 0x8001);

  const std::uint8_t load[] = {0x64, 0x04};  // bit 10: 100 the other way
  EXPECT_EQ(decode(r::present_load, load), -100);
  const std::uint8_t minus_zero[] = {0x00, 0x80};
  EXPECT_EQ(decode(r::present_velocity, minus_zero), 0);
}

TEST(Registers, IdsEndBeforeBroadcast) { EXPECT_EQ(max_value(r::id), 253); }

TEST(Status, Text)
{
  EXPECT_EQ(status_text(0), "none");
  EXPECT_EQ(status_text(0x20), "overload");
  EXPECT_EQ(status_text(0x05), "voltage, overheat");
  EXPECT_EQ(status_text(0x0A), "encoder, over-current");
  EXPECT_EQ(status_text(0x50), "unknown bits 80");
}

TEST(Models, ServosOfThisMemoryTableAreUsable)
{
  EXPECT_EQ(model_problem(777), "");
  EXPECT_EQ(model_problem(2825), "");
  EXPECT_EQ(model_name(2825), "STS3250");
}

TEST(Models, OthersAreNamedWithWhatWorks)
{
  for (const int model : {778, 11272, 1284, 0, 65535}) {
    const std::string problem = model_problem(model);
    EXPECT_NE(problem.find("STS3215 (model 777) or STS3250 (model 2825)"), std::string::npos)
      << problem;
  }
  // Read with the high byte first, as the SCS series sends it, 0x1203 is 0x0312.
  EXPECT_NE(model_problem(0x1203).find("model 4611 (0x1203) is unknown"), std::string::npos);
  EXPECT_NE(model_problem(0x1203).find("are 786 (0x0312)"), std::string::npos);
  EXPECT_NE(model_problem(0x0903).find("are STS3215 (0x0309)"), std::string::npos);
}

TEST(ServoState, DecodesTheBlock)
{
  // 56..70: position 2100, velocity -300, load -250, 7.4 V, 31 °C, -, overload, moving, -, -, 77
  BlockReply reply;
  const std::uint8_t block[15] = {0x34, 0x08, 0x2C, 0x81, 0xFA, 0x04, 74, 31,
                                  0,    0x20, 1,    9,    9,    77,   0};
  std::copy_n(block, 15, reply.data.begin());
  reply.status = status_bits::voltage;
  const ServoState state = to_state(reply);
  EXPECT_EQ(state.get(registers::present_position), 2100);
  EXPECT_EQ(state.get(registers::present_velocity), -300);
  EXPECT_EQ(state.get(registers::present_load), -250);
  EXPECT_EQ(state.get(registers::present_voltage), 74);
  EXPECT_EQ(state.get(registers::present_temperature), 31);
  EXPECT_EQ(state.get(registers::status), status_bits::overload | status_bits::voltage);
  EXPECT_EQ(state.get(registers::moving), 1);
  EXPECT_EQ(state.get(registers::present_current), 77);
  EXPECT_TRUE(state.fresh);
}

}  // namespace
}  // namespace so100_hardware::feetech
