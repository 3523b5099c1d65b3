// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::emulator
{

using feetech::TimePoint;

/// Time on the wire of `bytes` bytes of 8N1: ten bits each.
std::chrono::nanoseconds wire_time(std::size_t bytes, int baud);

/// The replies that are on their way, in the order in which they end.
class Wire
{
public:
  /// Puts a frame on the wire; it arrives as a whole when its last bit has.
  void send(TimePoint start, TimePoint end, std::vector<std::uint8_t> frame);

  /// When the next frame is complete; nothing when none is under way.
  std::optional<TimePoint> next_arrival() const;

  /// Takes all frames that are complete at `now`.
  std::vector<std::uint8_t> collect(TimePoint now);

  /// When the line falls silent, if someone is talking at `now`; else `now`.
  TimePoint free_from(TimePoint now) const;

  void clear() { frames_.clear(); }

private:
  struct Frame
  {
    TimePoint start;
    TimePoint end;
    std::vector<std::uint8_t> bytes;
  };
  std::vector<Frame> frames_;
};

}  // namespace so100_hardware::emulator
