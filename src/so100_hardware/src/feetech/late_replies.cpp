// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/late_replies.hpp"

#include <algorithm>

namespace so100_hardware::feetech
{

void LateReplies::missed(std::uint8_t id, std::size_t length, TimePoint deadline)
{
  if (id > kMaxServoId) {
    return;
  }
  Miss * slot = nullptr;
  for (Miss & miss : misses_[id]) {
    if (miss.used && miss.length == length) {
      slot = &miss;
      break;
    }
    // The free or the oldest one.
    if (slot == nullptr || (slot->used && (!miss.used || miss.deadline < slot->deadline))) {
      slot = &miss;
    }
  }
  slot->deadline = deadline;
  slot->length = static_cast<std::uint8_t>(length);
  slot->used = true;
  newest_ = any_ ? std::max(newest_, deadline) : deadline;
  any_ = true;
}

TimePoint LateReplies::settled(std::uint8_t id, std::size_t length) const
{
  if (id <= kMaxServoId) {
    for (const Miss & miss : misses_[id]) {
      if (miss.used && miss.length == length) {
        return miss.deadline + window_;
      }
    }
  }
  return TimePoint::min();
}

std::size_t LateReplies::padding(
  const std::uint8_t * ids, std::size_t count, std::size_t length, TimePoint now) const
{
  if (now >= settled()) {
    return 0;  // the healthy bus
  }
  std::size_t best = 0;
  TimePoint best_settled = TimePoint::max();
  for (std::size_t padding = 0; padding <= kMaxPadding; ++padding) {
    TimePoint all_settled = TimePoint::min();
    for (std::size_t i = 0; i < count; ++i) {
      all_settled = std::max(all_settled, settled(ids[i], length + padding));
    }
    if (all_settled <= now) {
      return padding;
    }
    if (all_settled < best_settled) {
      best_settled = all_settled;
      best = padding;
    }
  }
  return best;
}

}  // namespace so100_hardware::feetech
