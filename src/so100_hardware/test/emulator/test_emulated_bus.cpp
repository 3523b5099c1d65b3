// SPDX-License-Identifier: Apache-2.0
// Who answers what.
#include "bus_fixture.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
namespace bits = feetech::status_bits;

class EmulatedBusTest : public BusFixture
{
};

TEST_F(EmulatedBusTest, PingGivesAnEmptyReplyOfThatServo)
{
  const Bytes expected{0xFF, 0xFF, 0x03, 0x02, 0x00, 0xFA};
  EXPECT_EQ(send_raw({0xFF, 0xFF, 0x03, 0x02, 0x01, 0xF9}), expected);
}

TEST_F(EmulatedBusTest, NobodyAnswersForAnIdThatIsNotThere)
{
  EXPECT_TRUE(send_raw(frame(9, Instruction::ping, {})).empty());
}

TEST_F(EmulatedBusTest, ReadGivesTheBytesAskedFor)
{
  const auto replies = send(2, Instruction::read, {3, 2});
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].packet.id, 2);
  EXPECT_EQ(replies[0].data(), (Bytes{0x09, 0x03}));
}

TEST_F(EmulatedBusTest, ReadsThatMakeNoSenseAreMetWithSilence)
{
  EXPECT_TRUE(send(2, Instruction::read, {3}).empty());
  EXPECT_TRUE(send(2, Instruction::read, {3, 0}).empty());
  EXPECT_TRUE(send(2, Instruction::read, {3, 254}).empty());
  EXPECT_TRUE(send(kAll, Instruction::read, {3, 2}).empty());
  EXPECT_TRUE(send(2, Instruction::write, {42}).empty());
  EXPECT_EQ(bus_.counts().ignored, 5U);
}

TEST_F(EmulatedBusTest, UnknownInstructionIsMetWithSilence)
{
  EXPECT_TRUE(send(2, static_cast<Instruction>(0x55), {}).empty());
  EXPECT_EQ(bus_.counts().ignored, 1U);
}

TEST_F(EmulatedBusTest, DamagedRequestIsMetWithSilenceAndTheNextIsHeard)
{
  Bytes request = frame(2, Instruction::write, {40, 1});
  request.back() ^= 0x10;
  EXPECT_TRUE(send_raw(request).empty());
  EXPECT_EQ(servo(2).get(reg::torque_enable), 0);
  EXPECT_EQ(bus_.counts().bad_checksums, 1U);
  EXPECT_EQ(send(2, Instruction::ping, {}).size(), 1U);
}

TEST_F(EmulatedBusTest, HalfARequestIsGivenUpAfterAPause)
{
  EXPECT_TRUE(send_raw({0xFF, 0xFF, 0x02, 0x7F, 0x01}).empty());
  EXPECT_EQ(send(2, Instruction::ping, {}).size(), 1U);
}

TEST_F(EmulatedBusTest, RequestInPiecesIsHeard)
{
  const Bytes request = frame(2, Instruction::ping, {});
  for (const std::uint8_t byte : request) {
    bus_.receive(&byte, 1, 1000000, now_);
    now_ += std::chrono::milliseconds(1);
  }
  EXPECT_TRUE(bus_.next_arrival().has_value());
}

TEST_F(EmulatedBusTest, TwoRequestsInOnePieceAreBothHeard)
{
  Bytes both = frame(2, Instruction::ping, {});
  const Bytes second = frame(5, Instruction::ping, {});
  both.insert(both.end(), second.begin(), second.end());
  EXPECT_EQ(send_raw(both).size(), 12U);
}

TEST_F(EmulatedBusTest, WriteIsAcknowledgedAndActs)
{
  const auto replies = send(3, Instruction::write, {42, 0xE8, 0x03});
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].packet.id, 3);
  EXPECT_EQ(replies[0].packet.size, 0);
  EXPECT_EQ(servo(3).get(reg::goal_position), 1000);
  EXPECT_EQ(servo(2).get(reg::goal_position), 2048);
}

TEST_F(EmulatedBusTest, StatusLevelZeroSilencesAllButPingAndRead)
{
  EXPECT_TRUE(send(3, Instruction::write, {8, 0}).empty());
  EXPECT_TRUE(send(3, Instruction::write, {42, 0xE8, 0x03}).empty());
  EXPECT_EQ(servo(3).get(reg::goal_position), 1000);
  EXPECT_TRUE(send(3, Instruction::reg_write, {42, 0, 0}).empty());
  EXPECT_TRUE(send(3, Instruction::action, {}).empty());
  EXPECT_EQ(send(3, Instruction::ping, {}).size(), 1U);
  EXPECT_EQ(send(3, Instruction::read, {56, 2}).size(), 1U);
  EXPECT_EQ(send(kAll, Instruction::sync_read, {56, 2, 3}).size(), 1U);
}

