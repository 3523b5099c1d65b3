// SPDX-License-Identifier: Apache-2.0
#include "faults.hpp"

#include <algorithm>

namespace so100_hardware::emulator
{
namespace
{
constexpr double kRandomRange = 4294967296.0;  // of mt19937

/// An index below `size` from a value of 0…1.
std::size_t pick(double draw, std::size_t size)
{
  return static_cast<std::size_t>(draw * static_cast<double>(size));
}
}  // namespace

Faults::Faults(std::size_t servos) : rates_(servos), counts_(servos) {}

void Faults::add()
{
  rates_.emplace_back();
  counts_.emplace_back();
}

void Faults::remove(std::size_t servo)
{
  rates_.erase(rates_.begin() + static_cast<std::ptrdiff_t>(servo));
  counts_.erase(counts_.begin() + static_cast<std::ptrdiff_t>(servo));
}

void Faults::clear_rates() { std::fill(rates_.begin(), rates_.end(), FaultRates{}); }

void Faults::clear_counts() { std::fill(counts_.begin(), counts_.end(), FaultCounts{}); }

double Faults::draw() { return random_() / kRandomRange; }

std::size_t Faults::draw_lateness() { return 1 + pick(draw(), 3); }

std::chrono::nanoseconds Faults::apply(std::size_t servo, std::vector<std::uint8_t> & frame)
{
  const FaultRates & rates = rates_[servo];
  FaultCounts & counts = counts_[servo];
  const bool drop = draw() < rates.drop;
  const bool corrupt = draw() < rates.corrupt;
  const bool bad_checksum = draw() < rates.bad_checksum;
  const bool truncate = draw() < rates.truncate;
  const bool delay = draw() < rates.delay;
  const double place = draw();
  const double bit = draw();
  if (drop) {
    ++counts.dropped;
    frame.clear();
    return std::chrono::nanoseconds{0};
  }
  ++counts.replies;
  if (bad_checksum) {
    ++counts.bad_checksum;
    frame.back() = static_cast<std::uint8_t>(~frame.back());
  }
  if (corrupt) {
    ++counts.corrupted;
    frame[pick(place, frame.size())] ^= static_cast<std::uint8_t>(1U << pick(bit, 8));
  }
  if (truncate) {
    ++counts.truncated;
    frame.resize(1 + pick(place, frame.size() - 1));
  }
  if (delay) {
    ++counts.delayed;
    return rates.delay_time;
  }
  return std::chrono::nanoseconds{0};
}

std::vector<std::uint8_t> Faults::collide(
  const std::vector<std::uint8_t> & first, const std::vector<std::uint8_t> & second,
  std::size_t late)
{
  constexpr std::uint8_t kIdleLine = 0xFF;
  std::vector<std::uint8_t> result(std::max(first.size(), second.size() + late), kIdleLine);
  for (std::size_t i = 0; i < first.size(); ++i) {
    result[i] &= first[i];
  }
  for (std::size_t i = 0; i < second.size(); ++i) {
    result[late + i] &= second[i];
  }
  return result;
}

}  // namespace so100_hardware::emulator
