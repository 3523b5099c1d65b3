// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::feetech
{

/// Remembers which replies did not come in time and so may still come.
///
/// A reply tells its servo and its length, not which request it answers. So a request to a servo
/// that still owes a reply of N bytes must ask for another number of bytes (a read does: see
/// padding()), or wait until the reply can no longer come (a write must: its acknowledgement is
/// always empty).
class LateReplies
{
public:
  /// A read asks for at most this many bytes more than wanted.
  static constexpr std::size_t kMaxPadding = 7;

  /// `window`: a reply later than this after its deadline is taken for lost.
  explicit LateReplies(std::chrono::microseconds window) : window_(window) {}

  void set_window(std::chrono::microseconds window) { window_ = window; }

  /// The servo's reply with `length` bytes of data did not come before `deadline`.
  void missed(std::uint8_t id, std::size_t length, TimePoint deadline);

  /// May a reply of `length` bytes of this servo still come?
  bool owed(std::uint8_t id, std::size_t length, TimePoint now) const
  {
    return now < settled(id, length);
  }

  /// How many bytes to read beyond `length` so that none of the servos owes a reply of that
  /// length; if all lengths are owed, the one that is owed the longest.
  std::size_t padding(
    const std::uint8_t * ids, std::size_t count, std::size_t length, TimePoint now) const;

  /// The time from which on no reply is owed by any servo.
  TimePoint settled() const { return any_ ? newest_ + window_ : TimePoint::min(); }

  /// The time from which on this servo owes no reply of `length` bytes.
  TimePoint settled(std::uint8_t id, std::size_t length) const;

private:
  struct Miss
  {
    TimePoint deadline;
    std::uint8_t length = 0;
    bool used = false;
  };

  std::chrono::microseconds window_;
  // One slot more than padding() chooses from, so that a run of misses keeps all its lengths.
  std::array<std::array<Miss, kMaxPadding + 2>, kMaxServoId + 1> misses_{};
  TimePoint newest_;
  bool any_ = false;
};

}  // namespace so100_hardware::feetech
