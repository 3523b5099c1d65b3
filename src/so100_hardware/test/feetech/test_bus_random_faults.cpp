// SPDX-License-Identifier: Apache-2.0
// All faults of the line at once: what the bus accepts is always right.
#include <algorithm>
#include <random>

#include "bus_faults_fixture.hpp"

namespace so100_hardware::feetech
{
namespace
{

using std::chrono::microseconds;
using std::chrono::milliseconds;

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
      // One fault a reply and none in its neighbor: two can make up for each other in a
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
