// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include <poll.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <vector>

namespace so100_hardware::emulator
{
namespace
{
using Clock = feetech::Clock;

/// The arm lives on while nobody asks, in strides of this.
constexpr std::chrono::milliseconds kIdle{50};
/// A sleep may end this much late; the rest of the way is waited out awake.
constexpr std::chrono::microseconds kAwake{40};
/// Other work is done when no reply is due for this long.
constexpr std::chrono::microseconds kBreak{500};
constexpr std::size_t kChunk = 512;

}  // namespace

Server::Server(const Options & options)
: options_(options),
  arm_(options.servos, options.supply_voltage),
  faults_(options.servos.size()),
  bus_(arm_, faults_),
  eeprom_(options.eeprom, options.servos.size()),
  commands_(
    arm_, faults_, bus_,
    Hooks{
      [this] {
        if (!terminal_.is_open()) {
          return std::string("the port is unplugged already");
        }
        terminal_.close();
        bus_.hang_up();
        return std::string();
      },
      [this](std::string & path) {
        if (terminal_.is_open()) {
          return "the port is plugged in: " + terminal_.path();
        }
        const std::string error = terminal_.open(options_.link);
        path = terminal_.path();
        return error;
      },
      [this] { quit_ = true; }})
{
  bus_.set_timing(options.timing);
}

std::string Server::open()
{
  std::string error = options_.eeprom.empty() ? "" : eeprom_.load(arm_);
  if (error.empty() && !options_.control.empty()) {
    error = control_.open(options_.control);
  }
  if (!error.empty()) {
    return error;
  }
  arm_.advance_to(Clock::now());
  return terminal_.open(options_.link);
}

void Server::send_due()
{
  const std::vector<std::uint8_t> bytes = bus_.collect(Clock::now());
  if (!bytes.empty() && terminal_.is_open()) {
    terminal_.write(bytes.data(), bytes.size());
  }
}

void Server::take_input()
{
  if (!terminal_.is_open()) {
    return;
  }
  std::array<std::uint8_t, kChunk> bytes;
  while (const std::size_t size = terminal_.read(bytes.data(), bytes.size())) {
    bus_.receive(bytes.data(), size, terminal_.baud(), Clock::now());
  }
  if (terminal_.client_left()) {
    bus_.hang_up();
  }
}

void Server::save_eeprom()
{
  if (options_.eeprom.empty()) {
    return;
  }
  const std::string error = eeprom_.save(arm_);
  if (error != eeprom_error_ && !error.empty()) {
    std::cerr << "so100_emulator: " << error << std::endl;
  }
  eeprom_error_ = error;
}

bool Server::wait(int signal_fd)
{
  std::chrono::nanoseconds pause = kIdle;
  if (const auto next = bus_.next_arrival()) {
    pause = std::min(pause, *next - Clock::now() - kAwake);
    if (pause <= std::chrono::nanoseconds{0}) {
      while (Clock::now() < *next) {
      }
      return true;
    }
  }
  std::vector<int> fds{signal_fd};
  if (terminal_.is_open()) {
    fds.push_back(terminal_.data_fd());
    fds.push_back(terminal_.watch_fd());
  }
  control_.add_fds(fds);
  std::vector<pollfd> polled;
  for (const int fd : fds) {
    polled.push_back({fd, POLLIN, 0});
  }
  const timespec timeout{0, static_cast<long>(pause.count())};  // at most kIdle
  ppoll(polled.data(), polled.size(), &timeout, nullptr);
  return polled[0].revents == 0;
}

void Server::run(int signal_fd)
{
  while (!quit_ && wait(signal_fd)) {
    send_due();
    take_input();
    send_due();
    const auto next = bus_.next_arrival();
    if (!next || *next - Clock::now() > kBreak) {
      // Nobody waits for an answer: time for what may take longer.
      arm_.advance_to(Clock::now());
      control_.serve([this](const std::string & line) {
        arm_.advance_to(Clock::now());
        return commands_.run(line);
      });
      save_eeprom();
    }
  }
  save_eeprom();
}

}  // namespace so100_hardware::emulator
