// SPDX-License-Identifier: Apache-2.0
#include "pseudo_terminal.hpp"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "terminal_speed.hpp"

namespace so100_hardware::emulator
{
namespace
{
std::string trouble(const std::string & what) { return what + ": " + std::strerror(errno); }

/// Points `link` at `target`. Returns what went wrong, else an empty text.
std::string point(const std::string & link, const std::string & target)
{
  struct stat there{};
  if (lstat(link.c_str(), &there) == 0) {
    if (!S_ISLNK(there.st_mode)) {
      return "'" + link + "' exists and is no symbolic link; choose another --link";
    }
    unlink(link.c_str());
  }
  return symlink(target.c_str(), link.c_str()) == 0
           ? ""
           : trouble("cannot make the link '" + link + "'");
}
}  // namespace

std::string PseudoTerminal::open(const std::string & link)
{
  close();
  FileDescriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!master.valid() || grantpt(master.get()) != 0 || unlockpt(master.get()) != 0) {
    return trouble("cannot open a pseudo-terminal");
  }
  std::array<char, PATH_MAX> name{};
  if (ptsname_r(master.get(), name.data(), name.size()) != 0) {
    return trouble("cannot name the pseudo-terminal");
  }
  FileDescriptor slave(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios settings{};
  if (!slave.valid() || tcgetattr(slave.get(), &settings) != 0) {
    return trouble("cannot open '" + std::string(name.data()) + "'");
  }
  // Raw from the start: what is written before a client has set its own mode is not echoed.
  cfmakeraw(&settings);
  tcsetattr(slave.get(), TCSANOW, &settings);
  if (!link.empty()) {
    const std::string error = point(link, name.data());
    if (!error.empty()) {
      return error;
    }
  }
  // Without inotify the port still works; a client then finds what the one before did not read.
  watch_ = FileDescriptor(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (watch_.valid()) {
    inotify_add_watch(watch_.get(), name.data(), IN_OPEN | IN_CLOSE);
  }
  master_ = std::move(master);
  slave_ = std::move(slave);
  path_ = name.data();
  link_ = link;
  clients_ = 0;
  return "";
}

void PseudoTerminal::close()
{
  if (!link_.empty()) {
    // Only our own link: another emulator may have taken the name over.
    std::array<char, PATH_MAX> target{};
    const ssize_t size = readlink(link_.c_str(), target.data(), target.size());
    if (size >= 0 && path_ == std::string(target.data(), static_cast<std::size_t>(size))) {
      unlink(link_.c_str());
    }
  }
  watch_.reset();
  slave_.reset();
  master_.reset();
  path_.clear();
  link_.clear();
}

std::size_t PseudoTerminal::read(std::uint8_t * bytes, std::size_t capacity)
{
  const ssize_t size = ::read(master_.get(), bytes, capacity);
  return size > 0 ? static_cast<std::size_t>(size) : 0;
}

std::size_t PseudoTerminal::write(const std::uint8_t * bytes, std::size_t size)
{
  const ssize_t written = ::write(master_.get(), bytes, size);
  return size - (written > 0 ? static_cast<std::size_t>(written) : 0);
}

int PseudoTerminal::baud() const { return terminal_speed(master_.get()); }

bool PseudoTerminal::client_left()
{
  alignas(inotify_event) std::array<char, 4096> buffer;
  bool left = false;
  for (ssize_t size = 0; (size = ::read(watch_.get(), buffer.data(), buffer.size())) > 0;) {
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      if ((event.mask & IN_OPEN) != 0) {
        ++clients_;
        left = false;
      } else if ((event.mask & IN_CLOSE) != 0 && clients_ > 0 && --clients_ == 0) {
        left = true;
      }
    }
  }
  if (left) {
    tcflush(slave_.get(), TCIFLUSH);
    ioctl(slave_.get(), TIOCNXCL);
  }
  return left;
}

}  // namespace so100_hardware::emulator
