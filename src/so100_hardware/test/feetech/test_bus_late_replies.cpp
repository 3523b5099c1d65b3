// SPDX-License-Identifier: Apache-2.0
// What the bus makes of replies that come late, twice, or from two servos at once.
#include "bus_faults_fixture.hpp"

namespace so100_hardware::feetech
{
namespace
{

namespace r = registers;
using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST_F(BusFaults, InputIsFlushedBeforeEachRetry)
{
  servos.silent = {1};
  EXPECT_FALSE(bus.ping(1).ok());
  EXPECT_EQ(
    transport.events,
    (std::vector<std::string>{"flush", "write", "flush", "write", "flush", "write"}));
}

TEST_F(BusFaults, LeftoversOfAnEarlierRequestAreFlushed)
{
  // A stray reply lies in the input with the very id and length that the next read expects.
  transport.reply(frame(1, 0, {0x11, 0x11}), microseconds(0));
  EXPECT_EQ(bus.read(1, r::present_position).value().value, 1000);
  EXPECT_EQ(bus.statistics().flushed_bytes, 8U);
}

TEST_F(BusFaults, LateReplyIsNotTheAnswerToTheNextRead)
{
  BusOptions options;
  options.retries = 0;
  bus.set_options(options);
  // The answer to the first read arrives while the second, of another register of the same size,
  // waits for its own.
  first(1, [this](const Packet &) { transport.reply(position_reply(1), milliseconds(6)); });
  EXPECT_EQ(bus.read(1, r::present_position).error().code, Errc::timeout);
  servos.set(1, r::present_velocity, -55);
  servos.delay = milliseconds(3);
  EXPECT_EQ(bus.read(1, r::present_velocity).value().value, -55);
  EXPECT_EQ(bus.statistics(1).late, 1U);
}

TEST_F(BusFaults, LateReplyIsNotTheAnswerToTheNextSyncRead)
{
  BusOptions options;
  options.retries = 0;
  bus.set_options(options);
  first(1, [this](const Packet &) {
    for (const std::uint8_t id : kIds) {
      transport.reply(position_reply(id), id == 6 ? milliseconds(10) : milliseconds(1));
    }
  });
  BlockReply replies[6];
  EXPECT_EQ(bus.sync_read(kPosition, kIds, 6, replies).value(), 5U);
  servos.set(6, r::present_position, 111);  // it moved meanwhile
  servos.delay = milliseconds(1);
  EXPECT_EQ(bus.sync_read(kPosition, kIds, 6, replies).value(), 6U);
  EXPECT_EQ(decode(r::present_position, replies[5].data.data()), 111);
  EXPECT_EQ(decode(r::present_position, replies[0].data.data()), 1000);
}

TEST_F(BusFaults, LateAcknowledgementIsNotTakenForTheNextOne)
{
  BusOptions options;
  options.retries = 0;
  bus.set_options(options);
  first(
    1, [this](const Packet & request) { transport.reply(frame(request.id, 0), milliseconds(6)); });
  EXPECT_EQ(bus.write(1, r::torque_limit, 500).error().code, Errc::timeout);
  servos.silent = {1};  // so only the late acknowledgement can come
  EXPECT_EQ(bus.write(1, r::torque_limit, 600).error().code, Errc::timeout);
  servos.silent.clear();
  EXPECT_TRUE(bus.write(1, r::torque_limit, 700).ok());
}

TEST_F(BusFaults, PaddingAtTheStartOfTheTableGoesBehind)
{
  BusOptions options;
  options.retries = 0;
  bus.set_options(options);
  servos.silent = {1};
  EXPECT_FALSE(bus.read(1, r::firmware_major).ok());
  servos.silent.clear();
  servos.set(1, r::firmware_major, 3);
  EXPECT_EQ(bus.read(1, r::firmware_major).value().value, 3);
  EXPECT_EQ(transport.request(1).parameters[0], 0);
  EXPECT_EQ(transport.request(1).parameters[1], 2);
}

TEST_F(BusFaults, TwoRepliesOfOneIdAreBothRejected)
{
  first(100, [this](const Packet & request) {
    for (std::size_t i = 2; i < request.size; ++i) {
      const std::uint8_t id = request.parameters[i];
      const Bytes data(request.parameters[1], id);
      transport.reply(frame(id, 0, data));
      if (id == 2) {
        transport.reply(frame(2, 0, Bytes(request.parameters[1], 99)));
      }
    }
    // Only the servo with the doubled id is asked again; something must follow it.
    if (request.size == 3) {
      transport.reply({0x00});
    }
  });
  BlockReply replies[3];
  EXPECT_EQ(bus.sync_read(kPosition, kIds, 3, replies).value(), 3U)
    << "alone, the second reply comes after the exchange";
  BusOptions options;
  options.retries = 0;
  bus.set_options(options);
  EXPECT_EQ(bus.sync_read(kPosition, kIds, 3, replies).value(), 2U);
  EXPECT_EQ(replies[1].error, Errc::duplicate_reply);
  EXPECT_TRUE(replies[0].ok());
  EXPECT_TRUE(replies[2].ok());
  EXPECT_EQ(bus.statistics(2).duplicates, 2U);
}

TEST_F(BusFaults, CheckUniqueFindsASecondServo)
{
  EXPECT_TRUE(bus.check_unique(1).ok());
  transport.on_request = [this](const Packet &) {
    transport.reply(frame(1, 0), microseconds(100));
    transport.reply(frame(1, 0), microseconds(200));
  };
  EXPECT_EQ(bus.check_unique(1).error().code, Errc::duplicate_reply);
  transport.on_request = [this](const Packet &) {
    transport.reply({0xFF, 0xFF, 1, 2, 0, 0x12});  // two servos at once
  };
  EXPECT_EQ(bus.check_unique(1).error().code, Errc::duplicate_reply);
  transport.on_request = nullptr;
  EXPECT_EQ(bus.check_unique(1).error().code, Errc::timeout);
}

TEST_F(BusFaults, CheckUniqueTakesOneLateAnswerForNoSecondServo)
{
  int requests = 0;
  transport.on_request = [this, &requests](const Packet &) {
    transport.reply(frame(1, 0), microseconds(100));
    if (++requests == 2) {
      transport.reply(frame(1, 0), microseconds(200));
    }
  };
  EXPECT_TRUE(bus.check_unique(1).ok());
  EXPECT_EQ(requests, 3);
}

TEST_F(BusFaults, BroadcastPingCountsDoubledIdsAndGarbage)
{
  transport.on_request = [this](const Packet &) {
    transport.reply(frame(5, 0));
    transport.reply({0xFF, 0xFF, 3, 2, 0, 0x12});
    transport.reply(frame(1, 0), milliseconds(200));
    transport.reply(frame(5, 0), milliseconds(300));
  };
  const FoundServos found = bus.broadcast_ping().value();
  ASSERT_EQ(found.servos.size(), 2U);
  EXPECT_EQ(found.servos[0].id, 1);
  EXPECT_EQ(found.servos[1].replies, 2);
  EXPECT_EQ(found.damaged, 1U);
}

}  // namespace
}  // namespace so100_hardware::feetech