TEST_F(EmulatedBusTest, BroadcastWriteReachesAllAndIsNotAnswered)
{
  EXPECT_TRUE(send_raw(frame(kAll, Instruction::write, {40, 1})).empty());
  for (std::size_t i = 1; i <= 6; ++i) {
    EXPECT_EQ(servo(i).get(reg::torque_enable), 1) << i;
  }
}

TEST_F(EmulatedBusTest, BroadcastPingIsAnsweredByAllInOrderOfTheirIds)
{
  put(servo(1), reg::id, 20);
  const auto replies = send(kAll, Instruction::ping, {});
  ASSERT_EQ(replies.size(), 6U);
  const std::vector<int> order{2, 3, 4, 5, 6, 20};
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(replies[i].packet.id, order[i]);
  }
}

TEST_F(EmulatedBusTest, RegWriteWaitsForTheActionOfAll)
{
  EXPECT_EQ(send(1, Instruction::reg_write, {42, 0xE8, 0x03}).size(), 1U);
  EXPECT_EQ(send(2, Instruction::reg_write, {42, 0xD0, 0x07}).size(), 1U);
  EXPECT_EQ(servo(1).get(reg::goal_position), 2048);
  EXPECT_TRUE(send_raw(frame(kAll, Instruction::action, {})).empty());
  EXPECT_EQ(servo(1).get(reg::goal_position), 1000);
  EXPECT_EQ(servo(2).get(reg::goal_position), 2000);
  EXPECT_EQ(send(1, Instruction::action, {}).size(), 1U);
}

TEST_F(EmulatedBusTest, ResetRestoresTheFactoryValuesOfOneServo)
{
  put(servo(4), reg::return_delay, 0);
  put(servo(5), reg::return_delay, 0);
  EXPECT_EQ(send(4, Instruction::reset, {}).size(), 1U);
  EXPECT_EQ(servo(4).get(reg::return_delay), 250);
  EXPECT_EQ(servo(4).id(), 4);
  EXPECT_EQ(servo(5).get(reg::return_delay), 0);
}

TEST_F(EmulatedBusTest, SyncReadIsAnsweredInTheOrderOfTheList)
{
  const auto replies = send(kAll, Instruction::sync_read, {56, 15, 5, 1, 3});
  ASSERT_EQ(replies.size(), 3U);
  EXPECT_EQ(replies[0].packet.id, 5);
  EXPECT_EQ(replies[1].packet.id, 1);
  EXPECT_EQ(replies[2].packet.id, 3);
  EXPECT_EQ(replies[0].data().size(), 15U);
  EXPECT_EQ(replies[0].data()[0], 0x00);  // 2048, low byte first
  EXPECT_EQ(replies[0].data()[1], 0x08);
  EXPECT_EQ(replies[0].data()[6], 120);
}

TEST_F(EmulatedBusTest, SyncReadsThatMakeNoSenseAreMetWithSilence)
{
  EXPECT_TRUE(send(kAll, Instruction::sync_read, {56, 2}).empty());
  EXPECT_TRUE(send(kAll, Instruction::sync_read, {56, 0, 1}).empty());
  EXPECT_TRUE(send(1, Instruction::sync_read, {56, 2, 1}).empty());
}

TEST_F(EmulatedBusTest, SyncWriteGivesEachItsOwnAndIsNotAnswered)
{
  const Bytes parameters{42, 2, 2, 0xE8, 0x03, 4, 0xD0, 0x07};
  EXPECT_TRUE(send_raw(frame(kAll, Instruction::sync_write, parameters)).empty());
  EXPECT_EQ(servo(2).get(reg::goal_position), 1000);
  EXPECT_EQ(servo(4).get(reg::goal_position), 2000);
  EXPECT_EQ(servo(3).get(reg::goal_position), 2048);
}

TEST_F(EmulatedBusTest, SyncWriteOfAWrongLengthChangesNothing)
{
  send_raw(frame(kAll, Instruction::sync_write, {42, 2, 2, 0xE8, 0x03, 4, 0xD0}));
  EXPECT_EQ(servo(2).get(reg::goal_position), 2048);
  send_raw(frame(kAll, Instruction::sync_write, {42}));
  EXPECT_EQ(bus_.counts().ignored, 2U);
}

