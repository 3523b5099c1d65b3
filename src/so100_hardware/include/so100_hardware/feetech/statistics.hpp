// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace so100_hardware::feetech
{

/// What happened to the requests to one servo. Each attempt counts, retries too.
struct ServoStatistics
{
  std::uint64_t requests = 0;            ///< attempts that expected a reply
  std::uint64_t retries = 0;             ///< attempts after the first of a call
  std::uint64_t timeouts = 0;            ///< attempts without any reply
  std::uint64_t checksum_errors = 0;     ///< attempts with a damaged reply
  std::uint64_t wrong_id = 0;            ///< attempts that another servo answered
  std::uint64_t wrong_length = 0;        ///< attempts with a reply of another length
  std::uint64_t duplicates = 0;          ///< attempts answered more than once
  std::uint64_t late = 0;                ///< replies to earlier requests, thrown away
  std::uint64_t failures = 0;            ///< calls that failed after all retries
  std::uint32_t consecutive_misses = 0;  ///< failed calls since the last good one
  std::uint8_t last_status = 0;          ///< fault bits of the last reply
};

/// What no single servo is to blame for.
struct BusStatistics
{
  std::uint64_t exchanges = 0;           ///< requests sent that expected replies
  std::uint64_t checksum_errors = 0;     ///< damaged replies, whoever sent them
  std::uint64_t unexpected_replies = 0;  ///< sound replies of servos that were not asked
  std::uint64_t flushed_bytes = 0;       ///< bytes thrown away before a request
  std::uint64_t late_bytes = 0;          ///< of these, what came after the wait for it was over
};

}  // namespace so100_hardware::feetech
