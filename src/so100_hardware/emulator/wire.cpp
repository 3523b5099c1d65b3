// SPDX-License-Identifier: Apache-2.0
#include "wire.hpp"

#include <algorithm>
#include <utility>

namespace so100_hardware::emulator
{

std::chrono::nanoseconds wire_time(std::size_t bytes, int baud)
{
  constexpr std::int64_t kBitsPerByte = 10;
  constexpr std::int64_t kNanoseconds = 1000000000;
  const auto bits = static_cast<std::int64_t>(bytes) * kBitsPerByte;
  return std::chrono::nanoseconds(bits * kNanoseconds / baud);
}

void Wire::send(TimePoint start, TimePoint end, std::vector<std::uint8_t> frame)
{
  const auto later = [](TimePoint time, const Frame & other) { return time < other.end; };
  const auto place = std::upper_bound(frames_.begin(), frames_.end(), end, later);
  frames_.insert(place, Frame{start, end, std::move(frame)});
}

std::optional<TimePoint> Wire::next_arrival() const
{
  if (frames_.empty()) {
    return std::nullopt;
  }
  return frames_.front().end;
}

std::vector<std::uint8_t> Wire::collect(TimePoint now)
{
  std::vector<std::uint8_t> arrived;
  auto frame = frames_.begin();
  for (; frame != frames_.end() && frame->end <= now; ++frame) {
    arrived.insert(arrived.end(), frame->bytes.begin(), frame->bytes.end());
  }
  frames_.erase(frames_.begin(), frame);
  return arrived;
}

TimePoint Wire::free_from(TimePoint now) const
{
  TimePoint free = now;
  for (const Frame & frame : frames_) {
    if (frame.start <= now) {
      free = std::max(free, frame.end);
    }
  }
  return free;
}

}  // namespace so100_hardware::emulator
