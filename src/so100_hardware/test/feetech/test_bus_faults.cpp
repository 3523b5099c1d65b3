// SPDX-License-Identifier: Apache-2.0
// What the bus makes of lost, damaged, late, doubled and foreign replies.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fake_servos.hpp"
#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/servo_state.hpp"

namespace so100_hardware::feetech
{
namespace
{

namespace r = registers;
using std::chrono::microseconds;
using std::chrono::milliseconds;

const std::uint8_t kIds[] = {1, 2, 3, 4, 5, 6};
constexpr Block kPosition{56, 2};

struct BusFaults : testing::Test
{
  FakeServos servos{{1, 2, 3, 4, 5, 6}};
  FakeTransport & transport = servos.transport;
  Bus bus{transport};
  int requests = 0;

  void SetUp() override
  {
    for (const std::uint8_t id : kIds) {
      servos.set(id, r::present_position, 1000 * id);
    }
  }

  /// Calls `fault` instead of the servos for the first `times` requests.
  void first(int times, const std::function<void(const Packet &)> & fault)
  {
    transport.on_request = [this, times, fault](const Packet & request) {
      requests++ < times ? fault(request) : servos.answer(request);
    };
  }

  Bytes position_reply(std::uint8_t id, std::uint8_t status = 0)
  {
    const auto begin = servos.memory.at(id).begin() + 56;
    return frame(id, status, Bytes(begin, begin + 2));
  }
};

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
  EXPECT_EQ(states[1].position, 2000);
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
    EXPECT_EQ(states[0].position, 1000);
    EXPECT_EQ(errors[0].code, Errc::timeout);
    EXPECT_EQ(errors[0].servo, 1);
    EXPECT_EQ(bus.statistics(1).consecutive_misses, static_cast<unsigned>(i));
  }
  servos.silent.clear();
  ASSERT_TRUE(read_states(bus, kIds, 6, states).ok());
  EXPECT_TRUE(states[0].fresh);
  EXPECT_EQ(states[0].position, 3);
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

/// Every reply carries the number of the call it answers, so an accepted reply of an earlier call
/// shows. Faults: drop, damage or lose one byte, cut, double, delay up to 40 ms, noise, any order.
TEST_F(BusFaults, NoWrongValueIsEverAccepted)
{
  std::mt19937 random(7);
  const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  int call = 0;
  std::uint64_t late = 0;
  transport.on_request = [&](const Packet & request) {
    std::vector<std::uint8_t> ids(
      request.parameters.begin() + 2, request.parameters.begin() + request.size);
    if (chance(5)) {
      std::shuffle(ids.begin(), ids.end(), random);
    }
    int turn = 0;
    unsigned long fault = 99;
    for (const std::uint8_t id : ids) {
      ++turn;
      // The wanted bytes are the last ones: padding goes before them.
      Bytes data(request.parameters[1], 0x00);
      const std::size_t end = data.size();
      data[end - 4] = id;
      data[end - 3] = static_cast<std::uint8_t>(call & 0xFF);
      data[end - 2] = static_cast<std::uint8_t>(call >> 8 & 0xFF);
      data[end - 1] = static_cast<std::uint8_t>(call >> 16 & 0xFF);
      Bytes reply = frame(id, 0, data);
      microseconds delay(200 * turn);
      // One fault a reply and none in its neighbour: two can make up for each other in a
      // checksum of eight bits.
      fault = fault < 7 ? 99 : random() % 100;
      switch (fault) {
        case 0:
          continue;
        case 1:
          reply[random() % reply.size()] ^= static_cast<std::uint8_t>(1 + random() % 255);
          break;
        case 2:
          reply.resize(random() % reply.size());
          break;
        case 3:
          reply.insert(reply.begin(), static_cast<std::uint8_t>(random()));
          break;
        case 4:
          reply.erase(reply.begin() + static_cast<long>(random() % reply.size()));
          break;
        case 5:
          transport.reply(reply, delay);
          break;
        case 6:
          delay = milliseconds(1 + random() % 40);
          ++late;
          break;
        default:
          break;
      }
      if (!reply.empty()) {
        transport.reply(reply, delay);
      }
    }
  };
  BlockReply replies[6];
  std::size_t good = 0;
  for (call = 1; call <= 20000; ++call) {
    good += bus.sync_read(kStateBlock, kIds, 6, replies).value();
    for (int i = 0; i < 6; ++i) {
      if (replies[i].ok()) {
        const auto & data = replies[i].data;
        ASSERT_EQ(data[11], kIds[i]) << "call " << call;
        ASSERT_EQ(data[12] | data[13] << 8 | data[14] << 16, call) << "servo " << int{kIds[i]};
      }
    }
    transport.events.clear();
    transport.writes.clear();
    transport.advance(milliseconds(2));
  }
  EXPECT_GT(good, 6U * 20000U * 995U / 1000U);
  EXPECT_GT(late, 1000U);
  RecordProperty("answered_of_120000", static_cast<int>(good));
}

}  // namespace
}  // namespace so100_hardware::feetech
