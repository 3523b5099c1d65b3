// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "fake_servos.hpp"
#include "so100_hardware/feetech/eeprom.hpp"

namespace so100_hardware::feetech
{
namespace
{

namespace r = registers;

struct Eeprom : testing::Test
{
  FakeServos servos{{1, 2}};
  FakeTransport & transport = servos.transport;
  Bus bus{transport};

  /// Lets requests that `match` pass unheard and unanswered.
  void ignore(const std::function<bool(const Packet &)> & match)
  {
    transport.on_request = [this, match](const Packet & request) {
      if (!match(request)) {
        servos.answer(request);
      }
    };
  }
};

bool writes(const Packet & packet, const Register & reg)
{
  return packet.code == static_cast<std::uint8_t>(Instruction::write) &&
         packet.parameters[0] == reg.address;
}

TEST_F(Eeprom, PlainWriteIsLostUnderTheLock)
{
  ASSERT_TRUE(bus.write(1, r::homing_offset, 100).ok());
  EXPECT_EQ(servos.get(1, r::homing_offset), 0);
}

TEST_F(Eeprom, UnlocksWritesAndLocks)
{
  ASSERT_TRUE(write_eeprom(bus, 1, r::homing_offset, -321).ok());
  EXPECT_EQ(servos.get(1, r::homing_offset), -321);
  EXPECT_EQ(servos.get(1, r::lock), 1);
  EXPECT_EQ(servos.get(2, r::homing_offset), 0);
}

TEST_F(Eeprom, SeveralValuesUnderOneUnlock)
{
  const RegisterValue values[] = {
    {r::min_position_limit, 700}, {r::max_position_limit, 3300}, {r::p_coefficient, 16}};
  ASSERT_TRUE(write_eeprom(bus, 2, values, 3).ok());
  EXPECT_EQ(servos.get(2, r::min_position_limit), 700);
  EXPECT_EQ(servos.get(2, r::max_position_limit), 3300);
  EXPECT_EQ(servos.get(2, r::p_coefficient), 16);
  int locks = 0;
  for (std::size_t i = 0; i < transport.writes.size(); ++i) {
    locks += writes(transport.request(i), r::lock) ? 1 : 0;
  }
  EXPECT_EQ(locks, 2);
}

TEST_F(Eeprom, LocksAfterAFailedWrite)
{
  ignore([](const Packet & packet) { return writes(packet, r::homing_offset); });
  const Result<void> result = write_eeprom(bus, 1, r::homing_offset, 5);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::timeout);
  EXPECT_EQ(result.error().address, r::homing_offset.address);
  EXPECT_EQ(servos.get(1, r::lock), 1);
}

TEST_F(Eeprom, LocksAfterAValueOutOfRange)
{
  const Result<void> result = write_eeprom(bus, 1, r::homing_offset, 5000);
  EXPECT_EQ(result.error().code, Errc::invalid_argument);
  EXPECT_EQ(servos.get(1, r::lock), 1);
}

TEST_F(Eeprom, LocksWhenTheUnlockWasObeyedButNotAcknowledged)
{
  bool deaf = true;
  transport.on_request = [&](const Packet & request) {
    if (deaf && writes(request, r::lock)) {
      servos.memory[1][55] = 0;
      deaf = transport.writes.size() < 3;
      return;
    }
    servos.answer(request);
  };
  EXPECT_EQ(write_eeprom(bus, 1, r::homing_offset, 5).error().code, Errc::timeout);
  EXPECT_EQ(servos.get(1, r::lock), 1);
}

TEST_F(Eeprom, SaysWhenTheLockFailed)
{
  ignore(
    [](const Packet & packet) { return writes(packet, r::lock) && packet.parameters[1] == 1; });
  const Result<void> result = write_eeprom(bus, 1, r::homing_offset, 5);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().address, r::lock.address);
}

TEST_F(Eeprom, NoticesAValueThatWasNotStored)
{
  transport.on_request = [this](const Packet & request) {
    servos.answer(request);
    servos.set(1, r::max_torque, 800);  // the servo clips
  };
  const Result<void> result = write_eeprom(bus, 1, r::max_torque, 1000);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::not_stored);
  EXPECT_EQ(result.error().value, 800);
}

TEST_F(Eeprom, NewIdIsLockedAtTheNewId)
{
  ASSERT_TRUE(write_eeprom(bus, 1, r::id, 6).ok());
  ASSERT_EQ(servos.memory.count(6), 1U);
  EXPECT_EQ(servos.memory.count(1), 0U);
  EXPECT_EQ(servos.get(6, r::lock), 1);
}

TEST_F(Eeprom, RefusesAnIdThatIsTaken)
{
  const Result<void> result = write_eeprom(bus, 1, r::id, 2);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::id_in_use);
  EXPECT_EQ(servos.get(1, r::lock), 1);
}

TEST_F(Eeprom, NewIdOfAServoThatIsAwayNamesTheOldId)
{
  servos.silent = {1};
  const Result<void> result = write_eeprom(bus, 1, r::id, 6);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::timeout);
  EXPECT_EQ(result.error().servo, 1);
}

TEST_F(Eeprom, BaudRateMustComeLastAndIsNotReadBack)
{
  const RegisterValue wrong[] = {{r::baud_rate, 1}, {r::id, 6}};
  EXPECT_EQ(write_eeprom(bus, 1, wrong, 2).error().code, Errc::invalid_argument);
  EXPECT_TRUE(transport.writes.empty());
  ASSERT_TRUE(write_eeprom(bus, 1, r::baud_rate, 1).ok());
  EXPECT_EQ(transport.writes.size(), 2U) << "unlock and the write";
}

TEST_F(Eeprom, ANewBaudRateMayBeAcknowledgedAtTheNewRate)
{
  // From the write on the servo talks at a rate at which this side hears nothing.
  transport.on_request = [this](const Packet & request) {
    if (writes(request, r::baud_rate)) {
      servos.set(1, r::baud_rate, request.parameters[1]);
      servos.silent = {1};
    }
    servos.answer(request);
  };
  EXPECT_TRUE(write_eeprom(bus, 1, r::baud_rate, 4).ok());
  EXPECT_EQ(servos.get(1, r::baud_rate), 4);
  EXPECT_EQ(servos.get(1, r::lock), 0) << "to be locked at the new rate";
}

TEST_F(Eeprom, ABaudRateThatDoesNotExistIsAnError)
{
  EXPECT_EQ(write_eeprom(bus, 1, r::baud_rate, 300).error().code, Errc::invalid_argument);
  EXPECT_EQ(servos.get(1, r::lock), 1);
}

}  // namespace
}  // namespace so100_hardware::feetech
