// SPDX-License-Identifier: Apache-2.0
// The bus with servos that behave; faults are in the other test_bus_*.cpp.
#include <gtest/gtest.h>

#include <limits>

#include "fake_servos.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{
namespace
{

namespace r = registers;

const std::uint8_t kIds[] = {1, 2, 3, 4, 5, 6};

struct BusTest : testing::Test
{
  FakeServos servos{{1, 2, 3, 4, 5, 6}};
  FakeTransport & transport = servos.transport;
  Bus bus{transport};
};

TEST_F(BusTest, Ping)
{
  const Result<Ack> ack = bus.ping(3);
  ASSERT_TRUE(ack.ok());
  EXPECT_EQ(transport.writes, (std::vector<Bytes>{{0xFF, 0xFF, 3, 2, 1, 0xF9}}));
}

TEST_F(BusTest, ReadsWordsAndBytesWithSign)
{
  servos.set(2, r::present_velocity, -1234);
  servos.set(2, r::present_temperature, 41);
  EXPECT_EQ(bus.read(2, r::present_velocity).value().value, -1234);
  EXPECT_EQ(bus.read(2, r::present_temperature).value().value, 41);
  EXPECT_EQ(bus.read(2, r::model_number).value().value, 777);
}

TEST_F(BusTest, OneWriteForEachRequestAndFlushBefore)
{
  ASSERT_TRUE(bus.read(1, r::present_position).ok());
  ASSERT_TRUE(bus.write(1, r::torque_enable, 1).ok());
  EXPECT_EQ(transport.events, (std::vector<std::string>{"flush", "write", "flush", "write"}));
}

TEST_F(BusTest, WriteConsumesItsAcknowledgement)
{
  ASSERT_TRUE(bus.write(1, r::goal_position, 3000).ok());
  EXPECT_EQ(servos.get(1, r::goal_position), 3000);
  EXPECT_EQ(transport.flush_input(), 0U);
  transport.advance(std::chrono::seconds(1));
  EXPECT_EQ(transport.flush_input(), 0U) << "nothing is left for the next read";
  EXPECT_EQ(bus.read(1, r::goal_position).value().value, 3000);
}

TEST_F(BusTest, BroadcastWriteWaitsForNobody)
{
  ASSERT_TRUE(bus.write(kBroadcastId, r::torque_enable, 1).ok());
  for (const std::uint8_t id : kIds) {
    EXPECT_EQ(servos.get(id, r::torque_enable), 1);
  }
  EXPECT_EQ(transport.waited.count(), 0);
}

TEST_F(BusTest, SyncReadsTheStateOfAllInOneExchange)
{
  for (const std::uint8_t id : kIds) {
    servos.set(id, r::present_position, 1000 + id);
    servos.set(id, r::present_current, 10 * id);
  }
  ServoState states[6];
  const Result<std::size_t> good = read_states(bus, kIds, 6, states);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good.value(), 6U);
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(states[i].fresh);
    EXPECT_EQ(states[i].get(r::present_position), 1001 + i);
    EXPECT_EQ(states[i].get(r::present_current), 10 * (i + 1));
  }
  EXPECT_EQ(
    transport.writes, (std::vector<Bytes>{frame(kBroadcastId, 0x82, {56, 15, 1, 2, 3, 4, 5, 6})}));
  EXPECT_EQ(transport.waited.count(), 0) << "returns with the last reply";
}

TEST_F(BusTest, SyncWriteIsOnePacketWithoutReply)
{
  const int goals[] = {1000, 2000, 3000, 4000, 0, 4095};
  ASSERT_TRUE(bus.sync_write(r::goal_position, kIds, goals, 6).ok());
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(servos.get(kIds[i], r::goal_position), goals[i]);
  }
  ASSERT_EQ(transport.writes.size(), 1U);
  EXPECT_EQ(transport.writes[0].size(), 26U);
  EXPECT_EQ(transport.waited.count(), 0);
}

TEST_F(BusTest, ErrorBitsComeWithTheData)
{
  servos.status[4] = status_bits::overload;
  servos.set(4, r::present_position, 1500);
  const Result<Reading> reading = bus.read(4, r::present_position);
  ASSERT_TRUE(reading.ok());
  EXPECT_EQ(reading.value().value, 1500);
  EXPECT_EQ(reading.value().status, status_bits::overload);
  EXPECT_EQ(bus.ping(4).value().status, status_bits::overload);

  ServoState states[6];
  ASSERT_TRUE(read_states(bus, kIds, 6, states).ok());
  EXPECT_TRUE(states[3].fresh);
  EXPECT_EQ(states[3].get(r::present_position), 1500);
  EXPECT_EQ(states[3].get(r::status), status_bits::overload);
  EXPECT_EQ(states[2].get(r::status), 0);
  EXPECT_EQ(bus.statistics(4).last_status, status_bits::overload);
}

