// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "so100_hardware/feetech/result.hpp"
#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::feetech
{

/// A serial device (or pseudo-terminal), raw, 8N1, held exclusively.
class SerialPort : public Transport
{
public:
  /// Opens and locks the port. `baud` is one of kScanBaudRates.
  /// Errors: no_such_port, no_permission, port_busy, not_a_port, bad_baud, io.
  static Result<std::unique_ptr<SerialPort>> open(const std::string & path, int baud);

  ~SerialPort() override;
  SerialPort(const SerialPort &) = delete;
  SerialPort & operator=(const SerialPort &) = delete;

  /// One write(2). Errors: port_gone, io (also when the device takes only a part).
  Result<void> write(const std::uint8_t * bytes, std::size_t size) override;
  /// Errors: port_gone (the port is closed then, so that the device can come back), io.
  Result<std::size_t> read(std::uint8_t * bytes, std::size_t capacity, TimePoint deadline) override;
  std::size_t flush_input() override;
  bool is_open() const override { return fd_ >= 0; }

  void close();
  const std::string & path() const { return path_; }

private:
  SerialPort(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  Error gone();
  Error failure(int sys) const;

  std::string path_;
  int fd_ = -1;
  bool gone_ = false;
};

/// Serial devices of this machine: /dev/serial/by-id/* (names that stay the same when replugged)
/// first, then /dev/ttyACM* and /dev/ttyUSB*; each device once.
std::vector<std::string> list_ports(const std::string & dev = "/dev");

/// FTDI adapters keep received bytes for latency_timer milliseconds (16 by default). Returns what
/// to do when the port has that attribute and it is above 1 ms, else an empty text: boards with
/// a CH343 (ttyACM) have none.
std::string latency_hint(const std::string & path, const std::string & sysfs = "/sys");

}  // namespace so100_hardware::feetech
