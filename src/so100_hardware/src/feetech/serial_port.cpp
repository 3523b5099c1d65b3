// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/serial_port.hpp"

// The kernel's header instead of <termios.h>: termios2 takes any baud rate as a number, and
// 250000, 128000 and 76800 have no B… constant.
#include <asm/termbits.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware::feetech
{
namespace
{

bool means_gone(int sys) { return sys == EIO || sys == ENXIO || sys == ENODEV || sys == EBADF; }

Errc open_failure(int sys)
{
  switch (sys) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ENODEV:
      return Errc::no_such_port;
    case EACCES:
    case EPERM:
      return Errc::no_permission;
    case EBUSY:
      return Errc::port_busy;
    default:
      return Errc::io;
  }
}

/// Raw 8N1 at `baud`; the modem lines are left alone.
Result<void> configure(int fd, const std::string & path, int baud)
{
  struct termios2 settings = {};
  if (::ioctl(fd, TCGETS2, &settings) != 0) {
    return port_error(Errc::not_a_port, path, errno);
  }
  settings.c_iflag = 0;
  settings.c_oflag = 0;
  settings.c_lflag = 0;
  settings.c_cflag = CS8 | CREAD | CLOCAL | BOTHER;
  settings.c_ispeed = static_cast<speed_t>(baud);
  settings.c_ospeed = static_cast<speed_t>(baud);
  settings.c_cc[VMIN] = 1;  // with O_NONBLOCK: no data is EAGAIN, and 0 means hung up
  settings.c_cc[VTIME] = 0;
  if (::ioctl(fd, TCSETS2, &settings) != 0) {
    return port_error(Errc::bad_baud, path, errno, baud);
  }
  // A driver sets the nearest rate it can do and reports that one. UARTs bear about 3 %.
  if (::ioctl(fd, TCGETS2, &settings) != 0) {
    return port_error(Errc::io, path, errno);
  }
  if (std::abs(static_cast<int>(settings.c_ospeed) - baud) > baud / 33) {
    return port_error(Errc::bad_baud, path, 0, baud);
  }
  return {};
}

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

Result<std::unique_ptr<SerialPort>> SerialPort::open(const std::string & path, int baud)
{
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) {
    return port_error(open_failure(errno), path, errno);
  }
  // Asked before opening: opening some other device may do something to it.
  if (!S_ISCHR(info.st_mode)) {
    return port_error(Errc::not_a_port, path);
  }
  if (std::find(kScanBaudRates.begin(), kScanBaudRates.end(), baud) == kScanBaudRates.end()) {
    return port_error(Errc::bad_baud, path, 0, baud);
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    return port_error(open_failure(errno), path, errno);
  }
  if (::isatty(fd) == 0) {
    const Error error = port_error(Errc::not_a_port, path, errno);
    ::close(fd);
    return error;
  }
  // TIOCEXCL keeps out every other program but root's; flock keeps out those that ask for it.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const Error error = port_error(errno == EWOULDBLOCK ? Errc::port_busy : Errc::io, path, errno);
    ::close(fd);
    return error;
  }
  std::unique_ptr<SerialPort> port(new SerialPort(path, fd));  // closes fd from here on
  if (::ioctl(fd, TIOCEXCL) != 0) {
    return port_error(Errc::io, path, errno);
  }
  const Result<void> configured = configure(fd, path, baud);
  if (!configured.ok()) {
    return configured.error();
  }
  port->flush_input();
  return port;
}

SerialPort::~SerialPort() { close(); }

void SerialPort::close()
{
  if (fd_ >= 0) {
    ::ioctl(fd_, TIOCNXCL);  // a pseudo-terminal lives on when its other end holds it
    ::close(fd_);
    fd_ = -1;
  }
}

Error SerialPort::gone()
{
  close();
  gone_ = true;
  return port_error(Errc::port_gone, path_);
}

Error SerialPort::failure(int sys) const { return port_error(Errc::io, path_, sys); }

Result<void> SerialPort::write(const std::uint8_t * bytes, std::size_t size)
{
  if (fd_ < 0) {
    return port_error(gone_ ? Errc::port_gone : Errc::not_open, path_);
  }
  ssize_t written = 0;
  do {
    written = ::write(fd_, bytes, size);
  } while (written < 0 && errno == EINTR);
  if (written < 0) {
    if (means_gone(errno)) {
      return gone();
    }
    return failure(errno);
  }
  // Sending the rest later would cut the request in two; the caller tries again as a whole.
  if (static_cast<std::size_t>(written) != size) {
    return failure(EAGAIN);
  }
  return {};
}

Result<std::size_t> SerialPort::read(std::uint8_t * bytes, std::size_t capacity, TimePoint deadline)
{
  std::size_t received = 0;
  while (received < capacity) {
    if (fd_ < 0) {
      return port_error(gone_ ? Errc::port_gone : Errc::not_open, path_);
    }
    const auto left = std::max(deadline - Clock::now(), Clock::duration::zero());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const std::chrono::nanoseconds rest = left - seconds;
    struct timespec timeout = {};
    timeout.tv_sec = static_cast<time_t>(seconds.count());
    timeout.tv_nsec = static_cast<long>(rest.count());  // NOLINT: the type of timespec
    struct pollfd poll = {fd_, POLLIN, 0};
    const int ready = ::ppoll(&poll, 1, &timeout, nullptr);
    if (ready < 0) {
      if (errno == EINTR) {
        continue;
      }
      return failure(errno);
    }
    if (ready == 0) {
      return received;  // deadline
    }
    const ssize_t count = ::read(fd_, bytes + received, capacity - received);
    if (count > 0) {
      received += static_cast<std::size_t>(count);
    } else if (count == 0 || means_gone(errno)) {
      if (received > 0) {
        return received;  // what came before the end; the next call reports it
      }
      return gone();
    } else if (errno != EAGAIN && errno != EINTR) {
      return failure(errno);
    } else if ((poll.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
      return gone();
    }
  }
  return received;
}

std::size_t SerialPort::flush_input()
{
  // Reading instead of tcflush(): it costs less with USB adapters and counts the bytes.
  std::size_t total = 0;
  std::uint8_t bytes[256];
  while (fd_ >= 0 && total < 65536) {
    const ssize_t count = ::read(fd_, bytes, sizeof bytes);
    if (count > 0) {
      total += static_cast<std::size_t>(count);
    } else if (count == 0 || errno != EINTR) {
      break;
    }
  }
  return total;
}

// --- what the machine says about its serial devices ---

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
