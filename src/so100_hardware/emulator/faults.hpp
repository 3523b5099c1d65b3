// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace so100_hardware::emulator
{

/// What may happen to the replies of one servo. Chances are 0…1.
struct FaultRates
{
  double drop = 0.0;          ///< the reply is lost
  double corrupt = 0.0;       ///< one bit is flipped
  double bad_checksum = 0.0;  ///< the checksum alone is wrong
  double truncate = 0.0;      ///< the reply ends early
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
  std::uint64_t truncated = 0;
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

}  // namespace so100_hardware::emulator
