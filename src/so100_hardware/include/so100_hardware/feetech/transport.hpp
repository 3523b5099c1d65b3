// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "so100_hardware/feetech/result.hpp"

namespace so100_hardware::feetech
{

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/// A byte stream to the bus. Tests put a scripted one with its own clock in its place.
class Transport
{
public:
  virtual ~Transport() = default;

  /// Hands over all bytes at once, so that they leave in one piece, or returns why not.
  virtual Result<void> write(const std::uint8_t * bytes, std::size_t size) = 0;

  /// Reads until `capacity` bytes are there or the deadline has passed. Returns how many came
  /// (fewer than `capacity`: deadline); an Error when the port failed.
  virtual Result<std::size_t> read(
    std::uint8_t * bytes, std::size_t capacity, TimePoint deadline) = 0;

  /// Throws away what has arrived. Returns the number of bytes.
  virtual std::size_t flush_input() = 0;

  virtual bool is_open() const = 0;

  /// The clock that deadlines are measured with.
  virtual TimePoint now() const { return Clock::now(); }
};

}  // namespace so100_hardware::feetech
