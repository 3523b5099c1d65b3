// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "text_table.hpp"

namespace so100_hardware::tools
{
namespace
{

TEST(TextTable, AlignsTextLeftAndNumbersRight)
{
  TextTable table({"JOINT", ">ID", "STATUS"});
  table.add({"gripper", "6", "ok"});
  table.add({"a", "12", "no answer"});
  table.add({"b"});
  EXPECT_EQ(
    table.text(),
    "JOINT    ID  STATUS\n"
    "gripper   6  ok\n"
    "a        12  no answer\n"
    "b\n");
}

TEST(TextTable, Fixed)
{
  EXPECT_EQ(fixed(-1.005, 1), "-1.0");
  EXPECT_EQ(fixed(12.0, 0), "12");
}

}  // namespace
}  // namespace so100_hardware::tools
