// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "bus_fixture.hpp"
#include "commands.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
namespace bits = feetech::status_bits;

class CommandsTest : public BusFixture
{
protected:
  CommandsTest()
  : commands_(
      arm_, faults_, bus_,
      Hooks{
        [this] { return unplug_answer_; },
        [](std::string & path) {
          path = "/dev/pts/7";
          return std::string();
        },
        [this] { quit_ = true; }})
  {
  }

  std::string run(const std::string & line) { return commands_.run(line); }
  nlohmann::json data(const std::string & line)
  {
    const std::string answer = run(line);
    EXPECT_EQ(answer.substr(0, 3), "ok ") << answer;
    EXPECT_EQ(answer.find('\n'), std::string::npos);
    return nlohmann::json::parse(answer.substr(3));
  }
  void pass(double seconds)
  {
    now_ += std::chrono::milliseconds(static_cast<int>(seconds * 1000.0));
    arm_.advance_to(now_);
  }

  std::string unplug_answer_;
  bool quit_ = false;
  Commands commands_;
};

TEST_F(CommandsTest, RatesForAllForAnIdAndForAPlace)
{
  EXPECT_EQ(run("drop 5"), "ok");
  EXPECT_EQ(faults_.rates(0).drop, 0.05);
  EXPECT_EQ(faults_.rates(5).drop, 0.05);
  put(servo(3), reg::id, 30);
  EXPECT_EQ(run("corrupt 1.5 30"), "ok");
  EXPECT_EQ(faults_.rates(2).corrupt, 0.015);
  EXPECT_EQ(faults_.rates(1).corrupt, 0.0);
  EXPECT_EQ(run("bad-checksum 100 #2"), "ok");
  EXPECT_EQ(faults_.rates(1).bad_checksum, 1.0);
  EXPECT_EQ(run("bad-checksum 2 all"), "ok");
  EXPECT_EQ(faults_.rates(4).bad_checksum, 0.02);
  EXPECT_EQ(run("delay 12.5 10 #1"), "ok");
  EXPECT_EQ(faults_.rates(0).delay, 0.1);
  EXPECT_EQ(faults_.rates(0).delay_time, std::chrono::microseconds(12500));
  EXPECT_EQ(faults_.rates(1).delay, 0.0);
  EXPECT_EQ(run("clear"), "ok");
  EXPECT_EQ(faults_.rates(0).drop, 0.0);
  EXPECT_EQ(faults_.rates(0).delay, 0.0);
}

TEST_F(CommandsTest, WrongCommandsSayWhatIsWrong)
{
  EXPECT_EQ(run(""), "error: empty line; see so100_emulator --help");
  EXPECT_EQ(run("fly"), "error: unknown command 'fly'; see so100_emulator --help");
  EXPECT_EQ(run("drop"), "error: use: drop PERCENT [SERVO]");
  EXPECT_EQ(run("drop 101"), "error: '101' is no percentage (0 to 100)");
  EXPECT_EQ(run("drop nan"), "error: 'nan' is no percentage (0 to 100)");
  EXPECT_EQ(run("drop 1 9"), "error: there is no servo 9");
  EXPECT_EQ(run("drop 1 x"), "error: 'x' is no servo; give an id, #place or all");
  EXPECT_EQ(run("silent 1 maybe"), "error: 'maybe' is neither on nor off");
  for (const char * line :
       {"drop x", "drop 1 #7", "delay -1 5", "delay 5 5 9", "voltage 26", "push 1 4096",
        "push 1 5 0", "encoder 1 maybe", "double 9 on", "double 1 off", "double one on",
        "temperature 1 200", "seed -1", "stats all", "quit now"}) {
    EXPECT_EQ(run(line).rfind("error: ", 0), 0U) << line;
  }
}

TEST_F(CommandsTest, SilentCutsAServoOffAndBringsItBack)
{
  EXPECT_EQ(run("silent 4 on"), "ok");
  EXPECT_TRUE(send(4, Instruction::ping, {}).empty());
  EXPECT_EQ(run("silent #4 off"), "ok");
  EXPECT_EQ(send(4, Instruction::ping, {}).size(), 1U);
}

