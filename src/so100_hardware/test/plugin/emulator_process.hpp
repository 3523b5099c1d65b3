// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace so100_hardware::test
{

/// The real so100_emulator as a child process, ended with this object.
class EmulatorProcess
{
public:
  /// Starts it and waits for the path of its port; port() is empty when that failed.
  EmulatorProcess(
    const std::string & program, const std::string & control,
    std::vector<std::string> arguments = {})
  : control_(control)
  {
    int output[2];
    if (pipe(output) != 0) {
      return;
    }
    arguments.insert(arguments.begin(), {program, "--control", control});
    std::vector<char *> argv;
    for (std::string & argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(output[1], STDOUT_FILENO);
      close(output[0]);
      close(output[1]);
      execv(program.c_str(), argv.data());
      _exit(127);
    }
    close(output[1]);
    char byte = 0;
    while (::read(output[0], &byte, 1) == 1 && byte != '\n') {
      port_ += byte;
    }
    output_ = output[0];
  }

  ~EmulatorProcess()
  {
    kill();
    close(output_);
  }
  EmulatorProcess(const EmulatorProcess &) = delete;
  EmulatorProcess & operator=(const EmulatorProcess &) = delete;

  const std::string & port() const { return port_; }

  /// Ends it at once, as when the arm is unplugged for good.
  void kill()
  {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      pid_ = -1;
    }
  }

  /// Sends a control command; returns the answer without the end of line, "" when there is none.
  std::string command(const std::string & line) const
  {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, control_.c_str(), sizeof(address.sun_path) - 1);
    std::string answer;
    const std::string text = line + "\n";
    if (
      connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof(address)) == 0 &&
      ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size())) {
      char byte = 0;
      while (::read(fd, &byte, 1) == 1 && byte != '\n') {
        answer += byte;
      }
    }
    close(fd);
    return answer;
  }

private:
  std::string control_;
  std::string port_;
  pid_t pid_ = -1;
  int output_ = -1;
};

}  // namespace so100_hardware::test
