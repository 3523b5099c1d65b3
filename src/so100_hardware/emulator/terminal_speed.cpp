// SPDX-License-Identifier: Apache-2.0
// Alone in its file: <asm/termbits.h> (termios2) and <termios.h> cannot be included together.
#include "terminal_speed.hpp"

#include <asm/termbits.h>
#include <sys/ioctl.h>

namespace so100_hardware::emulator
{

int terminal_speed(int fd)
{
  termios2 settings{};
  return ioctl(fd, TCGETS2, &settings) == 0 ? static_cast<int>(settings.c_ospeed) : 0;
}

}  // namespace so100_hardware::emulator
