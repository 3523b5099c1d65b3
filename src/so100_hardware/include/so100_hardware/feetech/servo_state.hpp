// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{

/// Present_Position … Present_Current: everything a servo measures, in one read.
constexpr Block kStateBlock{56, 15};

/// What a servo measures, in its own units.
struct ServoState
{
  int position = 0;         ///< ticks, 4096 a turn
  int velocity = 0;         ///< ticks/s
  int load = 0;             ///< 0.1 % of full PWM, signed
  int current = 0;          ///< 6.5 mA
  int voltage_dv = 0;       ///< 0.1 V
  int temperature_c = 0;    ///< °C
  std::uint8_t status = 0;  ///< fault bits, see status_bits
  bool moving = false;
  bool fresh = false;  ///< from the last read_states()
};

/// The state in the bytes of kStateBlock; `fresh` is set.
ServoState decode_state_block(const std::uint8_t * bytes);

/// Reads the states of `count` servos (up to kMaxSyncServos) in one sync read. A servo that did
/// not answer keeps its last state with `fresh` false. If the port fails, all do. `errors`, when
/// given, has `count` places and gets why each is not fresh.
/// Returns how many are fresh, or as Bus::sync_read.
Result<std::size_t> read_states(
  Bus & bus, const std::uint8_t * ids, std::size_t count, ServoState * states,
  Error * errors = nullptr);

}  // namespace so100_hardware::feetech
