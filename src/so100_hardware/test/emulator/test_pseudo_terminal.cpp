// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <array>
#include <fstream>

#include "ports.hpp"
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

TEST(PseudoTerminal, BytesForAClientThatDoesNotReadAreLost)
{
  PseudoTerminal terminal;
  ASSERT_EQ(terminal.open(""), "");
  const FileDescriptor client = open_client(terminal.path());
  const std::array<std::uint8_t, 1000> bytes{};
  std::size_t lost = 0;
  for (int i = 0; i < 1000 && lost == 0; ++i) {
    lost = terminal.write(bytes.data(), bytes.size());
  }
  EXPECT_GT(lost, 0U);
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

}  // namespace
}  // namespace so100_hardware::emulator
