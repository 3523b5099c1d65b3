// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "so100_hardware/feetech/result.hpp"

namespace so100_hardware::feetech
{
namespace
{

Error about(Errc code, int servo, int address = -1, int value = 0)
{
  Error error;
  error.code = code;
  error.servo = servo;
  error.address = address;
  error.value = value;
  return error;
}

TEST(Result, ValueOrError)
{
  const Result<int> good = 7;
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good.value(), 7);
  const Result<int> bad = about(Errc::timeout, 3);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, Errc::timeout);
  const Result<void> done;
  EXPECT_TRUE(done.ok());
  const Result<void> failed = about(Errc::io, 1);
  EXPECT_FALSE(failed);
}

TEST(ErrorText, SaysWhichServoAndWhatToDo)
{
  EXPECT_EQ(
    about(Errc::timeout, 3, 56).text(),
    "servo 3, Present_Position: no answer; check its cable, its id and the power supply");
  EXPECT_EQ(
    about(Errc::invalid_argument, 2, 31, 3000).text(),
    "servo 2, Homing_Offset: cannot hold 3000; it takes -2047 to 2047");
  EXPECT_EQ(
    about(Errc::invalid_argument, 2, 56, 1).text(),
    "servo 2, Present_Position: this register can only be read");
  EXPECT_EQ(
    about(Errc::wrong_id, 4, -1, 5).text(),
    "servo 4: servo 5 answered instead; scan the bus for the ids in use");
}

TEST(ErrorText, Ports)
{
  EXPECT_NE(
    port_error(Errc::no_permission, "/dev/ttyACM0").text().find("usermod -aG dialout"),
    std::string::npos);
  EXPECT_NE(
    port_error(Errc::port_busy, "/dev/ttyACM0").text().find("fuser -v /dev/ttyACM0"),
    std::string::npos);
  EXPECT_NE(
    port_error(Errc::bad_baud, "/dev/ttyACM0", 0, 9600).text().find("9600 baud"),
    std::string::npos);
}

TEST(ErrorText, EveryCodeHasOneLine)
{
  for (int code = 0; code <= static_cast<int>(Errc::id_in_use); ++code) {
    const std::string text = about(static_cast<Errc>(code), 1, 42, 1).text();
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(text.find('\n'), std::string::npos);
    EXPECT_EQ(text.find("unknown error"), std::string::npos) << code;
  }
}

TEST(ErrorText, LongPathsAreCut)
{
  const Error error = port_error(Errc::not_open, std::string(500, 'x'));
  EXPECT_EQ(std::string(error.port.data()), std::string(127, 'x'));
}

}  // namespace
}  // namespace so100_hardware::feetech
