// SPDX-License-Identifier: Apache-2.0
// The whole emulator on a real pseudo-terminal, in real time: a smoke test. What it answers and
// when is tested without a clock in test_emulated_bus*.cpp.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <termios.h>

#include <array>
#include <thread>

#include "bus_fixture.hpp"
#include "server.hpp"
#include "temporary_folder.hpp"

namespace so100_hardware::emulator
{
namespace
{
using Clock = std::chrono::steady_clock;

/// A server that runs in a thread until it is told to end.
class Running
{
public:
  explicit Running(const Options & options) : stop_(eventfd(0, EFD_CLOEXEC))
  {
    server_ = std::make_unique<Server>(options);
    EXPECT_EQ(server_->open(), "");
    port_ = server_->port();
    thread_ = std::thread([this] { server_->run(stop_.get()); });
  }
  ~Running()
  {
    const std::uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
  }
  const std::string & port() const { return port_; }

private:
  FileDescriptor stop_;
  std::unique_ptr<Server> server_;
  std::string port_;
  std::thread thread_;
};

/// Six servos that answer at once.
Options quick()
{
  Options options;
  options.servos = numbered({1, 2, 3, 4, 5, 6});
  options.timing = false;
  return options;
}

FileDescriptor open_client(const std::string & path, speed_t speed = B1000000)
{
  FileDescriptor fd(open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK));
  termios settings{};
  EXPECT_EQ(tcgetattr(fd.get(), &settings), 0);
  cfmakeraw(&settings);
  cfsetspeed(&settings, speed);
  EXPECT_EQ(tcsetattr(fd.get(), TCSANOW, &settings), 0);
  return fd;
}

/// Sends a request; returns the bytes of the answer once `size` are there, or what has come
/// after `patience`.
Bytes ask(
  const FileDescriptor & fd, const Bytes & request, std::size_t size, int patience_ms = 2000)
{
  EXPECT_EQ(write(fd.get(), request.data(), request.size()), static_cast<ssize_t>(request.size()));
  Bytes answer;
  pollfd wait{fd.get(), POLLIN, 0};
  while (answer.size() < size && poll(&wait, 1, patience_ms) > 0) {
    std::array<std::uint8_t, 256> bytes{};
    const ssize_t got = read(fd.get(), bytes.data(), bytes.size());
    if (got <= 0) {
      break;
    }
    answer.insert(answer.end(), bytes.begin(), bytes.begin() + got);
  }
  return answer;
}

const Bytes kPing = frame(1, Instruction::ping, {});
const Bytes kPong{0xFF, 0xFF, 0x01, 0x02, 0x00, 0xFC};

TEST(Server, AnswersNotBeforeTheWireWouldHave)
{
  Options options = quick();
  options.timing = true;
  const Running server(options);
  const FileDescriptor client = open_client(server.port());
  const Bytes request = frame(0xFE, Instruction::sync_read, {56, 15, 1, 2, 3, 4, 5, 6});
  const auto start = Clock::now();
  const Bytes answer = ask(client, request, 6 * 21);
  const auto took = Clock::now() - start;
  ASSERT_EQ(answer.size(), 6U * 21U);
  // 140 bytes and six return delays of 500 µs. No upper bound: the machine may be busy.
  EXPECT_GE(took, std::chrono::microseconds(1400 + 6 * 500));
}

TEST(Server, ServesOneClientAfterTheOther)
{
  const Running server(quick());
  for (int i = 0; i < 3; ++i) {
    const FileDescriptor client = open_client(server.port());
    EXPECT_EQ(ask(client, kPing, kPong.size()), kPong);
  }
}

TEST(Server, WrongSpeedGetsNoAnswer)
{
  const Running server(quick());
  const FileDescriptor client = open_client(server.port(), B115200);
  EXPECT_TRUE(ask(client, kPing, kPong.size(), 50).empty());
  const FileDescriptor right = open_client(server.port(), B1000000);
  EXPECT_EQ(ask(right, kPing, kPong.size()), kPong);
}

TEST(Server, LinkFollowsThePortThroughUnplugAndPlug)
{
  const TemporaryFolder folder;
  const std::string link = folder.file("arm");
  Options options = quick();
  options.link = link;
  Server server(options);
  ASSERT_EQ(server.open(), "");
  EXPECT_EQ(server.command("plug").substr(0, 6), "error:");
  EXPECT_EQ(server.command("unplug"), "ok");
  EXPECT_FALSE(std::filesystem::exists(link));
  EXPECT_EQ(server.command("unplug").substr(0, 6), "error:");
  const std::string answer = server.command("plug");
  EXPECT_EQ(answer, "ok " + server.port());
  EXPECT_EQ(std::filesystem::read_symlink(link), server.port());
}

TEST(Server, QuitEndsItAndTheEepromIsSaved)
{
  const TemporaryFolder folder;
  Options options = quick();
  const std::string eeprom = options.eeprom = folder.file("eeprom.json");
  Server server(options);
  ASSERT_EQ(server.open(), "");
  const FileDescriptor client = open_client(server.port());
  const Bytes unlock = frame(1, Instruction::write, {55, 0});
  const Bytes delay = frame(1, Instruction::write, {7, 0});
  ASSERT_EQ(write(client.get(), unlock.data(), unlock.size()), 8);
  ASSERT_EQ(write(client.get(), delay.data(), delay.size()), 8);
  const FileDescriptor never(eventfd(0, EFD_CLOEXEC));
  std::thread thread([&] { server.run(never.get()); });
  ask(client, kPing, 3 * kPong.size());
  while (!std::filesystem::exists(eeprom)) {
    std::this_thread::yield();
  }
  const std::uint64_t one = 1;
  EXPECT_EQ(write(never.get(), &one, sizeof(one)), 8);
  thread.join();
}

TEST(Server, MistakesAreReportedByOpen)
{
  const TemporaryFolder folder;
  Options options;
  options.link = folder.file("no/such");
  EXPECT_NE(Server(options).open().find("cannot make the link"), std::string::npos);
  options.control = folder.file("no/such");
  EXPECT_NE(Server(options).open().find("cannot listen"), std::string::npos);
}

}  // namespace
}  // namespace so100_hardware::emulator
