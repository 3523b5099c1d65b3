// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace so100_hardware::test
{

/// Allocations of this thread while watching; not those of the emulator, which pauses the count.
struct AllocationCounter
{
  static inline thread_local bool watching = false;
  static inline thread_local std::size_t count = 0;
};

/// No count as long as it lives.
class PauseCounting
{
public:
  PauseCounting() : before_(AllocationCounter::watching) { AllocationCounter::watching = false; }
  ~PauseCounting() { AllocationCounter::watching = before_; }

private:
  bool before_;
};

}  // namespace so100_hardware::test
