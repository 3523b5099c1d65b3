// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "arm.hpp"
#include "emulated_bus.hpp"
#include "servo_fixture.hpp"
#include "so100_hardware/feetech/packet.hpp"

namespace so100_hardware::emulator
{

using Bytes = std::vector<std::uint8_t>;
using feetech::Instruction;

/// A reply, and when it was complete after the start of the request.
struct Reply
{
  feetech::Packet packet;
  std::chrono::nanoseconds after{0};

  Bytes data() const
  {
    return {packet.parameters.begin(), packet.parameters.begin() + packet.size};
  }
};

inline std::vector<ServoOptions> numbered(const std::vector<int> & ids)
{
  std::vector<ServoOptions> servos;
  for (const int id : ids) {
    ServoOptions options;
    options.identity.id = static_cast<std::uint8_t>(id);
    servos.push_back(options);
  }
  return servos;
}

inline Bytes frame(int id, Instruction instruction, const Bytes & parameters)
{
  std::array<std::uint8_t, feetech::kMaxFrame> out{};
  const std::size_t size = feetech::encode(
    static_cast<std::uint8_t>(id), static_cast<std::uint8_t>(instruction), parameters.data(),
    parameters.size(), out.data(), out.size());
  return {out.begin(), out.begin() + size};
}

/// Six weightless servos on a line whose clock stands still until a test moves it.
class BusFixture : public ::testing::Test
{
protected:
  static constexpr int kAll = feetech::kBroadcastId;

  BusFixture() : arm_(numbered({1, 2, 3, 4, 5, 6})), faults_(arm_.size()), bus_(arm_, faults_)
  {
    arm_.advance_to(now_);
  }

  ServoModel & servo(std::size_t place) { return arm_.unit(place - 1).servo; }
  FaultCounts & counts(std::size_t place) { return faults_.counts(place - 1); }

  /// No servo waits before it answers, so that times are easy to reckon.
  void no_return_delay()
  {
    for (std::size_t i = 0; i < arm_.size(); ++i) {
      put(arm_.unit(i).servo, feetech::registers::return_delay, 0);
    }
  }

  /// Sends bytes and returns all that ever comes back, as it arrives.
  Bytes send_raw(const Bytes & bytes, int baud = 1000000)
  {
    bus_.receive(bytes.data(), bytes.size(), baud, now_);
    Bytes all;
    arrivals_.clear();
    const TimePoint start = now_;
    while (const auto next = bus_.next_arrival()) {
      EXPECT_TRUE(bus_.collect(*next - std::chrono::nanoseconds(1)).empty()) << "too early";
      const Bytes part = bus_.collect(*next);
      arrivals_.push_back(*next - start);
      all.insert(all.end(), part.begin(), part.end());
      now_ = std::max(now_, *next);
    }
    now_ += std::chrono::milliseconds(20);
    return all;
  }

  /// Sends a request and returns the good replies.
  std::vector<Reply> send(
    int id, Instruction instruction, const Bytes & parameters, int baud = 1000000)
  {
    const Bytes all = send_raw(frame(id, instruction, parameters), baud);
    feetech::PacketParser parser;
    parser.feed(all.data(), all.size());
    std::vector<Reply> replies;
    Reply reply;
    while (parser.next(reply.packet)) {
      reply.after = replies.size() < arrivals_.size() ? arrivals_[replies.size()]
                                                      : std::chrono::nanoseconds{-1};
      replies.push_back(reply);
    }
    return replies;
  }

  TimePoint now_{std::chrono::seconds(1000)};
  Arm arm_;
  Faults faults_;
  EmulatedBus bus_;
  std::vector<std::chrono::nanoseconds> arrivals_;
};

}  // namespace so100_hardware::emulator
