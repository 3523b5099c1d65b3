// SPDX-License-Identifier: Apache-2.0
// Random and mutated streams, cut anywhere, against a checker that shares no code with the parser.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "so100_hardware/feetech/packet.hpp"

namespace so100_hardware::feetech
{
namespace
{

constexpr int kStreams = 1200000;
constexpr std::size_t kMaxStream = 400;

/// xorshift64: fast, and the same everywhere.
struct Random
{
  std::uint64_t state = 0x9E3779B97F4A7C15U;
  std::uint64_t next()
  {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(next() % limit); }
};

struct Stream
{
  std::uint8_t bytes[kMaxStream];
  std::size_t size = 0;

  void add(std::uint64_t byte)
  {
    if (size < kMaxStream) {
      bytes[size++] = static_cast<std::uint8_t>(byte);
    }
  }
};

/// The protocol once more, plainly: a whole frame at `at`? Returns its size, 0 if there is none,
/// -1 if it could become one with more bytes.
int frame_at(const Stream & stream, std::size_t at)
{
  const std::uint8_t * p = stream.bytes + at;
  const std::size_t left = stream.size - at;
  if (p[0] != 0xFF) return 0;
  if (left < 2) return -1;
  if (p[1] != 0xFF) return 0;
  if (left < 3) return -1;
  if (p[2] == 0xFF) return 0;
  if (left < 4) return -1;
  if (p[3] < 2) return 0;
  const std::size_t total = 4U + p[3];
  if (left < total) return -1;
  std::uint8_t sum = 0;
  for (std::size_t i = 2; i < total; ++i) {
    sum = static_cast<std::uint8_t>(sum + p[i]);
  }
  return sum == 0xFF ? static_cast<int>(total) : 0;  // x + ~x is all ones
}

void add_frame(Stream & stream, Random & random)
{
  const std::size_t size = random.below(8) == 0 ? random.below(40) : random.below(17);
  const std::size_t begin = stream.size;
  std::uint8_t sum = 0;
  stream.add(0xFF);
  stream.add(0xFF);
  const auto body = [&](std::uint64_t byte) {
    stream.add(byte);
    sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
  };
  body(random.below(0xFF));
  body(size + 2);
  body(random.next());
  for (std::size_t i = 0; i < size; ++i) {
    body(random.below(4) == 0 ? 0xFF : random.next());
  }
  stream.add(static_cast<std::uint8_t>(~sum));
  if (random.below(3) != 0) {
    return;
  }
  const std::size_t place = begin + random.below(stream.size - begin);
  switch (random.below(4)) {
    case 0:  // a bit flips
      stream.bytes[place] ^= static_cast<std::uint8_t>(1U << random.below(8));
      break;
    case 1:  // a byte changes
      stream.bytes[place] = static_cast<std::uint8_t>(random.next());
      break;
    case 2:  // the rest is lost
      stream.size = place;
      break;
    default:  // one byte is lost
      std::memmove(stream.bytes + place, stream.bytes + place + 1, stream.size - place - 1);
      --stream.size;
      break;
  }
}

void make(Stream & stream, Random & random)
{
  stream.size = 0;
  const std::size_t parts = 1 + random.below(4);
  for (std::size_t part = 0; part < parts; ++part) {
    if (random.below(4) == 0) {
      const std::size_t noise = random.below(24);
      for (std::size_t i = 0; i < noise; ++i) {
        stream.add(random.below(3) == 0 ? 0xFF : random.next() >> random.below(64));
      }
    } else if (stream.size + 60 < kMaxStream) {
      add_frame(stream, random);
    }
  }
}

TEST(PacketFuzz, AcceptsExactlyTheValidFrames)
{
  Random random;
  Stream stream;
  Packet packet;
  std::uint64_t accepted = 0;
  std::uint64_t rejected = 0;
  PacketParser parser;
  for (int number = 0; number < kStreams; ++number) {
    make(stream, random);
    parser.clear();
    const std::uint64_t bad_before = parser.bad_checksums();
    std::size_t fed = 0;
    std::size_t at = 0;  // where the checker looks for the next frame
    while (fed < stream.size) {
      const std::size_t piece = 1 + random.below(std::min<std::size_t>(stream.size - fed, 64));
      parser.feed(stream.bytes + fed, piece);
      fed += piece;
      while (parser.next(packet)) {
        int total = 0;
        while (at < stream.size && (total = frame_at(stream, at)) == 0) {
          ++at;
        }
        ASSERT_GT(total, 0) << "accepted what is no frame, stream " << number;
        const std::uint8_t * expected = stream.bytes + at;
        ASSERT_EQ(packet.id, expected[2]) << number;
        ASSERT_EQ(packet.code, expected[4]) << number;
        ASSERT_EQ(packet.size + kFrameOverhead, static_cast<std::size_t>(total)) << number;
        ASSERT_EQ(std::memcmp(packet.parameters.data(), expected + 5, packet.size), 0) << number;
        at += static_cast<std::size_t>(total);
        ASSERT_LE(at, fed) << "accepted before all bytes were there, stream " << number;
        ++accepted;
      }
    }
    // No valid frame is left that the parser passed over.
    while (at < stream.size) {
      const int total = frame_at(stream, at);
      ASSERT_LE(total, 0) << "missed a frame, stream " << number;
      if (total < 0) {
        break;
      }
      ++at;
    }
    ASSERT_EQ(parser.pending(), stream.size - at) << number;
    rejected += parser.bad_checksums() - bad_before;
  }
  EXPECT_GT(accepted, static_cast<std::uint64_t>(kStreams));
  EXPECT_GT(rejected, static_cast<std::uint64_t>(kStreams) / 10);
  std::printf(
    "%d streams, %llu packets accepted, %llu damaged ones rejected\n", kStreams,
    static_cast<unsigned long long>(accepted), static_cast<unsigned long long>(rejected));
}

TEST(PacketFuzz, EveryEncodedPacketIsRead)
{
  Random random;
  PacketParser parser;
  Packet packet;
  std::uint8_t parameters[kMaxParameters];
  std::uint8_t bytes[kMaxFrame];
  for (int number = 0; number < 100000; ++number) {
    const std::size_t size = random.below(kMaxParameters + 1);
    const auto id = static_cast<std::uint8_t>(random.below(0xFF));
    for (std::size_t i = 0; i < size; ++i) {
      parameters[i] = static_cast<std::uint8_t>(random.next());
    }
    const std::size_t count = encode(id, 0x5A, parameters, size, bytes, sizeof bytes);
    ASSERT_EQ(count, size + kFrameOverhead);
    parser.feed(bytes, count);
    ASSERT_TRUE(parser.next(packet));
    ASSERT_EQ(packet.id, id);
    ASSERT_EQ(packet.size, size);
    ASSERT_EQ(std::memcmp(packet.parameters.data(), parameters, size), 0);
    ASSERT_FALSE(parser.next(packet));
  }
}

}  // namespace
}  // namespace so100_hardware::feetech
