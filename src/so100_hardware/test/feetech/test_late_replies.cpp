// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "so100_hardware/feetech/late_replies.hpp"

namespace so100_hardware::feetech
{
namespace
{

using std::chrono::milliseconds;

const TimePoint kStart{std::chrono::hours(1)};
const std::uint8_t kIds[] = {1, 2, 3};

TEST(LateReplies, HealthyBusReadsWhatIsWanted)
{
  LateReplies late{milliseconds(50)};
  EXPECT_EQ(late.padding(kIds, 3, 15, kStart), 0U);
  EXPECT_FALSE(late.owed(1, 15, kStart));
}

TEST(LateReplies, AvoidsLengthsThatAreOwed)
{
  LateReplies late{milliseconds(50)};
  late.missed(2, 15, kStart);
  EXPECT_TRUE(late.owed(2, 15, kStart + milliseconds(49)));
  EXPECT_FALSE(late.owed(1, 15, kStart));
  EXPECT_EQ(late.padding(kIds, 3, 15, kStart), 1U);
  EXPECT_EQ(late.padding(kIds, 1, 15, kStart), 0U) << "servo 1 owes nothing";
  EXPECT_EQ(late.padding(kIds, 3, 14, kStart), 0U) << "14 bytes are not owed";
  late.missed(3, 16, kStart + milliseconds(1));
  EXPECT_EQ(late.padding(kIds, 3, 15, kStart + milliseconds(1)), 2U);
}

TEST(LateReplies, ForgetsAfterTheWindow)
{
  LateReplies late{milliseconds(50)};
  late.missed(2, 15, kStart);
  EXPECT_EQ(late.settled(2, 15), kStart + milliseconds(50));
  EXPECT_EQ(late.settled(), kStart + milliseconds(50));
  EXPECT_EQ(late.padding(kIds, 3, 15, kStart + milliseconds(50)), 0U);
}

TEST(LateReplies, TakesTheOldestWhenAllAreOwed)
{
  LateReplies late{milliseconds(50)};
  for (int i = 0; i < 8; ++i) {
    late.missed(1, static_cast<std::size_t>(15 + (i + 2) % 8), kStart + milliseconds(i));
  }
  EXPECT_EQ(late.padding(kIds, 3, 15, kStart + milliseconds(8)), 2U);
}

TEST(LateReplies, IgnoresIdsThatNoServoHas)
{
  LateReplies late{milliseconds(50)};
  late.missed(0xFE, 15, kStart);
  late.missed(0xFF, 15, kStart);
  EXPECT_FALSE(late.owed(0xFE, 15, kStart));
}

}  // namespace
}  // namespace so100_hardware::feetech
