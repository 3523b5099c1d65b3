// SPDX-License-Identifier: Apache-2.0
// What the bus makes of lost, damaged and foreign replies, and how long it waits for them.
#include <algorithm>

#include "bus_faults_fixture.hpp"

namespace so100_hardware::feetech
{
namespace
{

namespace r = registers;
using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST_F(BusFaults, AMissingServoDoesNotShiftTheOthers)
{
  servos.silent = {3};
  BlockReply replies[6];
  const Result<std::size_t> good = bus.sync_read(kPosition, kIds, 6, replies);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good.value(), 5U);
  for (int i = 0; i < 6; ++i) {
    if (kIds[i] == 3) {
      EXPECT_EQ(replies[i].error, Errc::timeout);
      EXPECT_EQ(
        replies[i].to_error(3, kPosition).text(),
        "servo 3, Present_Position: no answer; check its cable, its id and the power supply");
    } else {
      ASSERT_TRUE(replies[i].ok());
      EXPECT_EQ(decode(r::present_position, replies[i].data.data()), 1000 * kIds[i]);
    }
  }
  EXPECT_EQ(bus.statistics(3).consecutive_misses, 1U);
  EXPECT_EQ(bus.statistics(3).timeouts, 3U);
  EXPECT_EQ(bus.statistics(3).retries, 2U);
  EXPECT_EQ(bus.statistics(2).requests, 1U) << "only the missing one is asked again";
  ASSERT_EQ(transport.writes.size(), 3U);
  EXPECT_EQ(transport.request(1).size, 3) << "address, length, servo 3";
  EXPECT_EQ(transport.request(1).parameters[2], 3);
}

TEST_F(BusFaults, LostReplyIsAskedForAgain)
{
  first(1, [this](const Packet & request) {
    servos.silent = {2};
    servos.answer(request);
    servos.silent.clear();
  });
  ServoState states[6];
  EXPECT_EQ(read_states(bus, kIds, 6, states).value(), 6U);
  EXPECT_EQ(states[1].get(r::present_position), 2000);
  EXPECT_EQ(bus.statistics(2).consecutive_misses, 0U);
  EXPECT_EQ(bus.statistics(2).timeouts, 1U);
  EXPECT_EQ(bus.statistics(2).failures, 0U);
}

TEST_F(BusFaults, StateIsKeptWhileAServoIsSilent)
{
  ServoState states[6];
  Error errors[6];
  ASSERT_TRUE(read_states(bus, kIds, 6, states, errors).ok());
  EXPECT_EQ(errors[0].code, Errc::ok);
  servos.silent = {1};
  servos.set(1, r::present_position, 3);
  for (int i = 1; i <= 4; ++i) {
    ASSERT_TRUE(read_states(bus, kIds, 6, states, errors).ok());
    EXPECT_FALSE(states[0].fresh);
    EXPECT_EQ(states[0].get(r::present_position), 1000);
    EXPECT_EQ(errors[0].code, Errc::timeout);
    EXPECT_EQ(errors[0].servo, 1);
    EXPECT_EQ(bus.statistics(1).consecutive_misses, static_cast<unsigned>(i));
  }
  servos.silent.clear();
  ASSERT_TRUE(read_states(bus, kIds, 6, states).ok());
  EXPECT_TRUE(states[0].fresh);
  EXPECT_EQ(states[0].get(r::present_position), 3);
  EXPECT_EQ(bus.statistics(1).consecutive_misses, 0U);
}

TEST_F(BusFaults, AnyOrder)
{
  std::vector<std::uint8_t> order(std::begin(kIds), std::end(kIds));
  do {
    transport.on_request = [&](const Packet &) {
      for (const std::uint8_t id : order) {
        transport.reply(position_reply(id));
      }
    };
    BlockReply replies[6];
    ASSERT_EQ(bus.sync_read(kPosition, kIds, 6, replies).value(), 6U);
    for (int i = 0; i < 6; ++i) {
      ASSERT_EQ(decode(r::present_position, replies[i].data.data()), 1000 * kIds[i]);
    }
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(transport.waited.count(), 0);
}

TEST_F(BusFaults, DamagedReplyIsRejectedAndCounted)
{
  first(1, [this](const Packet &) {
    for (const std::uint8_t id : kIds) {
      Bytes reply = position_reply(id);
      reply[5] ^= id == 5 ? 0x10 : 0x00;
      transport.reply(reply);
    }
  });
  BlockReply replies[6];
  ASSERT_EQ(bus.sync_read(kPosition, kIds, 6, replies).value(), 6U);
  EXPECT_EQ(decode(r::present_position, replies[4].data.data()), 5000);
  EXPECT_EQ(bus.statistics(5).checksum_errors, 1U);
  EXPECT_EQ(bus.statistics(5).timeouts, 0U);
  EXPECT_EQ(bus.statistics().checksum_errors, 1U);
  EXPECT_EQ(bus.statistics(4).checksum_errors, 0U);
}

TEST_F(BusFaults, DamagedForGoodIsAnError)
{
  first(100, [this](const Packet &) {
    Bytes reply = position_reply(1);
    reply.back() ^= 1;
    transport.reply(reply);
  });
  const Result<Reading> reading = bus.read(1, r::present_position);
  ASSERT_FALSE(reading.ok());
  EXPECT_EQ(reading.error().code, Errc::bad_checksum);
  EXPECT_EQ(reading.error().servo, 1);
  EXPECT_EQ(bus.statistics(1).checksum_errors, 3U);
}

TEST_F(BusFaults, AnotherServoAnswers)
{
  first(100, [this](const Packet &) { transport.reply(position_reply(2)); });
  const Result<Reading> reading = bus.read(1, r::present_position);
  ASSERT_FALSE(reading.ok());
  EXPECT_EQ(reading.error().code, Errc::wrong_id);
  EXPECT_EQ(reading.error().value, 2);
  EXPECT_EQ(bus.statistics(1).wrong_id, 3U);
  EXPECT_EQ(bus.statistics().unexpected_replies, 3U);
}

TEST_F(BusFaults, ForeignReplyBeforeTheRightOneIsPassedOver)
{
  first(1, [this](const Packet &) {
    transport.reply(position_reply(2));
    transport.reply(position_reply(1));
  });
  EXPECT_EQ(bus.read(1, r::present_position).value().value, 1000);
  EXPECT_EQ(transport.writes.size(), 1U);
}

TEST_F(BusFaults, WrongLengthIsAnError)
{
  first(100, [this](const Packet &) { transport.reply(frame(1, 0, {1, 2, 3})); });
  BusOptions options;
  options.retries = 0;
  bus.set_options(options);
  const Result<Reading> reading = bus.read(1, r::present_position);
  ASSERT_FALSE(reading.ok());
  EXPECT_EQ(reading.error().code, Errc::wrong_length);
  EXPECT_EQ(reading.error().value, 3);
  EXPECT_EQ(bus.statistics(1).wrong_length, 1U);
}

TEST_F(BusFaults, NoiseAroundReplies)
{
  first(1, [this](const Packet &) {
    transport.reply({0x00, 0xFF});
    transport.reply(position_reply(1));
    transport.reply({0xFF, 0xFF, 0x37});
    transport.reply(position_reply(2));
  });
  BlockReply replies[2];
  EXPECT_EQ(bus.sync_read(kPosition, kIds, 2, replies).value(), 2U);
  EXPECT_EQ(transport.writes.size(), 1U);
  EXPECT_EQ(transport.waited.count(), 0);
}

TEST_F(BusFaults, ReplyCompletedByTheNextOneIsRejected)
{
  // Servo 1's reply lacks its last two bytes, and with the header of the next one instead the
  // checksum FF fits: 1 + 4 + 0 + 0xFC + 0xFF = 0x200.
  first(1, [this](const Packet &) {
    transport.reply({0xFF, 0xFF, 1, 4, 0, 0xFC});
    transport.reply(position_reply(2));
  });
  servos.set(1, r::present_position, 0x07FC);
  BlockReply replies[2];
  ASSERT_EQ(bus.sync_read(kPosition, kIds, 2, replies).value(), 2U);
  EXPECT_EQ(decode(r::present_position, replies[0].data.data()), 0x07FC);
  EXPECT_EQ(decode(r::present_position, replies[1].data.data()), 2000);
  EXPECT_EQ(bus.statistics(1).checksum_errors, 1U);
}

TEST_F(BusFaults, TimeoutFollowsTheWireTime)
{
  servos.silent = {1, 2, 3, 4, 5, 6};
  BusOptions options;
  options.retries = 0;
  options.margin = microseconds(1000);
  options.return_delay = microseconds(0);
  bus.set_options(options);
  BlockReply replies[6];
  ASSERT_TRUE(bus.sync_read(kStateBlock, kIds, 6, replies).ok());
  // 14 bytes out, six times 21 in at 10 µs a byte.
  EXPECT_NEAR(static_cast<double>(transport.waited.count()), 1000 + 140 + 1260, 10);
  transport.waited = microseconds(0);
  transport.advance(milliseconds(100));  // nothing is owed any more
  options.baud = 115200;
  options.return_delay = microseconds(500);
  bus.set_options(options);
  ASSERT_TRUE(bus.sync_read(kStateBlock, kIds, 6, replies).ok());
  EXPECT_NEAR(static_cast<double>(transport.waited.count()), 1000 + 1400 * 8.68 + 6 * 500, 20);
}

TEST_F(BusFaults, RetriesStayWithinTheBudget)
{
  servos.silent = {1};
  BusOptions options;
  options.retries = 50;
  options.budget = milliseconds(12);
  bus.set_options(options);
  const TimePoint start = transport.now();
  EXPECT_FALSE(bus.read(1, r::present_position).ok());
  EXPECT_LE(transport.now() - start, milliseconds(12));
  EXPECT_EQ(transport.writes.size(), 2U) << "two attempts of 4.7 ms";
}

}  // namespace
}  // namespace so100_hardware::feetech
