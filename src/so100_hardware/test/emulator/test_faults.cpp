// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bitset>
#include <vector>

#include "emulated_bus.hpp"

namespace so100_hardware::emulator
{
namespace
{
using Bytes = std::vector<std::uint8_t>;

const Bytes kFrame{0xFF, 0xFF, 0x03, 0x04, 0x00, 0x12, 0x34, 0xB2};

int flipped_bits(const Bytes & one, const Bytes & other)
{
  int count = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    count += static_cast<int>(std::bitset<8>(one[i] ^ other[i]).count());
  }
  return count;
}

/// How often in `n` times the frame came out changed or not at all.
int damaged(Faults & faults, int n)
{
  int count = 0;
  for (int i = 0; i < n; ++i) {
    Bytes frame = kFrame;
    faults.apply(0, frame);
    count += frame != kFrame ? 1 : 0;
  }
  return count;
}

TEST(Faults, DropComesAtItsRateAndIsCounted)
{
  Faults faults(1);
  EXPECT_EQ(damaged(faults, 1000), 0);
  faults.clear_counts();
  faults.rates(0).drop = 0.1;
  const int count = damaged(faults, 10000);
  EXPECT_NEAR(count, 1000, 120);
  EXPECT_EQ(faults.counts(0).dropped, static_cast<std::uint64_t>(count));
  EXPECT_EQ(faults.counts(0).replies, static_cast<std::uint64_t>(10000 - count));
}

TEST(Faults, CorruptFlipsExactlyOneBitAnywhere)
{
  Faults faults(1);
  faults.rates(0).corrupt = 1.0;
  std::vector<bool> hit(kFrame.size());
  for (int i = 0; i < 1000; ++i) {
    Bytes frame = kFrame;
    faults.apply(0, frame);
    ASSERT_EQ(frame.size(), kFrame.size());
    ASSERT_EQ(flipped_bits(frame, kFrame), 1);
    for (std::size_t k = 0; k < frame.size(); ++k) {
      hit[k] = hit[k] || frame[k] != kFrame[k];
    }
  }
  EXPECT_EQ(hit, std::vector<bool>(kFrame.size(), true));
  EXPECT_EQ(faults.counts(0).corrupted, 1000U);
}

TEST(Faults, SameSeedGivesTheSameFaults)
{
  const auto story = [](std::uint32_t seed, double corrupt) {
    Faults faults(1);
    faults.seed(seed);
    faults.rates(0).drop = 0.3;
    faults.rates(0).corrupt = corrupt;
    std::vector<bool> dropped;
    for (int i = 0; i < 200; ++i) {
      Bytes frame = kFrame;
      faults.apply(0, frame);
      dropped.push_back(frame.empty());
    }
    return dropped;
  };
  EXPECT_EQ(story(7, 0.0), story(7, 0.0));
  EXPECT_NE(story(7, 0.0), story(8, 0.0));
  EXPECT_EQ(story(7, 0.0), story(7, 1.0));  // another fault does not move the drops
}

TEST(Faults, CollisionIsWhatALineGivesOnWhichLowWins)
{
  EXPECT_EQ(
    Faults::collide({0xFF, 0xF0, 0x0F}, {0xFF, 0x33, 0x55}, 1), (Bytes{0xFF, 0xF0, 0x03, 0x55}));
  EXPECT_EQ(Faults::collide({0x01}, {0x02}, 3), (Bytes{0x01, 0xFF, 0xFF, 0x02}));
}

}  // namespace
}  // namespace so100_hardware::emulator
