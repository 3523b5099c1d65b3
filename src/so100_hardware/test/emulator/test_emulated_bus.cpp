// SPDX-License-Identifier: Apache-2.0
// Who answers what, and when.
#include "bus_fixture.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
namespace bits = feetech::status_bits;
using std::chrono::microseconds;
using std::chrono::milliseconds;

class EmulatedBusTest : public BusFixture
{
};
using EmulatedBusTiming = EmulatedBusTest;

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

TEST_F(EmulatedBusTest, RequestsThatMakeNoSenseAreMetWithSilence)
{
  const std::vector<Bytes> requests{
    frame(2, Instruction::read, {3}),
    frame(2, Instruction::read, {3, 0}),
    frame(2, Instruction::read, {3, 254}),
    frame(kAll, Instruction::read, {3, 2}),
    frame(2, Instruction::write, {42}),
    frame(2, static_cast<Instruction>(0x55), {}),
    frame(kAll, Instruction::sync_read, {56, 2}),
    frame(kAll, Instruction::sync_read, {56, 0, 1}),
    frame(1, Instruction::sync_read, {56, 2, 1}),
    frame(kAll, Instruction::sync_write, {42, 2, 2, 0xE8, 0x03, 4, 0xD0}),
    frame(kAll, Instruction::sync_write, {42}),
  };
  for (const Bytes & request : requests) {
    EXPECT_TRUE(send_raw(request).empty()) << static_cast<int>(request[4]);
  }
  EXPECT_EQ(bus_.counts().ignored, requests.size());
  EXPECT_EQ(servo(2).get(reg::goal_position), 2048);
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
  put(servo(4), reg::torque_enable, 1);
  put(servo(5), reg::return_delay, 0);
  EXPECT_EQ(send(4, Instruction::reset, {}).size(), 1U);
  EXPECT_EQ(servo(4).get(reg::return_delay), 250);
  EXPECT_EQ(servo(4).id(), 4);
  EXPECT_EQ(servo(4).get(reg::torque_enable), 0);
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

TEST_F(EmulatedBusTest, SyncWriteGivesEachItsOwnAndIsNotAnswered)
{
  const Bytes parameters{42, 2, 2, 0xE8, 0x03, 4, 0xD0, 0x07};
  EXPECT_TRUE(send_raw(frame(kAll, Instruction::sync_write, parameters)).empty());
  EXPECT_EQ(servo(2).get(reg::goal_position), 1000);
  EXPECT_EQ(servo(4).get(reg::goal_position), 2000);
  EXPECT_EQ(servo(3).get(reg::goal_position), 2048);
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

TEST_F(EmulatedBusTest, NewBaudRateIsAcknowledgedAtTheOldOne)
{
  EXPECT_EQ(send(3, Instruction::write, {6, 1}).size(), 1U);
  EXPECT_TRUE(send(3, Instruction::ping, {}).empty());
  EXPECT_EQ(send(3, Instruction::ping, {}, 500000).size(), 1U);
  EXPECT_TRUE(send(2, Instruction::ping, {}, 500000).empty());
  EXPECT_EQ(bus_.counts().wrong_baud_bytes, 0U);
  EXPECT_TRUE(send(2, Instruction::write, {40, 1}, 115200).empty());
  EXPECT_EQ(bus_.counts().wrong_baud_bytes, 8U);
  EXPECT_TRUE(send(2, Instruction::ping, {}, 0).empty());
  EXPECT_EQ(servo(2).get(reg::torque_enable), 0);
  EXPECT_EQ(send(2, Instruction::ping, {}, 1020000).size(), 1U);  // 2 % off: a UART takes it
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

TEST_F(EmulatedBusTiming, PingTakesRequestReturnDelayAndReply)
{
  EXPECT_EQ(send(2, Instruction::ping, {}).at(0).after, microseconds(60 + 500 + 60));
  put(servo(2), reg::return_delay, 1);
  EXPECT_EQ(send(2, Instruction::ping, {}).at(0).after, microseconds(60 + 2 + 60));
}

TEST_F(EmulatedBusTiming, SyncReadOfSixTakes140Bytes)
{
  no_return_delay();
  const auto replies = send(kAll, Instruction::sync_read, {56, 15, 1, 2, 3, 4, 5, 6});
  ASSERT_EQ(replies.size(), 6U);
  for (std::size_t i = 0; i < replies.size(); ++i) {
    EXPECT_EQ(replies[i].after, microseconds(140 + 210 * (i + 1))) << i;
  }
}

TEST_F(EmulatedBusTiming, PlaceOfAMissingServoIsWaitedOut)
{
  no_return_delay();
  arm_.unit(1).connected = false;
  const auto replies = send(kAll, Instruction::sync_read, {56, 2, 1, 2, 3});
  ASSERT_EQ(replies.size(), 2U);
  EXPECT_EQ(replies[1].packet.id, 3);
  EXPECT_EQ(replies[1].after, microseconds(110 + 3 * 80));
}

TEST_F(EmulatedBusTiming, BroadcastPingsDoNotCollide)
{
  no_return_delay();
  put(servo(1), reg::id, 20);
  const auto replies = send(kAll, Instruction::ping, {});
  ASSERT_EQ(replies.size(), 6U);
  const std::vector<int> order{2, 3, 4, 5, 6, 20};
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(replies[i].packet.id, order[i]);
    EXPECT_EQ(replies[i].after, microseconds(60 + 100 * order[i] + 60));
  }
}

TEST_F(EmulatedBusTiming, RequestsWrittenAtOnceFollowEachOtherOnTheWire)
{
  no_return_delay();
  const Bytes sync_write = frame(kAll, Instruction::sync_write, {42, 2, 1, 0, 8});
  const Bytes ping = frame(2, Instruction::ping, {});
  bus_.receive(sync_write.data(), sync_write.size(), 1000000, now_);
  const TimePoint start = now_;
  send_raw(ping);
  EXPECT_EQ(start + arrivals_.at(0), start + microseconds(10 * sync_write.size() + 60 + 60));
}

TEST_F(EmulatedBusTiming, RequestDuringAReplyCountsFromItsEnd)
{
  no_return_delay();
  const Bytes ping = frame(2, Instruction::ping, {});
  bus_.receive(ping.data(), ping.size(), 1000000, now_);  // replies from 60 to 120 µs
  const TimePoint start = now_;
  now_ += microseconds(100);
  bus_.receive(ping.data(), ping.size(), 1000000, now_);
  EXPECT_EQ(bus_.collect(start + microseconds(120)).size(), 6U);
  EXPECT_EQ(bus_.next_arrival(), start + microseconds(120 + 60 + 60));
}

TEST_F(EmulatedBusTiming, LateReplyComesThatMuchLater)
{
  no_return_delay();
  faults_.rates(1).delay = 1.0;
  faults_.rates(1).delay_time = milliseconds(7);
  EXPECT_EQ(send(2, Instruction::ping, {}).at(0).after, microseconds(7000 + 60 + 60));
  EXPECT_EQ(send(3, Instruction::ping, {}).at(0).after, microseconds(60 + 60));
  EXPECT_EQ(counts(2).delayed, 1U);
}

TEST_F(EmulatedBusTiming, DroppedReplyLeavesItsPlaceEmpty)
{
  no_return_delay();
  faults_.rates(0).drop = 1.0;
  const auto replies = send(kAll, Instruction::sync_read, {56, 2, 1, 2});
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].packet.id, 2);
  EXPECT_EQ(replies[0].after, microseconds(100 + 2 * 80));
}

TEST_F(EmulatedBusTiming, WithoutTimingAllIsThereAtOnce)
{
  bus_.set_timing(false);
  const Bytes request = frame(kAll, Instruction::sync_read, {56, 15, 1, 2, 3, 4, 5, 6});
  bus_.receive(request.data(), request.size(), 1000000, now_);
  EXPECT_EQ(bus_.next_arrival(), now_);
  EXPECT_EQ(bus_.collect(now_).size(), 6U * 21U);
  faults_.rates(0).delay = 1.0;
  faults_.rates(0).delay_time = milliseconds(3);
  bus_.receive(request.data(), request.size(), 1000000, now_);
  EXPECT_EQ(bus_.next_arrival(), now_ + milliseconds(3));
}

}  // namespace
}  // namespace so100_hardware::emulator
