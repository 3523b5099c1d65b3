// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "arm.hpp"
#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::emulator
{

using feetech::TimePoint;

/// What may happen to the replies of one servo. Chances are 0…1.
struct FaultRates
{
  double drop = 0.0;          ///< the reply is lost
  double corrupt = 0.0;       ///< one bit is flipped
  double bad_checksum = 0.0;  ///< the checksum alone is wrong
  double delay = 0.0;         ///< the reply comes late, by delay_time
  std::chrono::nanoseconds delay_time{0};
};

/// What did happen.
struct FaultCounts
{
  std::uint64_t requests = 0;  ///< requests that asked this servo for a reply
  std::uint64_t replies = 0;   ///< replies sent, damaged ones included
  std::uint64_t dropped = 0;
  std::uint64_t corrupted = 0;
  std::uint64_t bad_checksum = 0;
  std::uint64_t delayed = 0;
  std::uint64_t collided = 0;  ///< replies that another servo talked over
};

/// Damages replies at random. The same seed and the same requests give the same faults.
class Faults
{
public:
  explicit Faults(std::size_t servos);

  void seed(std::uint32_t value) { random_.seed(value); }
  /// One more servo at the end of the chain, or one less.
  void add();
  void remove(std::size_t servo);

  FaultRates & rates(std::size_t servo) { return rates_[servo]; }
  const FaultRates & rates(std::size_t servo) const { return rates_[servo]; }
  FaultCounts & counts(std::size_t servo) { return counts_[servo]; }
  const FaultCounts & counts(std::size_t servo) const { return counts_[servo]; }
  void clear_rates();
  void clear_counts();

  /// Damages one reply; an empty frame means that it was dropped. Returns how much later it
  /// comes. Draws the same number of random values whatever happens, so that switching one fault
  /// on does not move the others.
  std::chrono::nanoseconds apply(std::size_t servo, std::vector<std::uint8_t> & frame);

  /// What arrives when `second` starts `late` bytes after `first` on a line where a low bit wins.
  static std::vector<std::uint8_t> collide(
    const std::vector<std::uint8_t> & first, const std::vector<std::uint8_t> & second,
    std::size_t late);
  /// By how many bytes the second of two servos with one id is late: 1 to 3.
  std::size_t draw_lateness();

private:
  double draw();

  std::mt19937 random_{1};
  std::vector<FaultRates> rates_;
  std::vector<FaultCounts> counts_;
};

/// What the line has seen.
struct LineCounts
{
  std::uint64_t packets = 0;           ///< whole requests
  std::uint64_t ignored = 0;           ///< requests that make no sense, so that nobody answers
  std::uint64_t bad_checksums = 0;     ///< damaged requests
  std::uint64_t wrong_baud_bytes = 0;  ///< sent at a baud rate that no servo has
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

  /// Takes what a client has sent at `line_baud` bits/s. Servos set to another rate (3 % off or
  /// more) do not receive it.
  void receive(const std::uint8_t * bytes, std::size_t size, int line_baud, TimePoint now);

  /// When the next reply is complete; nothing when none is under way.
  std::optional<TimePoint> next_arrival() const
  {
    return frames_.empty() ? std::nullopt : std::optional(frames_.front().end);
  }
  /// The bytes that have arrived at the client by `now`.
  std::vector<std::uint8_t> collect(TimePoint now);

  /// The client has gone: half a request and replies under way are forgotten.
  void hang_up();

  const LineCounts & counts() const { return counts_; }
  void clear_counts() { counts_ = LineCounts{}; }

private:
  using Indices = std::vector<std::size_t>;
  /// A reply on the wire; it arrives as a whole when its last bit has.
  struct Frame
  {
    TimePoint start;
    TimePoint end;
    std::vector<std::uint8_t> bytes;
  };

  void handle(const feetech::Packet & packet, TimePoint end);
  void ping(const feetech::Packet & packet, TimePoint end);
  void read(const feetech::Packet & packet, TimePoint end);
  void write(const feetech::Packet & packet, TimePoint end);
  void without_data(const feetech::Packet & packet, TimePoint end);
  void sync_read(const feetech::Packet & packet, TimePoint end);
  void sync_write(const feetech::Packet & packet);

  /// The servos that receive and obey requests to `id`.
  Indices addressed(std::uint8_t id) const;
  void acknowledge(const feetech::Packet & packet, const Indices & who, TimePoint end);
  /// Lets the servos `who`, all of one id, answer after `from`. Returns when the line is free.
  TimePoint answer(
    const Indices & who, std::uint8_t id, std::uint8_t address, std::size_t size, TimePoint from);
  std::chrono::nanoseconds on_wire(std::size_t bytes) const;
  /// When the line falls silent, if someone is talking at `now`; else `now`.
  TimePoint free_from(TimePoint now) const;

  Arm & arm_;
  Faults & faults_;
  std::vector<Frame> frames_;  ///< replies under way, in the order in which they end
  feetech::PacketParser parser_;
  LineCounts counts_;
  bool timing_ = true;
  int line_baud_ = 1000000;
  TimePoint host_done_{};
  TimePoint last_received_{};
};

}  // namespace so100_hardware::emulator
