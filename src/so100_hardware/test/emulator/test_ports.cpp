// SPDX-License-Identifier: Apache-2.0
// The pseudo-terminal, the control socket and the server between them, in real time.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include <array>
#include <fstream>
#include <thread>

#include "bus_fixture.hpp"
#include "ports.hpp"
#include "server.hpp"
#include "temporary_folder.hpp"

namespace so100_hardware::emulator
{
namespace
{

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

/// What can be read within a second, as soon as `size` bytes are there.
std::string receive(const FileDescriptor & fd, std::size_t size)
{
  std::string text;
  pollfd wait{fd.get(), POLLIN, 0};
  while (text.size() < size && poll(&wait, 1, 1000) > 0) {
    std::array<char, 64> bytes{};
    const ssize_t got = read(fd.get(), bytes.data(), bytes.size());
    if (got <= 0) {
      break;
    }
    text.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return text;
}

void send(PseudoTerminal & terminal, const std::string & text)
{
  const auto * bytes = reinterpret_cast<const std::uint8_t *>(text.data());
  EXPECT_EQ(terminal.write(bytes, text.size()), 0U);
}

/// Waits until the terminal sees input, at most a second.
std::string take(PseudoTerminal & terminal)
{
  pollfd wait{terminal.data_fd(), POLLIN, 0};
  poll(&wait, 1, 1000);
  std::array<std::uint8_t, 64> bytes{};
  const std::size_t size = terminal.read(bytes.data(), bytes.size());
  return {bytes.begin(), bytes.begin() + size};
}

TEST(PseudoTerminal, CarriesBytesBothWaysUnchanged)
{
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(""), "");
  const FileDescriptor client = open_client(terminal.path());
  const std::string bytes("\xFF\x03\x0D\x0A\x00\x11\x13\x7F", 8);
  ASSERT_EQ(write(client.get(), bytes.data(), bytes.size()), 8);
  EXPECT_EQ(take(terminal), bytes);
  send(terminal, bytes);
  EXPECT_EQ(receive(client, 8), bytes);
}

TEST(PseudoTerminal, KnowsTheSpeedOfTheClient)
{
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(""), "");
  const FileDescriptor client = open_client(terminal.path(), B1000000);
  EXPECT_EQ(terminal.baud(), 1000000);
  const FileDescriptor slower = open_client(terminal.path(), B115200);
  EXPECT_EQ(terminal.baud(), 115200);
}

TEST(PseudoTerminal, ServesTheNextClientWithoutTheRestOfTheLast)
{
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(""), "");
  {
    const FileDescriptor first = open_client(terminal.path());
    ioctl(first.get(), TIOCEXCL);
    send(terminal, "unread");
    EXPECT_FALSE(terminal.client_left());
    pollfd wait{first.get(), POLLIN, 0};
    ASSERT_EQ(poll(&wait, 1, 1000), 1);
  }
  EXPECT_TRUE(terminal.client_left());
  EXPECT_FALSE(terminal.client_left());
  const FileDescriptor second = open_client(terminal.path());
  ASSERT_TRUE(second.valid());
  int exclusive = 1;
  ASSERT_EQ(ioctl(second.get(), TIOCGEXCL, &exclusive), 0);
  EXPECT_EQ(exclusive, 0);
  send(terminal, "new");
  EXPECT_EQ(receive(second, 3), "new");
}

TEST(PseudoTerminal, ClientLeavesOnlyWithTheLastOne)
{
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(""), "");
  FileDescriptor one = open_client(terminal.path());
  EXPECT_FALSE(terminal.client_left());
  FileDescriptor other = open_client(terminal.path());
  EXPECT_FALSE(terminal.client_left());
  one.reset();
  EXPECT_FALSE(terminal.client_left());
  other.reset();
  EXPECT_TRUE(terminal.client_left());
}

TEST(PseudoTerminal, CloseIsAPulledCable)
{
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(""), "");
  const FileDescriptor client = open_client(terminal.path());
  terminal.close();
  pollfd wait{client.get(), POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, 1000), 1);
  EXPECT_NE(wait.revents & POLLHUP, 0);
  std::array<char, 4> bytes{};
  EXPECT_LE(read(client.get(), bytes.data(), bytes.size()), 0);
  EXPECT_LT(write(client.get(), bytes.data(), bytes.size()), 0);
}

TEST(PseudoTerminal, LinkPointsAtItWhileItIsOpen)
{
  const TemporaryFolder folder;
  const std::string link = folder.file("arm");
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(link), "");
  EXPECT_EQ(std::filesystem::read_symlink(link), terminal.path());
  ASSERT_EQ(terminal.open(link), "");  // a new port takes the link over
  EXPECT_EQ(std::filesystem::read_symlink(link), terminal.path());
  terminal.close();
  EXPECT_FALSE(std::filesystem::is_symlink(link));
}

