// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace so100_hardware::emulator
{

/// The speed of a terminal in bits/s, any number and not only termios' constants; 0 if unknown.
/// On the master of a pseudo-terminal it is the speed that the client has set.
int terminal_speed(int fd);

}  // namespace so100_hardware::emulator
