// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/bus.hpp"

#include <algorithm>

namespace so100_hardware::feetech
{
namespace
{

/// What belongs together may come in two frames of the USB adapter, 1 ms apart.
constexpr std::chrono::microseconds kUsbFrame{1200};

Error invalid(int servo, int address, int value)
{
  Error error;
  error.code = Errc::invalid_argument;
  error.servo = servo;
  error.address = address;
  error.value = value;
  return error;
}

/// A damaged or strange reply says more than none, and a second reply more than all.
void note(BlockReply & reply, Errc error, int value)
{
  if (reply.error == Errc::timeout || error == Errc::duplicate_reply) {
    reply.error = error;
    reply.value = value;
  }
}

/// A reply cut short is completed by the first bytes of the next one, and one time in 256 the
/// checksum fits by chance. Then a header, or the first half of one, lies inside.
bool may_hide_header(const Packet & packet)
{
  unsigned sum = packet.id + packet.size + 2U + packet.code;
  std::uint8_t previous = packet.code;
  bool header = false;
  for (std::size_t i = 0; i < packet.size; ++i) {
    header = header || (previous == 0xFF && packet.parameters[i] == 0xFF);
    previous = packet.parameters[i];
    sum += previous;
  }
  const bool checksum_is_header = (sum & 0xFFU) == 0;
  return header || checksum_is_header;
}

}  // namespace

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

Result<Ack> Bus::ping(std::uint8_t id)
{
  Request request;
  request.instruction = Instruction::ping;
  request.ids = &id;
  const Result<BlockReply> reply = exchange(request);
  if (!reply.ok()) {
    return reply.error();
  }
  return Ack{reply.value().status};
}

Result<BlockReply> Bus::read_block(std::uint8_t id, const Block & block)
{
  Request request;
  request.instruction = Instruction::read;
  request.ids = &id;
  request.block = block;
  return exchange(request);
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
  std::array<std::uint8_t, 3> parameters{reg.address};
  if (reg.read_only || !encode(reg, value, &parameters[1])) {
    return invalid(id, reg.address, value);
  }
  if (id == kBroadcastId) {
    const Result<void> sent = send(id, Instruction::write, parameters.data(), reg.size + 1U);
    if (!sent.ok()) {
      return sent.error();
    }
    return Ack{};
  }
  Request request;
  request.instruction = Instruction::write;
  request.ids = &id;
  request.block = Block{reg.address, reg.size};
  request.data = &parameters[1];
  request.extra = reg.eeprom ? options_.eeprom_time : std::chrono::microseconds(0);
  const Result<BlockReply> reply = exchange(request);
  if (!reply.ok()) {
    return reply.error();
  }
  return Ack{reply.value().status};
}

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
  if (count == 0 || count > kMaxSyncServos) {
    return invalid(-1, -1, static_cast<int>(count));
  }
  std::array<std::uint8_t, 2 + 3 * kMaxSyncServos> parameters{reg.address, reg.size};
  std::size_t size = 2;
  for (std::size_t i = 0; i < count; ++i) {
    if (ids[i] > kMaxServoId) {
      return invalid(ids[i], -1, ids[i]);
    }
    parameters[size] = ids[i];
    if (reg.read_only || !encode(reg, values[i], &parameters[size + 1])) {
      return invalid(ids[i], reg.address, values[i]);
    }
    size += reg.size + 1U;
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
  parser_.set_max_parameters(0);
  result = listen(
    transport_.now() + timeout(Request(), 1, 0), [this] { return in_.size(); },
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

// --- one exchange: a request, the wait for its replies, and the retries ---

Result<void> Bus::check(const Request & request)
{
  if (request.count == 0 || request.count > kMaxSyncServos) {
    return invalid(-1, -1, static_cast<int>(request.count));
  }
  if (request.block.size > kMaxBlock || request.block.address + request.block.size > 256) {
    return invalid(-1, -1, request.block.size);
  }
  for (std::size_t i = 0; i < request.count; ++i) {
    const std::uint8_t * end = request.ids + i;
    if (request.ids[i] > kMaxServoId || std::find(request.ids, end, request.ids[i]) != end) {
      return invalid(request.ids[i], -1, request.ids[i]);
    }
  }
  return {};
}

Result<std::size_t> Bus::exchange(const Request & request, BlockReply * replies)
{
  Result<void> result = check(request);
  if (result.ok() && !request.reads()) {
    // An acknowledgement is always empty, so a late one could not be told from the right one.
    result = drain(late_.settled(request.ids[0], 0));
  }
  if (!result.ok()) {
    return result.error();
  }
  for (std::size_t i = 0; i < request.count; ++i) {
    replies[i].error = Errc::timeout;
  }
  const TimePoint end = transport_.now() + options_.budget + request.extra * options_.retries;
  Pending pending(request, replies);
  for (int retry = 0; pending.count > 0; ++retry) {
    if (retry > 0) {
      const auto time = timeout(request, pending.count, LateReplies::kMaxPadding);
      if (retry > options_.retries || transport_.now() + time > end) {
        break;
      }
      for (std::size_t i = 0; i < pending.count; ++i) {
        ++servos_[pending.ids[i]].retries;
      }
    }
    result = attempt(request, pending);
    if (!result.ok()) {
      break;
    }
    pending = Pending(request, replies);
  }
  const std::size_t good = count_call(request, replies);
  if (!result.ok()) {
    return result.error();
  }
  return good;
}

Result<BlockReply> Bus::exchange(const Request & request)
{
  BlockReply reply;
  const Result<std::size_t> good = exchange(request, &reply);
  if (!good.ok()) {
    return good.error();
  }
  if (!reply.ok()) {
    return reply.to_error(request.ids[0], request.block);
  }
  return reply;
}

Result<void> Bus::attempt(const Request & request, const Pending & pending)
{
  const std::size_t length = request.length();
  const std::size_t padding =
    request.reads() ? late_.padding(pending.ids.data(), pending.count, length, transport_.now())
                    : 0;
  for (std::size_t i = 0; i < pending.count; ++i) {
    pending.replies[i]->error = Errc::timeout;
    pending.replies[i]->value = 0;
  }
  const Result<void> sent = send_attempt(request, pending, padding);
  if (!sent.ok()) {
    return sent.error();
  }
  ++totals_.exchanges;
  const TimePoint deadline = transport_.now() + timeout(request, pending.count, padding);
  // Late replies may be up to kMaxPadding longer; reading them whole keeps them from looking
  // like noise.
  parser_.set_max_parameters(length + LateReplies::kMaxPadding);
  Result<void> received = listen(
    deadline,
    [&] {
      const std::size_t missing = pending.open() * (length + padding + kFrameOverhead);
      return missing == 0 ? 0 : missing > parser_.pending() ? missing - parser_.pending() : 1;
    },
    [&](const Packet & packet) { accept(request, padding, packet, pending); },
    [&](bool damaged) { note_garbage(pending, damaged); });
  if (received.ok() && doubtful_ != nullptr && transport_.now() < late_.settled()) {
    // A late reply may have completed the last one; then the rest of it is about to come.
    received = listen(
      std::min(deadline, transport_.now() + kUsbFrame),
      [&] { return doubtful_ == nullptr || parser_.pending() > 1 ? 0 : 2 - parser_.pending(); },
      [&](const Packet & packet) { accept(request, padding, packet, pending); },
      [&](bool damaged) { note_garbage(pending, damaged); });
  }
  doubtful_ = nullptr;
  count_attempt(pending, length + padding, deadline);
  return received;
}

Result<void> Bus::send_attempt(
  const Request & request, const Pending & pending, std::size_t padding)
{
  std::array<std::uint8_t, kMaxParameters> parameters{};
  std::size_t size = 0;
  if (request.reads()) {
    parameters[0] = request.address(padding);
    parameters[1] = static_cast<std::uint8_t>(request.block.size + padding);
    size = 2;
  } else if (request.data != nullptr) {
    parameters[0] = request.block.address;
    std::copy_n(request.data, request.block.size, parameters.begin() + 1);
    size = request.block.size + 1U;
  }
  std::uint8_t target = request.ids[0];
  if (request.instruction == Instruction::sync_read) {
    std::copy_n(pending.ids.begin(), pending.count, parameters.begin() + 2);
    size += pending.count;
    target = kBroadcastId;
  }
  return send(target, request.instruction, parameters.data(), size);
}

Result<void> Bus::send(
  std::uint8_t id, Instruction instruction, const std::uint8_t * parameters, std::size_t size)
{
  const std::size_t bytes =
    encode(id, static_cast<std::uint8_t>(instruction), parameters, size, out_.data(), out_.size());
  if (bytes == 0) {
    return invalid(id, -1, static_cast<int>(size));
  }
  const std::size_t late = transport_.flush_input();
  totals_.late_bytes += late;
  totals_.flushed_bytes += late + parser_.pending();
  parser_.clear();
  return transport_.write(out_.data(), bytes);
}

std::chrono::microseconds Bus::wire_time(std::size_t bytes) const
{
  // 8N1: ten bits a byte.
  const auto bits = static_cast<std::int64_t>(bytes) * 10;
  return std::chrono::microseconds(bits * 1000000 / std::max(options_.baud, 1) + 1);
}

std::chrono::microseconds Bus::timeout(
  const Request & request, std::size_t count, std::size_t padding) const
{
  const std::size_t length = request.length() + padding;
  const std::size_t sent = kFrameOverhead + 2 + (request.reads() ? count : request.block.size);
  return wire_time(sent + count * (length + kFrameOverhead)) +
         options_.return_delay * static_cast<int>(count) + options_.margin + request.extra;
}

// --- which reply belongs to whom, which one is believed, and what is counted ---

std::uint8_t Bus::Request::address(std::size_t padding) const
{
  // Padding goes before the block: the bytes there exist, behind the last register they may not.
  return block.address >= padding ? static_cast<std::uint8_t>(block.address - padding)
                                  : block.address;
}

Bus::Pending::Pending(const Request & request, BlockReply * all)
{
  for (std::size_t i = 0; i < request.count; ++i) {
    if (!all[i].ok()) {
      ids[count] = request.ids[i];
      replies[count] = &all[i];
      ++count;
    }
  }
}

BlockReply * Bus::Pending::find(std::uint8_t id) const
{
  for (std::size_t i = 0; i < count; ++i) {
    if (ids[i] == id) {
      return replies[i];
    }
  }
  return nullptr;
}

std::size_t Bus::Pending::open() const
{
  return static_cast<std::size_t>(
    std::count_if(replies.begin(), replies.begin() + count, [](const BlockReply * reply) {
      return !reply->ok() && reply->error != Errc::duplicate_reply;
    }));
}

void Bus::accept(
  const Request & request, std::size_t padding, const Packet & packet, const Pending & pending)
{
  const std::size_t length = request.length() + padding;
  BlockReply * reply = pending.find(packet.id);
  doubtful_ = nullptr;
  if (reply != nullptr && packet.size == length) {
    if (reply->ok() || reply->error == Errc::duplicate_reply) {
      // Which of them is the servo's own cannot be told.
      note(*reply, Errc::duplicate_reply, 0);
      return;
    }
    const std::size_t offset = request.block.address - request.address(padding);
    std::copy_n(packet.parameters.begin() + offset, request.length(), reply->data.begin());
    reply->status = packet.code;
    reply->error = Errc::ok;
    doubtful_ = may_hide_header(packet) ? reply : nullptr;
    return;
  }
  if (packet.id <= kMaxServoId && late_.owed(packet.id, packet.size, transport_.now())) {
    ++servos_[packet.id].late;
  } else if (reply != nullptr) {
    note(*reply, Errc::wrong_length, packet.size);
  } else {
    ++totals_.unexpected_replies;
    if (pending.count == 1) {
      note(*pending.replies[0], Errc::wrong_id, packet.id);
    }
  }
}

void Bus::note_garbage(const Pending & pending, bool damaged)
{
  if (doubtful_ != nullptr) {
    // What follows it is no packet: it has swallowed the head of one.
    doubtful_->error = Errc::bad_checksum;
    doubtful_ = nullptr;
  }
  // The id byte may be the damaged one; with one servo asked there is no doubt who sent it.
  BlockReply * reply =
    pending.count == 1 ? pending.replies[0] : pending.find(parser_.last_bad_id());
  if (damaged && reply != nullptr) {
    note(*reply, Errc::bad_checksum, 0);
  }
}

void Bus::count_attempt(const Pending & pending, std::size_t length, TimePoint deadline)
{
  for (std::size_t i = 0; i < pending.count; ++i) {
    ServoStatistics & servo = servos_[pending.ids[i]];
    ++servo.requests;
    switch (pending.replies[i]->error) {
      case Errc::ok:
        continue;
      case Errc::duplicate_reply:
        ++servo.duplicates;
        continue;
      case Errc::bad_checksum:
        ++servo.checksum_errors;
        break;
      case Errc::wrong_id:
        ++servo.wrong_id;
        break;
      case Errc::wrong_length:
        ++servo.wrong_length;
        break;
      default:
        ++servo.timeouts;
        break;
    }
    // Also after a damaged reply: it may have been someone else's.
    late_.missed(pending.ids[i], length, deadline);
  }
}

std::size_t Bus::count_call(const Request & request, const BlockReply * replies)
{
  std::size_t good = 0;
  for (std::size_t i = 0; i < request.count; ++i) {
    ServoStatistics & servo = servos_[request.ids[i]];
    if (replies[i].ok()) {
      ++good;
      servo.consecutive_misses = 0;
      servo.last_status = replies[i].status;
    } else {
      ++servo.failures;
      ++servo.consecutive_misses;
    }
  }
  return good;
}

// --- the state of several servos ---

ServoState to_state(const BlockReply & reply)
{
  ServoState state;
  std::copy_n(reply.data.begin(), state.bytes.size(), state.bytes.begin());
  state.bytes[registers::status.address - kStateBlock.address] |= reply.status;
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
      states[i] = to_state(replies[i]);
    }
    if (errors != nullptr) {
      errors[i] = replies[i].to_error(ids[i], kStateBlock);
    }
  }
  return good;
}

}  // namespace so100_hardware::feetech
