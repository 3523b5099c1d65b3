// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{

template <class Wanted, class OnPacket, class OnGarbage>
Result<void> Bus::listen(
  TimePoint deadline, Wanted wanted, OnPacket on_packet, OnGarbage on_garbage)
{
  while (wanted() > 0) {
    const std::size_t size = std::min(static_cast<std::size_t>(wanted()), in_.size());
    const Result<std::size_t> received = transport_.read(in_.data(), size, deadline);
    if (!received.ok()) {
      return received.error();
    }
    parser_.feed(in_.data(), received.value());
    bool found = true;
    while (found) {
      const std::uint64_t damaged = parser_.bad_checksums();
      const std::uint64_t skipped = parser_.skipped_bytes();
      found = parser_.next(packet_);
      if (parser_.skipped_bytes() != skipped) {
        totals_.checksum_errors += parser_.bad_checksums() != damaged ? 1 : 0;
        on_garbage(parser_.bad_checksums() != damaged);
      }
      if (found) {
        on_packet(packet_);
      }
    }
    if (received.value() < size) {
      return {};  // deadline
    }
  }
  return {};
}

}  // namespace so100_hardware::feetech
