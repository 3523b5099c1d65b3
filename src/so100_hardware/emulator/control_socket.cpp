// SPDX-License-Identifier: Apache-2.0
#include "control_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace so100_hardware::emulator
{
namespace
{
constexpr std::size_t kLongestLine = 4096;
constexpr int kBacklog = 8;

std::string trouble(const std::string & path)
{
  return "cannot listen at '" + path + "': " + std::strerror(errno);
}

bool someone_listens(const sockaddr_un & address)
{
  const FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto * generic = reinterpret_cast<const sockaddr *>(&address);
  return connect(probe.get(), generic, sizeof(address)) == 0;
}
}  // namespace

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
    return trouble(path);
  }
  if (listen(listener.get(), kBacklog) != 0) {
    return trouble(path);
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
