// SPDX-License-Identifier: Apache-2.0
// What the machine says about its serial devices.
#include <glob.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <fstream>

#include "so100_hardware/feetech/serial_port.hpp"

namespace so100_hardware::feetech
{
namespace
{

std::vector<std::string> matches(const std::string & pattern)
{
  std::vector<std::string> paths;
  glob_t found = {};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  return paths;
}

/// The path with links followed; the path itself when it leads nowhere.
std::string real_path(const std::string & path)
{
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

}  // namespace

std::vector<std::string> list_ports(const std::string & dev)
{
  std::vector<std::string> ports;
  std::vector<std::string> devices;
  for (const char * pattern : {"/serial/by-id/*", "/ttyACM*", "/ttyUSB*"}) {
    for (const std::string & path : matches(dev + pattern)) {
      const std::string device = real_path(path);
      if (std::find(devices.begin(), devices.end(), device) == devices.end()) {
        devices.push_back(device);
        ports.push_back(path);
      }
    }
  }
  return ports;
}

std::string latency_hint(const std::string & path, const std::string & sysfs)
{
  const std::string device = real_path(path);
  const std::string file =
    sysfs + "/class/tty/" + device.substr(device.rfind('/') + 1) + "/device/latency_timer";
  std::ifstream stream(file);
  int milliseconds = 0;
  if (!(stream >> milliseconds) || milliseconds <= 1) {
    return "";
  }
  return path + ": the adapter keeps received bytes for " + std::to_string(milliseconds) +
         " ms (latency_timer), which slows every read; set it to 1: echo 1 | sudo tee " + file;
}

}  // namespace so100_hardware::feetech