TEST_F(CommandsTest, DoubleAddsAServoAndTakesItAway)
{
  EXPECT_EQ(run("double 3 on"), "ok");
  EXPECT_EQ(arm_.size(), 7U);
  EXPECT_EQ(servo(7).id(), 3);
  EXPECT_EQ(servo(7).get(reg::model_number), 777);
  send(3, Instruction::read, {56, 2});
  EXPECT_EQ(counts(3).collided, 1U);
  EXPECT_EQ(run("drop 10 3"), "ok");
  EXPECT_EQ(faults_.rates(6).drop, 0.1);
  EXPECT_EQ(run("double 3 off"), "ok");
  EXPECT_EQ(arm_.size(), 6U);
  EXPECT_EQ(run("double 3 off"), "error: there is no servo 3 that was doubled");
}

TEST_F(CommandsTest, FaultsRaiseTheirBits)
{
  for (const char * line : {"voltage 5.0", "temperature 2 80", "encoder 3 on", "overload 4"}) {
    EXPECT_EQ(run(line), "ok");
  }
  pass(0.01);
  EXPECT_EQ(servo(1).status(), bits::voltage);
  EXPECT_EQ(servo(2).status(), bits::voltage | bits::overheat);
  EXPECT_EQ(servo(3).status(), bits::voltage | bits::encoder);
  EXPECT_EQ(servo(4).status(), bits::voltage | bits::overload);
  run("voltage 12");
  run("encoder 3 off");
  EXPECT_EQ(run("reboot 4"), "ok");
  pass(0.01);
  EXPECT_EQ(servo(3).status(), 0);
  EXPECT_EQ(servo(4).status(), 0);
}

TEST_F(CommandsTest, PushHoldsAJointUntilItIsReleased)
{
  put(servo(2), reg::homing_offset, 100);
  EXPECT_EQ(run("push 2 1000 10000"), "ok");
  pass(0.5);
  EXPECT_EQ(servo(2).dynamics().position(), 1000.0);  // encoder angle, without offset
  EXPECT_EQ(servo(2).get(reg::present_position), 900);
  EXPECT_TRUE(data("show 2")[0]["held"]);
  EXPECT_EQ(run("release 2"), "ok");
  EXPECT_FALSE(data("show 2")[0]["held"]);
}

TEST_F(CommandsTest, PushStaysInTheTurnOfTheJoint)
{
  servo(5).dynamics().hold(5000.0, 1e6);
  pass(0.1);
  run("push 5 3000 100000");
  pass(0.5);
  EXPECT_EQ(servo(5).dynamics().position(), 4096.0 + 3000.0);
}

TEST_F(CommandsTest, ShowGivesTheState)
{
  put(servo(2), reg::homing_offset, -47);
  const auto all = data("show");
  ASSERT_EQ(all.size(), 6U);
  EXPECT_EQ(all[1]["id"], 2);
  EXPECT_EQ(all[1]["place"], 2);
  EXPECT_EQ(all[1]["encoder"], 2048.0);
  EXPECT_EQ(all[1]["present"], 2095);
  EXPECT_EQ(all[1]["status"], "none");
  EXPECT_EQ(all[1]["voltage_v"], 12.0);
  EXPECT_EQ(data("show #3").size(), 1U);
}

TEST_F(CommandsTest, StatsCountPerServoAndOfTheLine)
{
  run("drop 100 2");
  send(kAll, Instruction::sync_read, {56, 2, 1, 2});
  send(1, Instruction::ping, {});
  send(1, Instruction::ping, {}, 9600);
  const auto stats = data("stats");
  EXPECT_EQ(stats["servos"][0]["requests"], 2);
  EXPECT_EQ(stats["servos"][0]["replies"], 2);
  EXPECT_EQ(stats["servos"][1]["requests"], 1);
  EXPECT_EQ(stats["servos"][1]["replies"], 0);
  EXPECT_EQ(stats["servos"][1]["dropped"], 1);
  EXPECT_EQ(stats["line"]["packets"], 2);
  EXPECT_EQ(stats["line"]["wrong_baud_bytes"], 6);
  EXPECT_EQ(run("stats reset"), "ok");
  EXPECT_EQ(data("stats")["servos"][0]["requests"], 0);
  EXPECT_EQ(data("stats")["line"]["packets"], 0);
}

TEST_F(CommandsTest, PlugUnplugAndQuitGoToTheProgram)
{
  EXPECT_EQ(run("unplug"), "ok");
  unplug_answer_ = "the port is unplugged already";
  EXPECT_EQ(run("unplug"), "error: the port is unplugged already");
  EXPECT_EQ(run("plug"), "ok /dev/pts/7");
  EXPECT_FALSE(quit_);
  EXPECT_EQ(run("quit"), "ok");
  EXPECT_TRUE(quit_);
}

}  // namespace
}  // namespace so100_hardware::emulator
