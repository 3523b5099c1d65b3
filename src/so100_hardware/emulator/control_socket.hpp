// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <string>
#include <vector>

#include "file_descriptor.hpp"

namespace so100_hardware::emulator
{

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
