// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "fake_transport.hpp"
#include "so100_hardware/feetech/packet.hpp"

namespace so100_hardware::feetech
{
namespace
{

constexpr auto kPing = static_cast<std::uint8_t>(Instruction::ping);
constexpr auto kRead = static_cast<std::uint8_t>(Instruction::read);
constexpr auto kSyncRead = static_cast<std::uint8_t>(Instruction::sync_read);
constexpr auto kSyncWrite = static_cast<std::uint8_t>(Instruction::sync_write);

std::vector<Packet> parse(PacketParser & parser, const Bytes & bytes)
{
  std::vector<Packet> packets;
  Packet packet;
  parser.feed(bytes.data(), bytes.size());
  while (parser.next(packet)) {
    packets.push_back(packet);
  }
  return packets;
}

Bytes operator+(Bytes a, const Bytes & b)
{
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Bytes worked out by hand from the protocol: CHK = ~(ID + LEN + INST + parameters).
TEST(Encode, KnownFrames)
{
  EXPECT_EQ(frame(1, kPing), (Bytes{0xFF, 0xFF, 0x01, 0x02, 0x01, 0xFB}));
  EXPECT_EQ(frame(1, kRead, {0x38, 0x02}), (Bytes{0xFF, 0xFF, 0x01, 0x04, 0x02, 0x38, 0x02, 0xBE}));
  EXPECT_EQ(
    frame(kBroadcastId, kSyncRead, {56, 15, 1, 2, 3, 4, 5, 6}),
    (Bytes{0xFF, 0xFF, 0xFE, 0x0A, 0x82, 0x38, 0x0F, 1, 2, 3, 4, 5, 6, 0x19}));
  EXPECT_EQ(
    frame(kBroadcastId, kSyncWrite, {42, 2, 1, 0x00, 0x08, 2, 0xFF, 0x07}),
    (Bytes{0xFF, 0xFF, 0xFE, 0x0A, 0x83, 0x2A, 0x02, 1, 0x00, 0x08, 2, 0xFF, 0x07, 0x37}));
}

TEST(Encode, RefusesWhatDoesNotFit)
{
  const Bytes parameters(254, 1);
  Bytes out(600, 0xAA);
  EXPECT_EQ(encode(1, 2, parameters.data(), 254, out.data(), out.size()), 0U);
  EXPECT_EQ(encode(1, 2, parameters.data(), 253, out.data(), out.size()), 259U);
  EXPECT_EQ(encode(1, 2, parameters.data(), 4, out.data(), 9), 0U);
  EXPECT_EQ(encode(1, 2, parameters.data(), 4, out.data(), 10), 10U);
  EXPECT_EQ(encode(0xFF, 2, nullptr, 0, out.data(), out.size()), 0U);
}

TEST(Parser, ReadsAStatusReply)
{
  PacketParser parser;
  // Servo 1, overload, position 2048.
  const auto packets = parse(parser, {0xFF, 0xFF, 0x01, 0x04, 0x20, 0x00, 0x08, 0xD2});
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(packets[0].id, 1);
  EXPECT_EQ(packets[0].code, 0x20);
  ASSERT_EQ(packets[0].size, 2);
  EXPECT_EQ(packets[0].parameters[0], 0x00);
  EXPECT_EQ(packets[0].parameters[1], 0x08);
  EXPECT_EQ(parser.bad_checksums(), 0U);
  EXPECT_EQ(parser.skipped_bytes(), 0U);
}

TEST(Parser, LongestPacket)
{
  PacketParser parser;
  const auto packets = parse(parser, frame(7, 0, Bytes(253, 0xFF)));
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(packets[0].size, 253);
}

TEST(Parser, AnySplit)
{
  const Bytes stream = frame(1, 0, {1, 2}) + Bytes{0x55, 0xFF} + frame(2, 4, {3, 4, 5});
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    PacketParser parser;
    auto packets = parse(parser, Bytes(stream.begin(), stream.begin() + static_cast<long>(cut)));
    for (const Packet & packet :
         parse(parser, Bytes(stream.begin() + static_cast<long>(cut), stream.end()))) {
      packets.push_back(packet);
    }
    ASSERT_EQ(packets.size(), 2U) << "cut at " << cut;
    EXPECT_EQ(packets[0].id, 1);
    EXPECT_EQ(packets[1].id, 2);
    EXPECT_EQ(parser.skipped_bytes(), 2U);
  }
}

TEST(Parser, WrongChecksumIsNeverAccepted)
{
  const Bytes good = frame(3, 0, {0x10, 0x20});
  for (std::size_t place = 0; place < good.size(); ++place) {
    for (int value = 0; value < 256; ++value) {
      Bytes bad = good;
      bad[place] = static_cast<std::uint8_t>(value);
      PacketParser parser;
      EXPECT_EQ(parse(parser, bad).size(), bad == good ? 1U : 0U) << place << ' ' << value;
    }
  }
}

TEST(Parser, DamagedFrameDoesNotHideTheNext)
{
  const Bytes first = frame(1, 0, Bytes(15, 0x11));
  for (std::size_t place = 0; place < first.size(); ++place) {
    if (place == 3) {
      continue;  // a damaged LEN is its own test
    }
    Bytes stream = first;
    stream[place] ^= 0x40;
    PacketParser parser;
    const auto packets = parse(parser, stream + frame(2, 0, {9}));
    ASSERT_EQ(packets.size(), 1U) << "damaged byte " << place;
    EXPECT_EQ(packets[0].id, 2);
  }
}

TEST(Parser, TruncatedFrameDoesNotHideTheNext)
{
  const Bytes first = frame(1, 0, Bytes(15, 0x11));
  for (std::size_t size = 1; size < first.size(); ++size) {
    PacketParser parser;
    parser.set_max_parameters(15);  // else the next FF may pass for a long LEN
    const auto packets = parse(
      parser,
      Bytes(first.begin(), first.begin() + static_cast<long>(size)) + frame(2, 0, Bytes(15, 0x22)));
    ASSERT_EQ(packets.size(), 1U) << "cut to " << size;
    EXPECT_EQ(packets[0].id, 2);
  }
}

TEST(Parser, LengthLimitKeepsItFromWaiting)
{
  Bytes damaged = frame(1, 0, {1, 2});
  damaged[3] = 200;  // LEN
  PacketParser waits;
  EXPECT_TRUE(parse(waits, damaged + frame(2, 0, {1, 2})).empty());
  PacketParser parser;
  parser.set_max_parameters(2);
  const auto packets = parse(parser, damaged + frame(2, 0, {1, 2}));
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(packets[0].id, 2);
}

TEST(Parser, ExtraHeaderBytes)
{
  PacketParser parser;
  EXPECT_EQ(parse(parser, Bytes{0xFF, 0xFF, 0xFF} + frame(4, 0)).size(), 1U);
  EXPECT_EQ(parser.skipped_bytes(), 3U);
}

TEST(Parser, NamesTheDamagedServo)
{
  PacketParser parser;
  Bytes bad = frame(5, 0, {1});
  bad.back() ^= 1;
  parse(parser, bad);
  EXPECT_EQ(parser.bad_checksums(), 1U);
  EXPECT_EQ(parser.last_bad_id(), 5);
}

TEST(Parser, ClearForgetsHalfAPacket)
{
  PacketParser parser;
  const Bytes whole = frame(1, 0, {1, 2});
  parse(parser, Bytes(whole.begin(), whole.begin() + 5));
  EXPECT_EQ(parser.pending(), 5U);
  parser.clear();
  EXPECT_TRUE(parse(parser, Bytes(whole.begin() + 5, whole.end())).empty());
  EXPECT_EQ(parse(parser, whole).size(), 1U);
}

TEST(Parser, StreamLongerThanItsMemory)
{
  PacketParser parser;
  Bytes stream;
  for (int i = 0; i < 200; ++i) {
    stream = stream + frame(9, 0, Bytes(15, static_cast<std::uint8_t>(i)));
  }
  // Pieces that are no multiple of a frame, so that a part of one is always left over.
  std::size_t count = 0;
  for (std::size_t at = 0; at < stream.size(); at += 100) {
    const auto begin = stream.begin() + static_cast<long>(at);
    const auto end = stream.begin() + static_cast<long>(std::min(at + 100, stream.size()));
    for (const Packet & packet : parse(parser, Bytes(begin, end))) {
      ASSERT_EQ(packet.parameters[14], count++);
    }
  }
  EXPECT_EQ(count, 200U);
  EXPECT_EQ(parser.skipped_bytes(), 0U);
}

TEST(Parser, OverflowKeepsTheNewest)
{
  PacketParser parser;
  const Bytes noise(3000, 0x00);
  parser.feed(noise.data(), noise.size());
  const Bytes last = frame(6, 0, {1});
  EXPECT_EQ(parse(parser, last).size(), 1U);
  EXPECT_EQ(parser.skipped_bytes(), 3000U);
}

}  // namespace
}  // namespace so100_hardware::feetech