TEST_F(BusTest, BroadcastPingListsByRisingId)
{
  servos.status[2] = status_bits::voltage;
  const Result<FoundServos> found = bus.broadcast_ping();
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found.value().servos.size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(found.value().servos[i].id, kIds[i]);
    EXPECT_EQ(found.value().servos[i].replies, 1);
  }
  EXPECT_EQ(found.value().servos[1].status, status_bits::voltage);
  EXPECT_EQ(found.value().damaged, 0U);
}

TEST_F(BusTest, AnswersOnTopOfEachOtherAreNoSilence)
{
  FakeTransport line;
  Bytes received;
  line.on_request = [&](const Packet &) { line.reply(received); };
  Bus host(line);
  const auto damaged = [&](const Bytes & bytes) {
    received = bytes;
    const Result<FoundServos> found = host.broadcast_ping();
    EXPECT_TRUE(found.ok() && found.value().servos.empty());
    return found.ok() ? found.value().damaged : 99U;
  };
  EXPECT_EQ(damaged({0x80, 0x7F, 0x01, 0x02, 0x00, 0x40, 0xFC}), 1U) << "no header is left";
  EXPECT_EQ(damaged({0xFF, 0x00, 0x20}), 0U) << "stray bytes";
}

TEST_F(BusTest, RefusesWrongArgumentsWithoutSending)
{
  const std::uint8_t twice[] = {1, 2, 1};
  const std::uint8_t wrong[] = {1, 254};
  const int goals[] = {0, 40000};
  std::array<std::uint8_t, 40> many{};
  for (std::size_t i = 0; i < many.size(); ++i) {
    many[i] = static_cast<std::uint8_t>(i);
  }
  std::array<BlockReply, 40> replies;
  const auto code = [](const auto & result) {
    return result.ok() ? Errc::ok : result.error().code;
  };
  EXPECT_EQ(code(bus.write(1, r::goal_position, 40000)), Errc::invalid_argument);
  EXPECT_EQ(
    code(bus.write(1, r::goal_position, std::numeric_limits<int>::min())), Errc::invalid_argument);
  EXPECT_EQ(code(bus.write(1, r::present_position, 1)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.write(255, r::goal_position, 1)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.write(1, r::id, 254)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.ping(254)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.read(255, r::id)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.read_block(1, Block{0, 65})), Errc::invalid_argument);
  EXPECT_EQ(code(bus.read_block(1, Block{250, 10})), Errc::invalid_argument);
  EXPECT_EQ(code(bus.sync_read(kStateBlock, twice, 3, replies.data())), Errc::invalid_argument);
  EXPECT_EQ(code(bus.sync_read(kStateBlock, wrong, 2, replies.data())), Errc::invalid_argument);
  EXPECT_EQ(code(bus.sync_read(kStateBlock, kIds, 0, replies.data())), Errc::invalid_argument);
  EXPECT_EQ(
    code(bus.sync_read(kStateBlock, many.data(), 40, replies.data())), Errc::invalid_argument);
  EXPECT_EQ(code(bus.sync_write(r::goal_position, kIds, goals, 2)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.sync_write(r::goal_position, wrong, goals, 1)), Errc::ok);
  EXPECT_EQ(code(bus.sync_write(r::goal_position, many.data(), goals, 40)), Errc::invalid_argument);
  EXPECT_EQ(code(bus.sync_write(r::goal_position, kIds, goals, 0)), Errc::invalid_argument);
  EXPECT_EQ(transport.writes.size(), 1U);
}

TEST_F(BusTest, PortErrorsComeBackAtOnce)
{
  transport.broken = Errc::port_gone;
  const Result<Reading> reading = bus.read(1, r::present_position);
  ASSERT_FALSE(reading.ok());
  EXPECT_EQ(reading.error().code, Errc::port_gone);
  EXPECT_NE(reading.error().text().find("/dev/fake"), std::string::npos);
  EXPECT_EQ(transport.events, (std::vector<std::string>{"flush", "write"})) << "no retry";

  ServoState states[6];
  Error errors[6];
  states[0].bytes[0] = 77;
  states[0].fresh = true;
  EXPECT_FALSE(read_states(bus, kIds, 6, states, errors).ok());
  EXPECT_FALSE(states[0].fresh);
  EXPECT_EQ(states[0].get(r::present_position), 77);
  EXPECT_EQ(errors[5].code, Errc::port_gone);
}

}  // namespace
}  // namespace so100_hardware::feetech
