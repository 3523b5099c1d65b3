// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <utility>
#include <vector>

namespace so100_hardware::emulator
{

/// Owns a file descriptor and closes it.
class FileDescriptor
{
public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor && other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor & operator=(FileDescriptor && other) noexcept
  {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset()
  {
    if (fd_ >= 0) {
      ::close(fd_);
      fd_ = -1;
    }
  }

private:
  int fd_ = -1;
};

/// The port: a pseudo-terminal whose other side clients open as a serial port, one after the
/// other. It stays when a client leaves, because this side keeps the other one open as well.
class PseudoTerminal
{
public:
  ~PseudoTerminal() { close(); }

  /// Opens a new pseudo-terminal and, if `link` is not empty, points a symbolic link at it. A
  /// link that is there is replaced, anything else of that name is not. Returns what went wrong,
  /// else an empty text.
  std::string open(const std::string & link);

  /// Clients get errors from now on, as from a cable that was pulled. The link goes too.
  void close();

  bool is_open() const { return master_.valid(); }
  const std::string & path() const { return path_; }

  /// To wait for input, and for clients that come and go.
  int data_fd() const { return master_.get(); }
  int watch_fd() const { return watch_.get(); }

  /// Bytes of the client that are there; 0 if there are none.
  std::size_t read(std::uint8_t * bytes, std::size_t capacity);
  /// Hands bytes to the client. Returns how many found no room because it does not read.
  std::size_t write(const std::uint8_t * bytes, std::size_t size);
  /// The speed that the client has set, bits/s; 0 if unknown.
  int baud() const;

  /// Looks whether clients came or went. Returns true when the last one has just left: then what
  /// it did not read is thrown away, and its exclusive claim on the port lifted, as on a real
  /// port that is closed. Two clients that open or close within the same instant may be counted
  /// as one (inotify merges like events).
  bool client_left();

private:
  FileDescriptor master_;
  FileDescriptor slave_;
  FileDescriptor watch_;
  std::string path_;
  std::string link_;
  int clients_ = 0;
};

/// A Unix stream socket that takes lines of text and answers each with one line. Several clients
/// at a time.
class ControlSocket
{
public:
  using Handler = std::function<std::string(const std::string &)>;

  ~ControlSocket() { close(); }

  /// Listens at `path`. A socket that a dead program left there is replaced. Returns what went
  /// wrong, else an empty text.
  std::string open(const std::string & path);
  void close();

  /// What to wait for: the listener and the clients.
  void add_fds(std::vector<int> & fds) const;
  /// Takes what has come; calls `handler` for each line and sends its answer.
  void serve(const Handler & handler);

private:
  struct Client
  {
    FileDescriptor fd;
    std::string received;
  };
  /// False when the client is gone.
  static bool serve(Client & client, const Handler & handler);

  FileDescriptor listener_;
  std::list<Client> clients_;
  std::string path_;
};

}  // namespace so100_hardware::emulator
