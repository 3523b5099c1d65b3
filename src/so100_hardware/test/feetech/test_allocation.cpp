// SPDX-License-Identifier: Apache-2.0
// The control cycle allocates nothing: operator new of the whole program counts.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "so100_hardware/feetech/bus.hpp"

namespace
{
std::size_t allocations = 0;

void * counted(std::size_t size)
{
  ++allocations;
  void * memory = std::malloc(size);
  if (memory == nullptr) {
    std::abort();
  }
  return memory;
}
}  // namespace

void * operator new(std::size_t size) { return counted(size); }
void * operator new[](std::size_t size) { return counted(size); }
void operator delete(void * memory) noexcept { std::free(memory); }
void operator delete[](void * memory) noexcept { std::free(memory); }
void operator delete(void * memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void * memory, std::size_t) noexcept { std::free(memory); }

namespace so100_hardware::feetech
{
namespace
{

/// Six servos in fixed memory: answers sync reads, servo `silent` does not, servo `damaged` badly.
class FixedTransport : public Transport
{
public:
  int silent = -1;
  int damaged = -1;

  Result<void> write(const std::uint8_t * bytes, std::size_t size) override
  {
    if (bytes[4] != static_cast<std::uint8_t>(Instruction::sync_read)) {
      return {};
    }
    std::array<std::uint8_t, 32> data{};
    for (std::size_t i = 7; i + 1 < size; ++i) {
      if (bytes[i] != silent) {
        end_ +=
          encode(bytes[i], 0, data.data(), bytes[6], input_.data() + end_, input_.size() - end_);
        input_[end_ - 1] ^= bytes[i] == damaged ? 1 : 0;
      }
    }
    return {};
  }

  Result<std::size_t> read(std::uint8_t * bytes, std::size_t capacity, TimePoint deadline) override
  {
    const std::size_t count = std::min(capacity, end_);
    std::memcpy(bytes, input_.data(), count);
    std::memmove(input_.data(), input_.data() + count, end_ - count);
    end_ -= count;
    if (count < capacity) {
      now_ = deadline;
    }
    return count;
  }

  std::size_t flush_input() override
  {
    const std::size_t count = end_;
    end_ = 0;
    return count;
  }

  bool is_open() const override { return true; }
  TimePoint now() const override { return now_; }

private:
  std::array<std::uint8_t, 512> input_{};
  std::size_t end_ = 0;
  TimePoint now_{std::chrono::hours(1)};
};

TEST(Allocation, TheCounterCounts)
{
  const std::size_t before = allocations;
  delete new int(1);
  std::string text(100, 'x');
  EXPECT_EQ(allocations, before + 2);
}

TEST(Allocation, NoneInTheCycle)
{
  const std::uint8_t ids[] = {1, 2, 3, 4, 5, 6};
  const int goals[] = {2048, 2048, 2048, 2048, 2048, 2048};
  ServoState states[6];
  Error errors[6];
  FixedTransport transport;
  Bus bus(transport);
  std::size_t fresh = 0;
  bool sent = true;

  const std::size_t before = allocations;
  for (int cycle = 0; cycle < 400; ++cycle) {
    transport.silent = cycle >= 200 && cycle < 300 ? 3 : -1;  // errors must not allocate either
    transport.damaged = cycle >= 300 ? 5 : -1;
    const Result<std::size_t> good = read_states(bus, ids, 6, states, errors);
    fresh += good.ok() ? good.value() : 0;
    sent = sent && bus.sync_write(registers::goal_position, ids, goals, 6).ok();
  }
  const std::size_t after = allocations;

  EXPECT_EQ(after - before, 0U);
  EXPECT_EQ(fresh, 200U * 6U + 200U * 5U);
  EXPECT_TRUE(sent);
  EXPECT_EQ(errors[4].code, Errc::bad_checksum);
}

}  // namespace
}  // namespace so100_hardware::feetech
