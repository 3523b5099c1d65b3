// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/bus.hpp"

#include <algorithm>

#include "bus_listen.hpp"

namespace so100_hardware::feetech
{
namespace
{

Error invalid(int servo, int address, int value)
{
  Error error;
  error.code = Errc::invalid_argument;
  error.servo = servo;
  error.address = address;
  error.value = value;
  return error;
}

/// The register's bytes for `value`, or why it cannot be written.
Result<std::array<std::uint8_t, 2>> bytes_of(int servo, const Register & reg, int value)
{
  std::array<std::uint8_t, 2> bytes{};
  if (reg.read_only || !encode(reg, value, bytes.data())) {
    return invalid(servo, reg.address, value);
  }
  return bytes;
}

}  // namespace

Error BlockReply::to_error(std::uint8_t id, const Block & block) const
{
  Error result;
  result.code = error;
  result.servo = id;
  result.address = block.size > 0 ? block.address : -1;
  result.value = value;
  return result;
}

Bus::Bus(Transport & transport, const BusOptions & options)
: transport_(transport), options_(options), late_(options.late_window)
{
}

void Bus::set_options(const BusOptions & options)
{
  options_ = options;
  late_.set_window(options.late_window);
}

void Bus::reset_statistics()
{
  servos_ = {};
  totals_ = {};
}

Result<Ack> Bus::ping(std::uint8_t id)
{
  Request request;
  request.instruction = Instruction::ping;
  request.ids = &id;
  request.count = 1;
  BlockReply reply;
  const Result<std::size_t> good = exchange(request, &reply);
  if (!good.ok()) {
    return good.error();
  }
  if (!reply.ok()) {
    return reply.to_error(id, request.block);
  }
  return Ack{reply.status};
}

Result<BlockReply> Bus::read_block(std::uint8_t id, const Block & block)
{
  Request request;
  request.instruction = Instruction::read;
  request.ids = &id;
  request.count = 1;
  request.block = block;
  BlockReply reply;
  const Result<std::size_t> good = exchange(request, &reply);
  if (!good.ok()) {
    return good.error();
  }
  if (!reply.ok()) {
    return reply.to_error(id, block);
  }
  return reply;
}

Result<Reading> Bus::read(std::uint8_t id, const Register & reg)
{
  const Result<BlockReply> reply = read_block(id, Block{reg.address, reg.size});
  if (!reply.ok()) {
    return reply.error();
  }
  return Reading{decode(reg, reply.value().data.data()), reply.value().status};
}

Result<Ack> Bus::write(std::uint8_t id, const Register & reg, int value)
{
  return write_with(Instruction::write, id, reg, value);
}

Result<Ack> Bus::reg_write(std::uint8_t id, const Register & reg, int value)
{
  return write_with(Instruction::reg_write, id, reg, value);
}

Result<Ack> Bus::write_with(
  Instruction instruction, std::uint8_t id, const Register & reg, int value)
{
  const Result<std::array<std::uint8_t, 2>> bytes = bytes_of(id, reg, value);
  if (!bytes.ok()) {
    return bytes.error();
  }
  if (id == kBroadcastId) {
    const std::array<std::uint8_t, 3> parameters{reg.address, bytes.value()[0], bytes.value()[1]};
    const Result<void> sent = send(id, instruction, parameters.data(), reg.size + 1U);
    if (!sent.ok()) {
      return sent.error();
    }
    return Ack{};
  }
  Request request;
  request.instruction = instruction;
  request.ids = &id;
  request.count = 1;
  request.block = Block{reg.address, reg.size};
  request.data = bytes.value().data();
  request.extra = reg.eeprom ? options_.eeprom_time : std::chrono::microseconds(0);
  BlockReply reply;
  const Result<std::size_t> good = exchange(request, &reply);
  if (!good.ok()) {
    return good.error();
  }
  if (!reply.ok()) {
    return reply.to_error(id, request.block);
  }
  return Ack{reply.status};
}

Result<void> Bus::action() { return send(kBroadcastId, Instruction::action, nullptr, 0); }

Result<std::size_t> Bus::sync_read(
  const Block & block, const std::uint8_t * ids, std::size_t count, BlockReply * replies)
{
  Request request;
  request.instruction = Instruction::sync_read;
  request.ids = ids;
  request.count = count;
  request.block = block;
  return exchange(request, replies);
}

Result<void> Bus::sync_write(
  const Register & reg, const std::uint8_t * ids, const int * values, std::size_t count)
{
  std::array<std::uint8_t, 2 * kMaxSyncServos> data{};
  if (count > kMaxSyncServos) {
    return invalid(-1, -1, static_cast<int>(count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Result<std::array<std::uint8_t, 2>> bytes = bytes_of(ids[i], reg, values[i]);
    if (!bytes.ok()) {
      return bytes.error();
    }
    std::copy_n(bytes.value().begin(), reg.size, data.begin() + i * reg.size);
  }
  return sync_write(Block{reg.address, reg.size}, ids, data.data(), count);
}

Result<void> Bus::sync_write(
  const Block & block, const std::uint8_t * ids, const std::uint8_t * data, std::size_t count)
{
  const std::size_t size = 2 + count * (block.size + 1U);
  if (count == 0 || block.size == 0 || size > kMaxParameters) {
    return invalid(-1, -1, static_cast<int>(size));
  }
  std::array<std::uint8_t, kMaxParameters> parameters{};
  parameters[0] = block.address;
  parameters[1] = block.size;
  auto place = parameters.begin() + 2;
  for (std::size_t i = 0; i < count; ++i) {
    if (ids[i] > kMaxServoId) {
      return invalid(ids[i], -1, ids[i]);
    }
    *place++ = ids[i];
    place = std::copy_n(data + i * block.size, block.size, place);
  }
  return send(kBroadcastId, Instruction::sync_write, parameters.data(), size);
}

Result<FoundServos> Bus::broadcast_ping(std::chrono::milliseconds timeout)
{
  Result<void> result = drain(late_.settled());
  if (result.ok()) {
    result = send(kBroadcastId, Instruction::ping, nullptr, 0);
  }
  if (!result.ok()) {
    return result.error();
  }
  ++totals_.exchanges;
  FoundServos found;
  parser_.set_max_parameters(0);
  const std::uint64_t skipped = parser_.skipped_bytes();
  result = listen(
    transport_.now() + timeout, [this] { return in_.size(); },
    [&](const Packet & packet) {
      auto place = std::lower_bound(
        found.servos.begin(), found.servos.end(), packet.id,
        [](const FoundServo & servo, std::uint8_t id) { return servo.id < id; });
      if (place == found.servos.end() || place->id != packet.id) {
        place = found.servos.insert(place, FoundServo{packet.id, packet.code, 0});
      }
      ++place->replies;
    },
    [&](bool damaged) { found.damaged += damaged ? 1 : 0; });
  if (!result.ok()) {
    return result.error();
  }
  // Answers on top of each other may have lost their headers, too; a stray byte is none of them.
  if (
    found.servos.empty() && found.damaged == 0 &&
    parser_.skipped_bytes() - skipped + parser_.pending() >= kFrameOverhead) {
    found.damaged = 1;
  }
  return found;
}

Result<void> Bus::check_unique(std::uint8_t id)
{
  const Result<Ack> first = ping(id);
  if (!first.ok() && first.error().code != Errc::bad_checksum) {
    return first.error();
  }
  // It is there, or several are; now the same without leaving at the first reply.
  int replies = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Result<int> counted = count_replies(id);
    if (!counted.ok()) {
      return counted.error();
    }
    replies = counted.value();
    if (replies == 1) {
      return {};
    }
  }
  Error error;
  error.code = replies == 0 ? Errc::timeout : Errc::duplicate_reply;
  error.servo = id;
  return error;
}

Result<int> Bus::count_replies(std::uint8_t id)
{
  Result<void> result = drain(late_.settled());
  if (result.ok()) {
    result = send(id, Instruction::ping, nullptr, 0);
  }
  if (!result.ok()) {
    return result.error();
  }
  ++totals_.exchanges;
  int replies = 0;
  Request request;
  request.count = 1;
  parser_.set_max_parameters(0);
  result = listen(
    transport_.now() + timeout(request, 1, 0), [this] { return in_.size(); },
    [&](const Packet & packet) { replies += packet.id == id ? 1 : 0; },
    [&](bool damaged) { replies += damaged ? 2 : 0; });
  if (!result.ok()) {
    return result.error();
  }
  return replies;
}

Result<void> Bus::drain(TimePoint until)
{
  while (transport_.now() < until) {
    const Result<std::size_t> received = transport_.read(in_.data(), in_.size(), until);
    if (!received.ok()) {
      return received.error();
    }
    totals_.flushed_bytes += received.value();
  }
  return {};
}

}  // namespace so100_hardware::feetech