TEST(PseudoTerminal, LeavesWhatIsNotItsOwn)
{
  const TemporaryFolder folder;
  const std::string file = folder.file("file");
  std::ofstream(file) << "mine";
  PseudoTerminal terminal;
  EXPECT_NE(terminal.open(file).find("exists and is no symbolic link"), std::string::npos);
  EXPECT_FALSE(terminal.is_open());
  EXPECT_TRUE(std::filesystem::is_regular_file(file));
  EXPECT_NE(terminal.open(folder.file("no/such")).find("cannot make the link"), std::string::npos);

  const std::string link = folder.file("arm");
  ASSERT_EQ(terminal.open(link), "");
  PseudoTerminal second;
  ASSERT_EQ(second.open(link), "");
  terminal.close();  // the link is the second one's now
  EXPECT_EQ(std::filesystem::read_symlink(link), second.path());
}

FileDescriptor dial(const std::string & path)
{
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM, 0));
  const auto * generic = reinterpret_cast<const sockaddr *>(&address);
  return connect(fd.get(), generic, sizeof(address)) == 0 ? std::move(fd) : FileDescriptor();
}

void send(const FileDescriptor & fd, const std::string & text)
{
  ASSERT_EQ(::send(fd.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
}

std::string received(const FileDescriptor & fd)
{
  std::array<char, 256> bytes{};
  const ssize_t size = recv(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  return size > 0 ? std::string(bytes.data(), static_cast<std::size_t>(size)) : "";
}

class ControlSocketTest : public ::testing::Test
{
protected:
  void serve()
  {
    socket_.serve([](const std::string & line) { return "<" + line + ">"; });
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.file("control");
  ControlSocket socket_;
};

TEST_F(ControlSocketTest, AnswersEachLineOfEachClient)
{
  ASSERT_EQ(socket_.open(path_), "");
  const FileDescriptor one = dial(path_);
  const FileDescriptor other = dial(path_);
  send(one, "first\nsecond\nthi");
  send(other, "hello\n");
  serve();
  EXPECT_EQ(received(one), "<first>\n<second>\n");
  EXPECT_EQ(received(other), "<hello>\n");
  send(one, "rd\n");
  serve();
  EXPECT_EQ(received(one), "<third>\n");
}

TEST_F(ControlSocketTest, LastLineOfAClientThatLeavesCounts)
{
  ASSERT_EQ(socket_.open(path_), "");
  std::string last;
  {
    const FileDescriptor client = dial(path_);
    send(client, "bye");
  }
  socket_.serve([&last](const std::string & line) { return last = line; });
  EXPECT_EQ(last, "bye");
  std::vector<int> fds;
  socket_.add_fds(fds);
  EXPECT_EQ(fds.size(), 1U);  // the listener alone
}

TEST_F(ControlSocketTest, SocketOfADeadProgramIsReplaced)
{
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, path_.size());
    const FileDescriptor dead(socket(AF_UNIX, SOCK_STREAM, 0));
    const auto * generic = reinterpret_cast<const sockaddr *>(&address);
    ASSERT_EQ(bind(dead.get(), generic, sizeof(address)), 0);
  }
  EXPECT_EQ(socket_.open(path_), "");
}

TEST_F(ControlSocketTest, PathsThatCannotBeAreRefused)
{
  ASSERT_EQ(socket_.open(path_), "");
  ControlSocket second;
  EXPECT_NE(second.open(path_).find("another program listens"), std::string::npos);
  const std::string file = folder_.file("file");
  std::ofstream(file) << "mine";
  EXPECT_NE(second.open(file).find("exists and is no socket"), std::string::npos);
  EXPECT_NE(second.open(std::string(200, 'x')).find("longer than 107"), std::string::npos);
  EXPECT_NE(second.open(folder_.file("no/such")).find("cannot listen"), std::string::npos);
}

// The whole emulator in real time: what it answers and when is tested without a clock in
// test_emulated_bus.cpp.
TEST(Server, AnswersAtWireSpeedUntilItIsStopped)
{
  const TemporaryFolder folder;
  Options options;
  options.link = folder.file("arm");
  options.control = folder.file("no/such");
  options.servos = numbered({1, 2, 3, 4, 5, 6});
  EXPECT_NE(Server(options).open().find("cannot listen"), std::string::npos);
  options.control.clear();
  Server server(options);
  ASSERT_EQ(server.open(), "");
  EXPECT_EQ(server.command("plug").substr(0, 6), "error:");
  EXPECT_EQ(server.command("unplug"), "ok");
  EXPECT_EQ(server.command("unplug").substr(0, 6), "error:");
  const std::string plugged = server.command("plug");
  EXPECT_EQ(plugged, "ok " + server.port());
  const FileDescriptor stop(eventfd(0, EFD_CLOEXEC));
  std::thread thread([&] { server.run(stop.get()); });
  for (int i = 0; i < 2; ++i) {
    const FileDescriptor client = open_client(options.link);
    const Bytes request = frame(0xFE, feetech::Instruction::sync_read, {56, 15, 1, 2, 3, 4, 5, 6});
    const auto start = feetech::Clock::now();
    EXPECT_EQ(write(client.get(), request.data(), request.size()), 14);
    EXPECT_EQ(receive(client, 6 * 21).size(), 6U * 21U);
    // 140 bytes and six return delays of 500 µs. No upper bound: the machine may be busy.
    EXPECT_GE(feetech::Clock::now() - start, std::chrono::microseconds(1400 + 6 * 500));
  }
  const std::uint64_t one = 1;
  EXPECT_EQ(write(stop.get(), &one, sizeof(one)), 8);
  thread.join();
}

}  // namespace
}  // namespace so100_hardware::emulator
