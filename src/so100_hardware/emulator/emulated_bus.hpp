// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "arm.hpp"
#include "faults.hpp"
#include "so100_hardware/feetech/packet.hpp"
#include "wire.hpp"

namespace so100_hardware::emulator
{

/// What the line has seen.
struct LineCounts
{
  std::uint64_t packets = 0;        ///< whole requests
  std::uint64_t ignored = 0;        ///< requests that make no sense, so that nobody answers
  std::uint64_t bad_checksums = 0;  ///< damaged requests
  std::uint64_t unheard_bytes = 0;  ///< sent at a baud rate that no servo listens at
};

/// The half-duplex line: bytes go in, replies come out when their time has come. It never looks
/// at a clock itself.
///
/// A damaged, malformed or unknown request is met with silence, as is a request to an id that
/// nobody has. Servos answer one after the other and never talk into a request: bytes that come
/// while a reply is on the line count from its end.
class EmulatedBus
{
public:
  EmulatedBus(Arm & arm, Faults & faults) : arm_(arm), faults_(faults) {}

  /// False: replies are complete at once (only a fault's delay remains).
  void set_timing(bool on) { timing_ = on; }
  /// True: every servo hears every baud rate.
  void set_any_baud(bool on) { any_baud_ = on; }

  /// Takes what a client has sent at `line_baud` bits/s. Servos set to another rate (3 % off or
  /// more) do not hear it.
  void receive(const std::uint8_t * bytes, std::size_t size, int line_baud, TimePoint now);

  /// When the next reply is complete; nothing when none is under way.
  std::optional<TimePoint> next_arrival() const { return wire_.next_arrival(); }
  /// The bytes that have arrived at the client by `now`.
  std::vector<std::uint8_t> collect(TimePoint now) { return wire_.collect(now); }

  /// The client has gone: half a request and replies under way are forgotten.
  void hang_up();

  const LineCounts & counts() const { return counts_; }
  void clear_counts() { counts_ = LineCounts{}; }

private:
  using Indices = std::vector<std::size_t>;

  void handle(const feetech::Packet & packet, TimePoint end);
  void ping(const feetech::Packet & packet, TimePoint end);
  void read(const feetech::Packet & packet, TimePoint end);
  void write(const feetech::Packet & packet, TimePoint end);
  void without_data(const feetech::Packet & packet, TimePoint end);
  void sync_read(const feetech::Packet & packet, TimePoint end);
  void sync_write(const feetech::Packet & packet);

  bool hears(const Unit & unit) const;
  bool anyone_hears() const;
  /// The servos that obey requests to `id`.
  Indices addressed(std::uint8_t id) const;
  void acknowledge(const feetech::Packet & packet, const Indices & who, TimePoint end);
  /// Lets the servos `who`, all of one id, answer after `from`. Returns when the line is free.
  TimePoint answer(
    const Indices & who, std::uint8_t id, std::uint8_t address, std::size_t size, TimePoint from);
  std::chrono::nanoseconds on_wire(std::size_t bytes) const;

  Arm & arm_;
  Faults & faults_;
  Wire wire_;
  feetech::PacketParser parser_;
  LineCounts counts_;
  bool timing_ = true;
  bool any_baud_ = false;
  int line_baud_ = 1000000;
  TimePoint host_done_{};
  TimePoint last_heard_{};
};

}  // namespace so100_hardware::emulator
