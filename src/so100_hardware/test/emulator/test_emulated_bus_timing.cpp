// SPDX-License-Identifier: Apache-2.0
// When the answers come.
#include "bus_fixture.hpp"
#include "emulated_bus.hpp"

namespace so100_hardware::emulator
{
namespace
{
using std::chrono::microseconds;
using std::chrono::milliseconds;
namespace reg = feetech::registers;

class EmulatedBusTiming : public BusFixture
{
};

TEST(WireTime, IsTenBitsAByte)
{
  EXPECT_EQ(wire_time(1, 1000000), microseconds(10));
  EXPECT_EQ(wire_time(140, 1000000), microseconds(1400));
  EXPECT_EQ(wire_time(10, 500000), microseconds(200));
  EXPECT_EQ(wire_time(0, 1000000), microseconds(0));
}

TEST(Wire, GivesFramesInTheOrderInWhichTheyEnd)
{
  Wire wire;
  const TimePoint start{milliseconds(1)};
  wire.send(start, start + microseconds(30), {3});
  wire.send(start, start + microseconds(10), {1});
  wire.send(start, start + microseconds(20), {2});
  EXPECT_EQ(wire.next_arrival(), start + microseconds(10));
  EXPECT_EQ(wire.collect(start + microseconds(20)), (Bytes{1, 2}));
  EXPECT_EQ(wire.collect(start + microseconds(29)), Bytes{});
  EXPECT_EQ(wire.collect(start + microseconds(30)), Bytes{3});
  EXPECT_FALSE(wire.next_arrival().has_value());
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

TEST_F(EmulatedBusTiming, EachServoOfASyncReadAddsItsReturnDelay)
{
  const auto replies = send(kAll, Instruction::sync_read, {56, 2, 1, 2});
  ASSERT_EQ(replies.size(), 2U);
  EXPECT_EQ(replies[0].after, microseconds(100 + 500 + 80));
  EXPECT_EQ(replies[1].after, microseconds(100 + 500 + 80 + 500 + 80));
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

TEST_F(EmulatedBusTiming, SlowerBaudRateTakesLonger)
{
  no_return_delay();
  put(servo(2), reg::baud_rate, 4);
  const auto reply = send(2, Instruction::ping, {}, 115200).at(0);
  EXPECT_NEAR(static_cast<double>(reply.after.count()), 12 * 10 * 1e9 / 115200, 10.0);
}

TEST_F(EmulatedBusTiming, BroadcastPingsDoNotCollide)
{
  no_return_delay();
  const auto replies = send(kAll, Instruction::ping, {});
  ASSERT_EQ(replies.size(), 6U);
  for (std::size_t i = 0; i < replies.size(); ++i) {
    EXPECT_EQ(replies[i].after, microseconds(60 + 100 * (i + 1) + 60));
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
