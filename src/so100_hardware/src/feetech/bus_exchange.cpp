// SPDX-License-Identifier: Apache-2.0
// One exchange: a request, the wait for its replies, and the retries.
#include <algorithm>

#include "bus_listen.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{
namespace
{

/// What belongs together may come in two frames of the USB adapter, 1 ms apart.
constexpr std::chrono::microseconds kUsbFrame{1200};

Error invalid(int servo, int value)
{
  Error error;
  error.code = Errc::invalid_argument;
  error.servo = servo;
  error.value = value;
  return error;
}

}  // namespace

Result<void> Bus::check(const Request & request)
{
  if (request.count == 0 || request.count > kMaxSyncServos) {
    return invalid(-1, static_cast<int>(request.count));
  }
  if (request.block.size > kMaxBlock || request.block.address + request.block.size > 256) {
    return invalid(-1, request.block.size);
  }
  for (std::size_t i = 0; i < request.count; ++i) {
    const std::uint8_t * end = request.ids + i;
    if (request.ids[i] > kMaxServoId || std::find(request.ids, end, request.ids[i]) != end) {
      return invalid(request.ids[i], request.ids[i]);
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
  Result<void> heard = listen(
    deadline,
    [&] {
      const std::size_t missing = pending.open() * (length + padding + kFrameOverhead);
      return missing == 0 ? 0 : missing > parser_.pending() ? missing - parser_.pending() : 1;
    },
    [&](const Packet & packet) { accept(request, padding, packet, pending); },
    [&](bool damaged) { note_garbage(pending, damaged); });
  if (heard.ok() && doubtful_ != nullptr && transport_.now() < late_.settled()) {
    // A late reply may have completed the last one; then the rest of it is about to come.
    heard = listen(
      std::min(deadline, transport_.now() + kUsbFrame),
      [&] { return doubtful_ == nullptr || parser_.pending() > 1 ? 0 : 2 - parser_.pending(); },
      [&](const Packet & packet) { accept(request, padding, packet, pending); },
      [&](bool damaged) { note_garbage(pending, damaged); });
  }
  doubtful_ = nullptr;
  count_attempt(pending, length + padding, deadline);
  return heard;
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
    return invalid(id, static_cast<int>(size));
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

}  // namespace so100_hardware::feetech
