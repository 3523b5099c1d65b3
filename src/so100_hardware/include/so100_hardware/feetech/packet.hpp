// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace so100_hardware::feetech
{

/// Requests to this id are obeyed by every servo; only ping is answered.
constexpr std::uint8_t kBroadcastId = 0xFE;
/// Highest id that one servo can have.
constexpr std::uint8_t kMaxServoId = 0xFD;
/// LEN is one byte and counts code and checksum, so 253 bytes are left.
constexpr std::size_t kMaxParameters = 253;
/// FF FF ID LEN CODE … CHK
constexpr std::size_t kFrameOverhead = 6;
constexpr std::size_t kMaxFrame = kMaxParameters + kFrameOverhead;

/// Instructions of the STS series (protocol 0).
enum class Instruction : std::uint8_t {
  ping = 0x01,
  read = 0x02,
  write = 0x03,
  reg_write = 0x04,
  action = 0x05,
  reset = 0x06,
  sync_read = 0x82,
  sync_write = 0x83,
};

/// A request or a reply without its frame.
struct Packet
{
  std::uint8_t id = 0;
  std::uint8_t code = 0;  ///< instruction of a request, error bits of a reply
  std::array<std::uint8_t, kMaxParameters> parameters{};  ///< the first `size` are valid
  std::uint8_t size = 0;
};

/// Inverted sum over ID, LEN, code and parameters.
std::uint8_t checksum(const std::uint8_t * bytes, std::size_t size);

/// Writes `FF FF ID LEN CODE parameters CHK` to `out`.
/// Returns the number of bytes, 0 if it does not fit `capacity` or one packet, or id is 0xFF.
std::size_t encode(
  std::uint8_t id, std::uint8_t code, const std::uint8_t * parameters, std::size_t size,
  std::uint8_t * out, std::size_t capacity);

/// Finds packets in a byte stream, whatever way it is cut into pieces.
///
/// A candidate (`FF FF`, id below FF, LEN at least 2) whose checksum is wrong costs one byte:
/// the search goes on right behind its first FF, so a damaged frame never hides the next one.
/// Memory is fixed.
class PacketParser
{
public:
  /// Unparsed bytes it can hold.
  static constexpr std::size_t kCapacity = 1024;

  /// Takes bytes. If they do not fit beside those not yet parsed, the oldest are lost and
  /// counted in skipped_bytes(): call next() until it returns false between feeds, and feed at
  /// most kCapacity - kMaxFrame bytes at once.
  void feed(const std::uint8_t * bytes, std::size_t size);

  /// Moves on to the next whole packet. Returns false when more bytes are needed.
  bool next(Packet & packet);

  /// Forgets the bytes not yet parsed; the counters stay.
  void clear();

  /// Frames with more parameters are taken for noise at once. Who knows what it waits for sets
  /// this: else a damaged LEN makes it wait for up to 255 bytes that never come.
  void set_max_parameters(std::size_t count);

  /// Candidates rejected for their checksum.
  std::uint64_t bad_checksums() const { return bad_checksums_; }
  /// Id byte of the last candidate so rejected: a hint only, the byte may be the damaged one.
  std::uint8_t last_bad_id() const { return last_bad_id_; }
  /// Bytes that belonged to no packet.
  std::uint64_t skipped_bytes() const { return skipped_bytes_; }
  /// Bytes held that may still become a packet.
  std::size_t pending() const { return end_ - begin_; }

private:
  void skip();

  std::array<std::uint8_t, kCapacity> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t max_parameters_ = kMaxParameters;
  std::uint64_t bad_checksums_ = 0;
  std::uint64_t skipped_bytes_ = 0;
  std::uint8_t last_bad_id_ = 0xFF;
};

}  // namespace so100_hardware::feetech
