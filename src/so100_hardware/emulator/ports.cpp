// SPDX-License-Identifier: Apache-2.0
#include "ports.hpp"

// The kernel's header instead of <termios.h>: termios2 tells any speed as a number.
#include <asm/termbits.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

namespace so100_hardware::emulator
{
namespace
{
std::string system_error(const std::string & what) { return what + ": " + std::strerror(errno); }

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
           : system_error("cannot make the link '" + link + "'");
}

constexpr std::size_t kLongestLine = 4096;
constexpr int kBacklog = 8;

bool someone_listens(const sockaddr_un & address)
{
  const FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto * generic = reinterpret_cast<const sockaddr *>(&address);
  return connect(probe.get(), generic, sizeof(address)) == 0;
}
}  // namespace

std::string PseudoTerminal::open(const std::string & link)
{
  close();
  FileDescriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!master.valid() || grantpt(master.get()) != 0 || unlockpt(master.get()) != 0) {
    return system_error("cannot open a pseudo-terminal");
  }
  std::array<char, PATH_MAX> name{};
  if (ptsname_r(master.get(), name.data(), name.size()) != 0) {
    return system_error("cannot name the pseudo-terminal");
  }
  FileDescriptor slave(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios2 settings{};
  if (!slave.valid() || ioctl(slave.get(), TCGETS2, &settings) != 0) {
    return system_error("cannot open '" + std::string(name.data()) + "'");
  }
  // Raw from the start: what is written before a client has set its own mode is not echoed.
  settings.c_iflag = settings.c_oflag = settings.c_lflag = 0;
  settings.c_cflag = (settings.c_cflag & ~static_cast<tcflag_t>(CSIZE | PARENB)) | CS8;
  ioctl(slave.get(), TCSETS2, &settings);
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

int PseudoTerminal::baud() const
{
  termios2 settings{};
  return ioctl(master_.get(), TCGETS2, &settings) == 0 ? static_cast<int>(settings.c_ospeed) : 0;
}

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
    ioctl(slave_.get(), TCFLSH, TCIFLUSH);
    ioctl(slave_.get(), TIOCNXCL);
  }
  return left;
}

std::string ControlSocket::open(const std::string & path)
{
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return "the path of the control socket is longer than 107 bytes: '" + path + "'";
  }
  path.copy(address.sun_path, path.size());
  struct stat there{};
  if (lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) {
      return "'" + path + "' exists and is no socket; choose another --control";
    }
    if (someone_listens(address)) {
      return "another program listens at '" + path + "'; choose another --control";
    }
    unlink(path.c_str());
  }
  FileDescriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto * generic = reinterpret_cast<const sockaddr *>(&address);
  if (!listener.valid() || bind(listener.get(), generic, sizeof(address)) != 0) {
    return system_error("cannot listen at '" + path + "'");
  }
  if (listen(listener.get(), kBacklog) != 0) {
    return system_error("cannot listen at '" + path + "'");
  }
  listener_ = std::move(listener);
  path_ = path;
  return "";
}

void ControlSocket::close()
{
  clients_.clear();
  if (listener_.valid()) {
    listener_.reset();
    unlink(path_.c_str());
  }
}

void ControlSocket::add_fds(std::vector<int> & fds) const
{
  if (listener_.valid()) {
    fds.push_back(listener_.get());
  }
  for (const Client & client : clients_) {
    fds.push_back(client.fd.get());
  }
}

bool ControlSocket::serve(Client & client, const Handler & handler)
{
  std::array<char, 1024> bytes;
  bool open = true;
  while (true) {
    const ssize_t size = recv(client.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size > 0) {
      client.received.append(bytes.data(), static_cast<std::size_t>(size));
      continue;
    }
    open = size < 0 && (errno == EAGAIN || errno == EINTR);
    break;
  }
  // The last line of a client that closes at once counts without its newline.
  if (!open && !client.received.empty() && client.received.back() != '\n') {
    client.received += '\n';
  }
  std::size_t end = 0;
  while ((end = client.received.find('\n')) != std::string::npos) {
    const std::string answer = handler(client.received.substr(0, end)) + "\n";
    client.received.erase(0, end + 1);
    send(client.fd.get(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  return open && client.received.size() < kLongestLine;
}

void ControlSocket::serve(const Handler & handler)
{
  if (!listener_.valid()) {
    return;
  }
  while (true) {
    FileDescriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      break;
    }
    clients_.push_back(Client{std::move(fd), ""});
  }
  clients_.remove_if([&handler](Client & client) { return !serve(client, handler); });
}

}  // namespace so100_hardware::emulator
