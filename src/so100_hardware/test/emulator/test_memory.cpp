// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>

#include "memory.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;

TEST(Memory, ComesFromTheFactoryAsAnSts3215)
{
  Identity identity;
  identity.id = 4;
  const Memory memory(identity);
  EXPECT_EQ(memory.byte(3), 0x09);
  EXPECT_EQ(memory.byte(4), 0x03);
  EXPECT_EQ(memory.get(reg::firmware_major), 3);
  EXPECT_EQ(memory.get(reg::firmware_minor), 10);
  EXPECT_EQ(memory.get(reg::id), 4);
  EXPECT_EQ(memory.get(reg::baud_rate), 0);
  EXPECT_EQ(memory.get(reg::return_delay), 250);
  EXPECT_EQ(memory.get(reg::status_level), 1);
  EXPECT_EQ(memory.get(reg::min_position_limit), 0);
  EXPECT_EQ(memory.get(reg::max_position_limit), 4095);
  EXPECT_EQ(memory.get(reg::max_temperature), 70);
  EXPECT_EQ(memory.get(reg::p_coefficient), 32);
  EXPECT_EQ(memory.get(reg::d_coefficient), 32);
  EXPECT_EQ(memory.get(reg::i_coefficient), 0);
  EXPECT_EQ(memory.get(reg::torque_enable), 0);
  EXPECT_EQ(memory.get(reg::torque_limit), 1000);
  EXPECT_EQ(memory.get(reg::lock), 1);
}

TEST(Memory, EveryEepromRegisterOfTheTableHasAPlaceInIt)
{
  Memory memory(Identity{});
  for (const feetech::Register & entry : reg::all) {
    if (entry.eeprom) {
      EXPECT_EQ(memory.get(entry), memory.stored(entry)) << entry.name;
    }
  }
}

TEST(Memory, LockedEepromWriteActsAndIsLostWithThePower)
{
  Memory memory(Identity{});
  memory.client_write(reg::p_coefficient.address, 16);
  EXPECT_EQ(memory.get(reg::p_coefficient), 16);
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::p_coefficient), 32);
}

TEST(Memory, UnlockedEepromWriteStaysAndTheLockReturns)
{
  Memory memory(Identity{});
  const unsigned before = memory.revision();
  memory.client_write(reg::lock.address, 0);
  memory.client_write(reg::p_coefficient.address, 16);
  EXPECT_NE(memory.revision(), before);
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::p_coefficient), 16);
  EXPECT_EQ(memory.get(reg::lock), 1);
}

TEST(Memory, FactorySettingsFrom80OnAreEepromToo)
{
  Memory memory(Identity{});
  memory.client_write(reg::max_acceleration.address, 254);
  memory.power_cycle();
  EXPECT_NE(memory.get(reg::max_acceleration), 254);
  memory.client_write(reg::lock.address, 0);
  memory.client_write(reg::max_acceleration.address, 254);
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::max_acceleration), 254);
}

TEST(Memory, RamIsLostWithThePower)
{
  Memory memory(Identity{});
  memory.client_write(reg::lock.address, 0);
  memory.client_write(reg::acceleration.address, 50);
  memory.client_write(reg::goal_velocity.address, 200);
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::acceleration), 0);
  EXPECT_EQ(memory.get(reg::goal_velocity), 0);
}

TEST(Memory, MaxTorqueBecomesTheLimitOnlyWithThePower)
{
  Memory memory(Identity{});
  memory.client_write(reg::lock.address, 0);
  memory.client_write(reg::max_torque.address, 500 & 0xFF);
  memory.client_write(reg::max_torque.address + 1, 500 >> 8);
  EXPECT_EQ(memory.get(reg::torque_limit), 1000);
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::torque_limit), 500);
}

