// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/servo_state.hpp"

#include <array>

namespace so100_hardware::feetech
{
namespace
{

constexpr const std::uint8_t * at(const std::uint8_t * block, const Register & reg)
{
  return block + (reg.address - kStateBlock.address);
}

}  // namespace

ServoState decode_state_block(const std::uint8_t * bytes)
{
  namespace r = registers;
  ServoState state;
  state.position = decode(r::present_position, at(bytes, r::present_position));
  state.velocity = decode(r::present_velocity, at(bytes, r::present_velocity));
  state.load = decode(r::present_load, at(bytes, r::present_load));
  state.voltage_dv = decode(r::present_voltage, at(bytes, r::present_voltage));
  state.temperature_c = decode(r::present_temperature, at(bytes, r::present_temperature));
  state.status = static_cast<std::uint8_t>(decode(r::status, at(bytes, r::status)));
  state.moving = decode(r::moving, at(bytes, r::moving)) != 0;
  state.current = decode(r::present_current, at(bytes, r::present_current));
  state.fresh = true;
  return state;
}

Result<std::size_t> read_states(
  Bus & bus, const std::uint8_t * ids, std::size_t count, ServoState * states, Error * errors)
{
  std::array<BlockReply, kMaxSyncServos> replies;
  for (std::size_t i = 0; i < count; ++i) {
    states[i].fresh = false;
  }
  const Result<std::size_t> good = bus.sync_read(kStateBlock, ids, count, replies.data());
  if (!good.ok()) {
    for (std::size_t i = 0; errors != nullptr && i < count; ++i) {
      errors[i] = good.error();
    }
    return good;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (replies[i].ok()) {
      states[i] = decode_state_block(replies[i].data.data());
      // The reply's error byte has the same bits; whichever knows of a fault counts.
      states[i].status |= replies[i].status;
    }
    if (errors != nullptr) {
      errors[i] = replies[i].to_error(ids[i], kStateBlock);
    }
  }
  return good;
}

}  // namespace so100_hardware::feetech
