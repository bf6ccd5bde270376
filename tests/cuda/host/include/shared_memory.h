// What: a block's shared memory: poison, 32-bit addresses as PTX has them, and checks of addresses.
#pragma once

#include "scheduler.h"

// The linker's names for the section of all __shared__ variables; null without any.
extern "C" unsigned char __start_emu_shared[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_emu_shared[] __attribute__((weak, visibility("hidden")));

namespace emu {

constexpr std::uint32_t static_base = 0x00100000, dynamic_base = 0x01000000;

inline std::uint32_t static_size() { return static_cast<std::uint32_t>(__stop_emu_shared - __start_emu_shared); }
inline std::uint32_t static_start() {  // aligned as the section is
    return static_base + static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(__start_emu_shared) & 0xffff);
}

// Not memset: AddressSanitizer would see the gaps that it keeps between the variables.
__attribute__((no_sanitize("address", "thread"), noinline)) inline void fill(volatile unsigned char *at, std::size_t size, int value) {
    for (std::size_t i = 0; i < size; ++i) at[i] = static_cast<unsigned char>(value);
}

inline void poison_shared() {
    fill(__start_emu_shared, static_size(), machine.poison);
    fill(machine.dynamic, machine.dynamic_bytes, machine.poison);
}

// What `extern __shared__ T name[];` becomes (translate.py).
inline void *dynamic_shared() { return machine.dynamic; }

// Fails unless the bytes exist (known exactly in the checking build) and are aligned.
inline void check_memory(const char *what, Site site, const void *at, [[maybe_unused]] unsigned bytes, unsigned alignment) {
    if (reinterpret_cast<std::uintptr_t>(at) % alignment)
        fail(site, "%s: the address %p is not a multiple of %u", what, at, alignment);
#ifdef __SANITIZE_ADDRESS__
    if (bytes && __asan_region_is_poisoned(const_cast<void *>(at), bytes))
        fail(site, "%s: out of bounds: %u bytes at %p", what, bytes, at);
#endif
}

// The 32-bit address of a pointer into shared memory. One past the end is an address too; nobody may follow it.
inline std::uint32_t shared_address(const void *pointer, Site site) {
    const auto *at = static_cast<const unsigned char *>(pointer);
    if (at >= machine.dynamic && at <= machine.dynamic + machine.dynamic_bytes && machine.dynamic_bytes)
        return dynamic_base + static_cast<std::uint32_t>(at - machine.dynamic);
    if (at >= __start_emu_shared && at < __stop_emu_shared)
        return static_start() + static_cast<std::uint32_t>(at - __start_emu_shared);
    fail(site, "a pointer that is not into shared memory is used as a shared address (or one before its start)");
}

inline unsigned char *from_shared_address(const char *what, Site site, std::uint32_t address, unsigned bytes, unsigned alignment) {
    unsigned char *at = nullptr;
    if (address >= dynamic_base && address - dynamic_base + bytes <= machine.dynamic_bytes)
        at = machine.dynamic + (address - dynamic_base);
    else if (address >= static_start() && address - static_start() + bytes <= static_size())
        at = __start_emu_shared + (address - static_start());
    else
        fail(site, "%s: out of bounds: %u bytes at the shared address 0x%x", what, bytes, address);
    check_memory(what, site, at, bytes, alignment);
    return at;
}

}  // namespace emu

inline std::size_t __cvta_generic_to_shared(const void *pointer, EMU_HERE) { return emu::shared_address(pointer, EMU_SITE); }
inline std::size_t __cvta_generic_to_global(const void *pointer) { return reinterpret_cast<std::size_t>(pointer); }
