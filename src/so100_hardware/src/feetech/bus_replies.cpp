// SPDX-License-Identifier: Apache-2.0
// Which reply belongs to whom, which one is believed, and what is counted.
#include <algorithm>

#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{
namespace
{

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

}  // namespace so100_hardware::feetech
