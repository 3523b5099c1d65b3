// SPDX-License-Identifier: Apache-2.0
// A bus with six servos whose replies a test can lose, damage, delay and double.
#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "fake_servos.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{

inline constexpr std::uint8_t kIds[] = {1, 2, 3, 4, 5, 6};
inline constexpr Block kPosition{56, 2};

struct BusFaults : testing::Test
{
  FakeServos servos{{1, 2, 3, 4, 5, 6}};
  FakeTransport & transport = servos.transport;
  Bus bus{transport};
  int requests = 0;

  void SetUp() override
  {
    for (const std::uint8_t id : kIds) {
      servos.set(id, registers::present_position, 1000 * id);
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

}  // namespace so100_hardware::feetech
