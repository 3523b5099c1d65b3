// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "scan.hpp"

namespace so100_hardware::tools
{
namespace
{

// Six servos in good order.
std::vector<ScannedServo> arm()
{
  std::vector<ScannedServo> servos(6);
  for (int i = 0; i < 6; ++i) {
    ScannedServo & servo = servos[static_cast<std::size_t>(i)];
    servo.baud = 1000000;
    servo.id = i + 1;
    servo.model = 777;
    servo.firmware_major = 3;
    servo.firmware_minor = 10;
    servo.voltage = 74;
    servo.min_voltage = 60;
    servo.max_voltage = 80;
    servo.status = 0;
  }
  return servos;
}

std::vector<std::string> texts(const std::vector<ScannedServo> & servos)
{
  std::vector<std::string> lines;
  for (const Notice & notice : servo_notices(servos)) {
    lines.push_back(notice.text);
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Notices, AGoodArmHasNone)
{
  EXPECT_EQ(texts(arm()), Lines{});
  EXPECT_EQ(missing_servos(arm(), {1, 2, 3, 4, 5, 6}), "");
}

TEST(Notices, DoubledIds)
{
  auto servos = arm();
  servos[1].duplicate = servos[4].duplicate = true;
  EXPECT_EQ(
    texts(servos),
    Lines{"several servos have the id 2, 5; connect them one at a time and give each "
          "its own with so100_setup"});
}

TEST(Notices, MixedFirmwareNamesEachVersion)
{
  auto servos = arm();
  servos[5].firmware_minor = 9;
  EXPECT_EQ(
    texts(servos),
    Lines{
      "the servos have different firmware: 3.10 (id 1, 2, 3, 4, 5), 3.9 (id 6); LeRobot refuses "
      "such an arm, update it with Feetech's program FD"});
}

TEST(Notices, SupplyBelowAndAboveTheServosLimits)
{
  auto servos = arm();
  servos[0].voltage = servos[1].voltage = 50;
  servos[0].status = 0x01;  // the fault bit adds nothing
  servos[2].voltage = 121;
  EXPECT_EQ(
    texts(servos),
    (Lines{
      "shoulder_pan (id 1), shoulder_lift (id 2): supply 5.0 V, servo minimum 6.0 V; switch the "
      "power supply on and check its voltage, plug and cable",
      "elbow_flex (id 3): supply 12.1 V, servo maximum 8.0 V; take the power off and use the "
      "supply of the servo's variant (7.4 V or 12 V)"}));
}

TEST(Notices, FaultsComeWithTheirRemedy)
{
  auto servos = arm();
  servos[5].status = 0x20 | 0x04;
  EXPECT_EQ(
    texts(servos),
    Lines{
      "gripper (id 6): reports overheat, overload; let it cool down and find out what it pushes "
      "against; free the joint, then switch the power off and on"});
}

TEST(Notices, OtherModelsAndBaudRates)
{
  auto servos = arm();
  servos[0].model = 2825;  // STS3250: the same registers
  servos[1].model = servos[5].model = 0x0B0C;
  servos[3].model = 1284;
  servos[2].baud = 500000;
  const Lines lines = texts(servos);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(
    lines[0].rfind("shoulder_lift (id 2), gripper (id 6): model 2828 (0x0B0C) is unknown", 0), 0U);
  EXPECT_EQ(lines[1].rfind("wrist_flex (id 4): model SCS0009 has other registers; put an", 0), 0U);
  EXPECT_EQ(
    lines[2],
    "not at 1000000 baud: id 3; connect one at a time and set id and baud rate with so100_setup");
}

TEST(Notices, WhatAnswersButCouldNotBeReadIsSaid)
{
  std::vector<ScannedServo> servos(2);
  servos[0].id = 40;
  servos[1].id = 3;
  servos[0].baud = servos[1].baud = 1000000;
  servos[1].model = 777;  // but not its state
  EXPECT_EQ(
    texts(servos),
    Lines{"servo 40, elbow_flex (id 3): answers, but not reliably; check its cable, and connect "
          "it alone: several servos may have this id"});
  EXPECT_EQ(firmware_text(servos[0]), "");
  servos[0].duplicate = servos[1].duplicate = true;
  EXPECT_EQ(texts(servos).size(), 1U) << "said already";
}

TEST(Notices, MissingJoints)
{
  auto servos = arm();
  servos.erase(servos.begin() + 4);
  servos.erase(servos.begin());
  EXPECT_EQ(missing_servos(servos, {1, 2, 3, 4, 5, 6}), "shoulder_pan (id 1), wrist_roll (id 5)");
  EXPECT_EQ(missing_servos(servos, {2, 9}), "servo 9");
}

}  // namespace
}  // namespace so100_hardware::tools
