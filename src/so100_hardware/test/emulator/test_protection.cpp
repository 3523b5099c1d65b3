// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "protection.hpp"
#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace bits = feetech::status_bits;

std::uint8_t run(Protection & protection, double seconds, const Measurements & now)
{
  for (int i = 0; i < static_cast<int>(seconds * 1000.0 + 0.5); ++i) {
    protection.step(0.001, now, ProtectionLimits{});
  }
  return protection.status();
}

TEST(Protection, IsQuietWhenAllIsWell)
{
  Protection protection;
  EXPECT_EQ(run(protection, 10.0, Measurements{}), 0);
}

TEST(Protection, VoltageIsReportedWhileItIsOutside)
{
  Protection protection;
  Measurements now;
  now.voltage = 5.9;
  EXPECT_EQ(run(protection, 0.001, now), bits::voltage);
  now.voltage = 14.1;
  EXPECT_EQ(run(protection, 0.001, now), bits::voltage);
  now.voltage = 6.0;
  EXPECT_EQ(run(protection, 0.001, now), 0);
  now.voltage = 14.0;
  EXPECT_EQ(run(protection, 0.001, now), 0);
}

TEST(Protection, HeatAndEncoderAreReportedWhileTheyLast)
{
  Protection protection;
  Measurements now;
  now.temperature = 71.0;
  now.encoder_fault = true;
  EXPECT_EQ(run(protection, 0.001, now), bits::overheat | bits::encoder);
  EXPECT_EQ(run(protection, 0.001, Measurements{}), 0);
}

TEST(Protection, OverloadLatchesAfterItsTimeOnly)
{
  Protection protection;
  Measurements now;
  now.strain = 0.8;
  EXPECT_EQ(run(protection, 1.9, now), 0);
  EXPECT_EQ(run(protection, 0.001, Measurements{}), 0);  // a pause starts the time anew
  EXPECT_EQ(run(protection, 1.9, now), 0);
  EXPECT_EQ(run(protection, 0.2, now), bits::overload);
  EXPECT_EQ(run(protection, 10.0, Measurements{}), bits::overload);
  protection.clear_latches();
  EXPECT_EQ(protection.status(), 0);
  EXPECT_EQ(run(protection, 1.9, now), 0);
}

TEST(Protection, OverCurrentLatchesAfterItsTimeOnly)
{
  Protection protection;
  Measurements now;
  now.current = 3.3;
  EXPECT_EQ(run(protection, 1.9, now), 0);
  EXPECT_EQ(run(protection, 0.2, now), bits::over_current);
  EXPECT_EQ(run(protection, 1.0, Measurements{}), bits::over_current);
  protection.clear_latches();
  EXPECT_EQ(protection.status(), 0);
}

TEST(Protection, ForcedOverloadLatchesAtOnce)
{
  Protection protection;
  protection.force_overload();
  EXPECT_EQ(protection.status(), bits::overload);
  EXPECT_EQ(run(protection, 1.0, Measurements{}), bits::overload);
}

}  // namespace
}  // namespace so100_hardware::emulator
