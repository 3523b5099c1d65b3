// SPDX-License-Identifier: Apache-2.0
// In a file of its own: inlined, g++ takes new and delete for mismatched.
#include "allocation_counter.hpp"

#include <cstdlib>
#include <new>

void * operator new(std::size_t size)
{
  if (so100_hardware::test::AllocationCounter::watching) {
    ++so100_hardware::test::AllocationCounter::count;
  }
  if (void * memory = std::malloc(size == 0 ? 1 : size)) {
    return memory;
  }
  throw std::bad_alloc();
}
void operator delete(void * memory) noexcept { std::free(memory); }
void operator delete(void * memory, std::size_t) noexcept { std::free(memory); }