TEST(Memory, ReadOnlyAndReservedBytesDoNotTakeWrites)
{
  Memory memory(Identity{});
  memory.client_write(reg::lock.address, 0);
  for (const int address : {0, 1, 2, 3, 4, 50, 54, 56, 57, 63, 65, 66, 69, 71, 73, 79, 87, 255}) {
    const auto at = static_cast<std::uint8_t>(address);
    const std::uint8_t before = memory.byte(at);
    memory.client_write(at, static_cast<std::uint8_t>(before + 1));
    EXPECT_EQ(memory.byte(at), before) << address;
  }
}

TEST(Memory, ImpossibleIdAndBaudRateAreNotTaken)
{
  Memory memory(Identity{});
  memory.client_write(reg::id.address, 254);
  memory.client_write(reg::baud_rate.address, 8);
  EXPECT_EQ(memory.get(reg::id), 1);
  EXPECT_EQ(memory.get(reg::baud_rate), 0);
  memory.client_write(reg::id.address, 253);
  memory.client_write(reg::baud_rate.address, 7);
  EXPECT_EQ(memory.get(reg::id), 253);
  EXPECT_EQ(memory.get(reg::baud_rate), 7);
}

TEST(Memory, FactoryResetKeepsIdentityIdAndBaudRate)
{
  Identity identity;
  identity.model = 2825;
  identity.firmware_minor = 9;
  Memory memory(identity);
  memory.client_write(reg::lock.address, 0);
  memory.client_write(reg::id.address, 7);
  memory.client_write(reg::baud_rate.address, 1);
  memory.client_write(reg::return_delay.address, 0);
  memory.client_write(reg::homing_offset.address, 99);
  memory.factory_reset();
  EXPECT_EQ(memory.get(reg::id), 7);
  EXPECT_EQ(memory.get(reg::baud_rate), 1);
  EXPECT_EQ(memory.get(reg::return_delay), 250);
  EXPECT_EQ(memory.get(reg::lock), 1);
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::homing_offset), 0);
  EXPECT_EQ(memory.get(reg::model_number), 2825);
  EXPECT_EQ(memory.get(reg::firmware_minor), 9);
}

TEST(Memory, ServosOwnValuesAreCutToTheRegister)
{
  Memory memory(Identity{});
  memory.set(reg::present_load, -5000);
  EXPECT_EQ(memory.get(reg::present_load), -1023);
  EXPECT_EQ(memory.byte(reg::present_load.address), 0xFF);
  EXPECT_EQ(memory.byte(reg::present_load.address + 1), 0x07);
  memory.set(reg::homing_offset, -2048);
  EXPECT_EQ(memory.get(reg::homing_offset), -2047);
}

TEST(Memory, RestoreTakesOnlyWhatAnEepromCanHold)
{
  Memory memory(Identity{});
  memory.restore(reg::homing_offset, -300);
  memory.restore(reg::model_number, 1);
  memory.restore(reg::id, 254);
  memory.restore(reg::baud_rate, 9);
  memory.restore(reg::p_coefficient, 300);
  memory.restore(reg::goal_velocity, 5);
  EXPECT_EQ(memory.get(reg::homing_offset), 0);  // not yet in force
  memory.power_cycle();
  EXPECT_EQ(memory.get(reg::homing_offset), -300);
  EXPECT_EQ(memory.get(reg::model_number), 777);
  EXPECT_EQ(memory.get(reg::id), 1);
  EXPECT_EQ(memory.get(reg::baud_rate), 0);
  EXPECT_EQ(memory.get(reg::p_coefficient), 32);
  EXPECT_EQ(memory.get(reg::goal_velocity), 0);
}

TEST(Memory, BaudCodes)
{
  const std::array<int, 8> rates{1000000, 500000, 250000, 128000, 115200, 57600, 38400, 19200};
  for (int code = 0; code < 8; ++code) {
    EXPECT_EQ(baud_of_code(code), rates[code]);
    EXPECT_EQ(code_of_baud(rates[code]), code);
  }
  EXPECT_EQ(baud_of_code(8), 0);
  EXPECT_EQ(baud_of_code(-1), 0);
  EXPECT_EQ(code_of_baud(9600), -1);
}

}  // namespace
}  // namespace so100_hardware::emulator
