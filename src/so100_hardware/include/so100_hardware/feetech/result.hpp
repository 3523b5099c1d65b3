// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace so100_hardware::feetech
{

/// What went wrong. `ok` appears where a code is kept beside data (see BlockReply).
enum class Errc : std::uint8_t {
  ok,
  timeout,           ///< no reply before the deadline
  bad_checksum,      ///< a reply came, damaged
  wrong_id,          ///< another servo answered
  wrong_length,      ///< the servo answered with another number of bytes than asked for
  not_open,          ///< the port was never opened, or was closed
  port_gone,         ///< the device disappeared (unplugged)
  port_busy,         ///< another program holds the port
  no_permission,     ///< the user may not open the port
  no_such_port,      ///< the path does not exist
  not_a_port,        ///< the path is no serial port
  bad_baud,          ///< no baud rate of the servos, or the port cannot do it
  io,                ///< the operating system refused; see Error::sys
  invalid_argument,  ///< the caller asked for something the bus cannot do
  duplicate_reply,   ///< one servo answered twice: two servos with one id
  not_stored,        ///< a written value did not read back
  id_in_use,         ///< the new id belongs to another servo
};

/// An error as a plain value: nothing is allocated before text() is called.
struct Error
{
  Errc code = Errc::io;
  int servo = -1;                ///< id, -1 when it is not about one servo
  int address = -1;              ///< register address, -1 when it is not about a register
  int sys = 0;                   ///< errno, 0 when the operating system is not involved
  int value = 0;                 ///< the number in question: baud, value, or status bits
  std::array<char, 128> port{};  ///< path of the port, empty when it is not about the port

  /// One line: what is wrong, which servo or port, what to do.
  std::string text() const;
};

/// An error about the port `path` (a longer path is cut).
Error port_error(Errc code, std::string_view path, int sys = 0, int value = 0);

/// A value or an Error. Reading the one that is not there is a programming error (assert).
template <class T>
class [[nodiscard]] Result
{
public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  Result(const Error & error) : content_(std::in_place_index<1>, error) {}

  bool ok() const { return content_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T & value()
  {
    assert(ok());
    return *std::get_if<0>(&content_);
  }
  const T & value() const
  {
    assert(ok());
    return *std::get_if<0>(&content_);
  }
  const Error & error() const
  {
    assert(!ok());
    return *std::get_if<1>(&content_);
  }

private:
  std::variant<T, Error> content_;
};

/// Success or an Error.
template <>
class [[nodiscard]] Result<void>
{
public:
  Result() = default;
  Result(const Error & error) : failed_(true), error_(error) {}
  /// Only whether it went well counts.
  template <class T>
  Result(const Result<T> & other) : failed_(!other.ok())
  {
    if (failed_) {
      error_ = other.error();
    }
  }

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error & error() const
  {
    assert(!ok());
    return error_;
  }

private:
  bool failed_ = false;
  Error error_;
};

}  // namespace so100_hardware::feetech
