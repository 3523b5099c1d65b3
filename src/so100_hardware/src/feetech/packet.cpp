// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/packet.hpp"

#include <algorithm>
#include <cstring>

namespace so100_hardware::feetech
{
namespace
{
constexpr std::uint8_t kHeader = 0xFF;
}  // namespace

std::uint8_t checksum(const std::uint8_t * bytes, std::size_t size)
{
  unsigned sum = 0;
  for (std::size_t i = 0; i < size; ++i) {
    sum += bytes[i];
  }
  return static_cast<std::uint8_t>(~sum & 0xFFU);
}

std::size_t encode(
  std::uint8_t id, std::uint8_t code, const std::uint8_t * parameters, std::size_t size,
  std::uint8_t * out, std::size_t capacity)
{
  if (size > kMaxParameters || size + kFrameOverhead > capacity || id == kHeader) {
    return 0;
  }
  out[0] = kHeader;
  out[1] = kHeader;
  out[2] = id;
  out[3] = static_cast<std::uint8_t>(size + 2);
  out[4] = code;
  if (size > 0) {
    std::memcpy(out + 5, parameters, size);
  }
  out[5 + size] = checksum(out + 2, size + 3);
  return size + kFrameOverhead;
}

void PacketParser::feed(const std::uint8_t * bytes, std::size_t size)
{
  if (size == 0) {
    return;
  }
  if (size > kCapacity) {
    skipped_bytes_ += size - kCapacity;
    bytes += size - kCapacity;
    size = kCapacity;
  }
  if (pending() + size > kCapacity) {
    const std::size_t lost = pending() + size - kCapacity;
    skipped_bytes_ += lost;
    begin_ += lost;
  }
  if (end_ + size > kCapacity) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, pending());
    end_ -= begin_;
    begin_ = 0;
  }
  std::memcpy(buffer_.data() + end_, bytes, size);
  end_ += size;
}

bool PacketParser::next(Packet & packet)
{
  while (pending() > 0) {
    const std::uint8_t * frame = buffer_.data() + begin_;
    const std::size_t available = pending();
    // Each byte is judged as soon as it is there, so noise is dropped without waiting for more.
    if (
      frame[0] != kHeader || (available > 1 && frame[1] != kHeader) ||
      (available > 2 && frame[2] == kHeader) ||
      (available > 3 && (frame[3] < 2 || frame[3] > max_parameters_ + 2))) {
      skip();
      continue;
    }
    if (available < kFrameOverhead) {
      return false;
    }
    const std::size_t size = frame[3] - 2U;
    if (available < size + kFrameOverhead) {
      return false;
    }
    if (checksum(frame + 2, size + 3) != frame[5 + size]) {
      ++bad_checksums_;
      last_bad_id_ = frame[2];
      skip();
      continue;
    }
    packet.id = frame[2];
    packet.code = frame[4];
    packet.size = static_cast<std::uint8_t>(size);
    std::memcpy(packet.parameters.data(), frame + 5, size);
    begin_ += size + kFrameOverhead;
    return true;
  }
  begin_ = end_ = 0;
  return false;
}

void PacketParser::clear() { begin_ = end_ = 0; }

void PacketParser::set_max_parameters(std::size_t count)
{
  max_parameters_ = std::min(count, kMaxParameters);
}

void PacketParser::skip()
{
  ++begin_;
  ++skipped_bytes_;
}

}  // namespace so100_hardware::feetech
