// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <fstream>

#include "ports.hpp"
#include "temporary_folder.hpp"

namespace so100_hardware::emulator
{
namespace
{

FileDescriptor dial(const std::string & path)
{
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM, 0));
  const auto * generic = reinterpret_cast<const sockaddr *>(&address);
  return connect(fd.get(), generic, sizeof(address)) == 0 ? std::move(fd) : FileDescriptor();
}

void say(const FileDescriptor & fd, const std::string & text)
{
  ASSERT_EQ(send(fd.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
}

std::string heard(const FileDescriptor & fd)
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
  say(one, "first\nsecond\nthi");
  say(other, "hello\n");
  serve();
  EXPECT_EQ(heard(one), "<first>\n<second>\n");
  EXPECT_EQ(heard(other), "<hello>\n");
  say(one, "rd\n");
  serve();
  EXPECT_EQ(heard(one), "<third>\n");
}

TEST_F(ControlSocketTest, LastLineOfAClientThatLeavesCounts)
{
  ASSERT_EQ(socket_.open(path_), "");
  std::string last;
  {
    const FileDescriptor client = dial(path_);
    say(client, "bye");
  }
  socket_.serve([&last](const std::string & line) { return last = line; });
  EXPECT_EQ(last, "bye");
  std::vector<int> fds;
  socket_.add_fds(fds);
  EXPECT_EQ(fds.size(), 1U);  // the listener alone
}

TEST_F(ControlSocketTest, EndlessLineIsCutOff)
{
  ASSERT_EQ(socket_.open(path_), "");
  const FileDescriptor client = dial(path_);
  say(client, std::string(5000, 'x'));
  serve();
  std::vector<int> fds;
  socket_.add_fds(fds);
  EXPECT_EQ(fds.size(), 1U);
}

TEST_F(ControlSocketTest, IsGoneAfterClose)
{
  ASSERT_EQ(socket_.open(path_), "");
  socket_.close();
  EXPECT_FALSE(std::filesystem::exists(path_));
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

}  // namespace
}  // namespace so100_hardware::emulator