TEST_F(EmulatedBusTest, FaultBitsAreInTheErrorByteBesideTheData)
{
  servo(3).set_temperature(90.0);
  servo(3).protection().force_overload();
  now_ += std::chrono::milliseconds(5);
  const auto replies = send(kAll, Instruction::sync_read, {63, 1, 2, 3});
  ASSERT_EQ(replies.size(), 2U);
  EXPECT_EQ(replies[0].packet.code, 0);
  EXPECT_EQ(replies[1].packet.code, bits::overheat | bits::overload);
  EXPECT_EQ(replies[1].data(), Bytes{90});
}

TEST_F(EmulatedBusTest, NewIdIsAcknowledgedByTheOldOne)
{
  const auto replies = send(3, Instruction::write, {5, 17});
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].packet.id, 3);
  EXPECT_TRUE(send(3, Instruction::ping, {}).empty());
  EXPECT_EQ(send(17, Instruction::ping, {}).size(), 1U);
}

TEST_F(EmulatedBusTest, NewBaudRateIsAcknowledgedAtTheOldOne)
{
  EXPECT_EQ(send(3, Instruction::write, {6, 1}).size(), 1U);
  EXPECT_TRUE(send(3, Instruction::ping, {}).empty());
  EXPECT_EQ(send(3, Instruction::ping, {}, 500000).size(), 1U);
  EXPECT_TRUE(send(2, Instruction::ping, {}, 500000).empty());
}

TEST_F(EmulatedBusTest, WrongBaudRateIsNotHeard)
{
  EXPECT_TRUE(send(2, Instruction::write, {40, 1}, 115200).empty());
  EXPECT_EQ(servo(2).get(reg::torque_enable), 0);
  EXPECT_EQ(bus_.counts().unheard_bytes, 8U);
  EXPECT_TRUE(send(2, Instruction::ping, {}, 0).empty());
  EXPECT_EQ(send(2, Instruction::ping, {}, 1020000).size(), 1U);  // 2 % off: a UART takes it
}

TEST_F(EmulatedBusTest, AnyBaudRateIsHeardWhenAskedTo)
{
  bus_.set_any_baud(true);
  EXPECT_EQ(send(2, Instruction::ping, {}, 9600).size(), 1U);
}

TEST_F(EmulatedBusTest, SilentServoNeitherObeysNorAnswers)
{
  arm_.unit(2).connected = false;
  EXPECT_TRUE(send(3, Instruction::write, {40, 1}).empty());
  EXPECT_EQ(servo(3).get(reg::torque_enable), 0);
  EXPECT_EQ(send(kAll, Instruction::sync_read, {56, 2, 2, 3, 4}).size(), 2U);
}

TEST_F(EmulatedBusTest, DeadSupplySilencesAll)
{
  arm_.set_supply(3.0);
  now_ += std::chrono::milliseconds(5);
  EXPECT_TRUE(send(3, Instruction::ping, {}).empty());
  arm_.set_supply(12.0);
  now_ += std::chrono::milliseconds(5);
  EXPECT_EQ(send(3, Instruction::ping, {}).size(), 1U);
}

TEST_F(EmulatedBusTest, DoubledIdGarblesTheReply)
{
  put(servo(4), reg::id, 3);
  put(servo(4), reg::goal_position, 77);
  int good = 0;
  for (int i = 0; i < 50; ++i) {
    good += static_cast<int>(send(3, Instruction::read, {42, 2}).size());
  }
  EXPECT_LT(good, 5);
  EXPECT_EQ(counts(3).collided, 50U);
  EXPECT_EQ(counts(4).collided, 50U);
  // Both obey.
  send(3, Instruction::write, {40, 1});
  EXPECT_EQ(servo(3).get(reg::torque_enable), 1);
  EXPECT_EQ(servo(4).get(reg::torque_enable), 1);
}

TEST_F(EmulatedBusTest, HangUpForgetsHalfARequestAndRepliesUnderWay)
{
  const Bytes ping = frame(2, Instruction::ping, {});
  bus_.receive(ping.data(), ping.size(), 1000000, now_);
  const Bytes half{0xFF, 0xFF, 0x02};
  bus_.receive(half.data(), half.size(), 1000000, now_);
  bus_.hang_up();
  EXPECT_FALSE(bus_.next_arrival().has_value());
  EXPECT_EQ(send(3, Instruction::ping, {}).size(), 1U);
}

TEST_F(EmulatedBusTest, MovesTheArmWhileTimePasses)
{
  send(1, Instruction::write, {40, 1});
  send(1, Instruction::write, {42, 0xE8, 0x03});
  now_ += std::chrono::seconds(3);
  EXPECT_EQ(send(1, Instruction::read, {56, 2}).at(0).data(), (Bytes{0xE8, 0x03}));
}

}  // namespace
}  // namespace so100_hardware::emulator
