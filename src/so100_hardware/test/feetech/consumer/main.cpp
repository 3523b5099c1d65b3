// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/serial_port.hpp"

int main()
{
  const auto port = so100_hardware::feetech::SerialPort::open("/dev/so100-no-such-port", 1000000);
  if (port.ok()) {
    return 1;
  }
  std::printf("%s\n", port.error().text().c_str());
  return 0;
}
