// SPDX-License-Identifier: Apache-2.0
// so100_emulator: six servos on a pseudo-terminal, for those who have no arm at hand.
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>

#include "options.hpp"
#include "server.hpp"

namespace
{
constexpr int kFailed = 1;
constexpr int kWrongOptions = 2;

int complain(const std::string & what, int code)
{
  std::cerr << "so100_emulator: " << what << std::endl;
  return code;
}

void ask_for_realtime()
{
  // It waits awake for 40 µs at most before each reply, so a low priority is enough and safe.
  sched_param priority{};
  priority.sched_priority = sched_get_priority_min(SCHED_FIFO);
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
    std::cerr << "so100_emulator: no --realtime: " << std::strerror(errno)
              << "; replies may come late on a busy machine" << std::endl;
  }
}
}  // namespace

int main(int argc, char ** argv)
{
  using so100_hardware::emulator::Options;
  Options options;
  const std::string wrong =
    so100_hardware::emulator::parse_options({argv + 1, argv + argc}, options);
  if (!wrong.empty()) {
    return complain(wrong, kWrongOptions);
  }
  if (options.help) {
    std::cout << so100_hardware::emulator::usage();
    return 0;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  signal(SIGPIPE, SIG_IGN);
  const so100_hardware::emulator::FileDescriptor signals(signalfd(-1, &ends, SFD_CLOEXEC));
  prctl(PR_SET_TIMERSLACK, 1);  // sleeps end on time, not 50 µs later
  if (options.realtime) {
    ask_for_realtime();
  }

  so100_hardware::emulator::Server server(options);
  std::string trouble = server.open();
  if (!trouble.empty()) {
    return complain(trouble, kFailed);
  }
  for (const std::string & line : options.commands) {
    const std::string answer = server.command(line);
    if (answer.rfind("ok", 0) != 0) {
      return complain("'" + line + "': " + answer, kWrongOptions);
    }
  }
  std::cout << server.port() << std::endl;
  server.run(signals.get());
  return 0;
}
