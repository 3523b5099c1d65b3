// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/eeprom.hpp"

namespace so100_hardware::feetech
{
namespace
{

bool is(const Register & a, const Register & b) { return a.address == b.address; }

/// Two servos with one id could no longer be told apart, nor be mended without taking one out.
Result<void> check_free(Bus & bus, std::uint8_t id, int wanted)
{
  if (wanted == id || wanted < 0 || wanted > kMaxServoId) {
    return {};  // the write checks the range
  }
  const Result<Ack> other = bus.ping(static_cast<std::uint8_t>(wanted));
  if (!other.ok() && other.error().code == Errc::timeout) {
    return {};
  }
  Error error;
  error.code = Errc::id_in_use;
  error.servo = id;
  error.address = registers::id.address;
  error.value = wanted;
  return error;
}

/// Whether the request went out: what came of it only reading back can tell.
bool was_sent(const Result<Ack> & written)
{
  if (written.ok()) {
    return true;
  }
  switch (written.error().code) {
    case Errc::timeout:
    case Errc::bad_checksum:
    case Errc::wrong_id:
    case Errc::wrong_length:
    case Errc::duplicate_reply:
      return true;
    default:
      return false;
  }
}

/// Writes one value and reads it back. Moves `id` along when it is the id that changes.
Result<void> store(Bus & bus, std::uint8_t & id, const RegisterValue & wanted)
{
  const bool renames = is(wanted.reg, registers::id);
  if (renames) {
    const Result<void> free = check_free(bus, id, wanted.value);
    if (!free.ok()) {
      return free;
    }
  }
  const Result<Ack> written = bus.write(id, wanted.reg, wanted.value);
  // The acknowledgement of a new id may come from either id, that of a new baud rate at either
  // rate, so only reading back settles it.
  const bool moves = renames || is(wanted.reg, registers::baud_rate);
  if (!(moves ? was_sent(written) : written.ok())) {
    return written.error();
  }
  if (!renames && moves) {
    return {};
  }
  const std::uint8_t reader = renames ? static_cast<std::uint8_t>(wanted.value) : id;
  const Result<Reading> stored = bus.read(reader, wanted.reg);
  if (!stored.ok()) {
    return written.ok() ? stored.error() : written.error();
  }
  id = reader;
  if (stored.value().value != wanted.value) {
    Error error;
    error.code = Errc::not_stored;
    error.servo = id;
    error.address = wanted.reg.address;
    error.value = stored.value().value;
    return error;
  }
  return {};
}

}  // namespace

Result<void> write_eeprom(
  Bus & bus, std::uint8_t id, const RegisterValue * values, std::size_t count)
{
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (is(values[i].reg, registers::baud_rate)) {
      Error error;
      error.code = Errc::invalid_argument;
      error.servo = id;
      error.value = static_cast<int>(i);
      return error;
    }
  }
  bool relock = true;
  Result<void> result;
  const Result<Ack> unlocked = bus.write(id, registers::lock, 0);
  if (!unlocked.ok()) {
    result = unlocked.error();
  }
  for (std::size_t i = 0; result.ok() && i < count; ++i) {
    result = store(bus, id, values[i]);
    relock = !(result.ok() && is(values[i].reg, registers::baud_rate));
  }
  if (relock) {
    // Also after a failed unlock: the servo may have obeyed and its acknowledgement got lost.
    const Result<Ack> locked = bus.write(id, registers::lock, 1);
    if (!locked.ok() && result.ok()) {
      result = locked.error();
    }
  }
  return result;
}

Result<void> write_eeprom(Bus & bus, std::uint8_t id, const Register & reg, int value)
{
  const RegisterValue wanted{reg, value};
  return write_eeprom(bus, id, &wanted, 1);
}

}  // namespace so100_hardware::feetech
