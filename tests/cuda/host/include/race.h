// What:  finds races, in builds with -fsanitize=thread: g++ then calls the functions below at every load and store. Not
//        linked with ThreadSanitizer; these functions know barriers, warps and blocks instead.
// Rule:  two accesses of a byte, one of them a write, by different threads are a race unless a barrier of the block lies
//        between them or, within a warp, a __syncwarp. Other blocks of the launch are never ordered. Atomics do not count.
//        Shuffles, ballots and mma.sync order nothing, as CUDA says, though threads meet there.
#pragma once

#include "shared_memory.h"

namespace emu {

struct Access {
    std::uint32_t moment;  // counts barriers and block starts over all launches; 0: never
    std::uint32_t place;   // an instruction, relative to the library's start; or at_site + number of a Site
    std::uint16_t thread, warp_moment;
};
constexpr std::uint32_t at_site = 0x80000000u;
constexpr std::uint16_t several = 0x8000;       // | warp: threads of one warp
constexpr std::uint16_t from_all_over = 0xffff;  // threads of several warps

struct Byte {
    Access write, read;
};
struct Range {
    const unsigned char *start;
    std::size_t size;
    Byte *bytes;
    bool shared;
};

struct Races {
    Range ranges[64];
    int count = 0;
    bool recording = false;
    std::uint32_t moment = 1, launch_start, block_start;
    std::uint16_t warp_moment[max_threads / 32];
    Site sites[256];
    std::uint32_t site_count = 0;
};
static Races races;

#ifdef __SANITIZE_THREAD__

extern "C" char library_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));

EMU_PLAIN inline void watch(const void *start, std::size_t size, bool shared) {
    if (!size || races.count == 64) return;
    for (int i = 0; i < races.count; ++i)
        if (races.ranges[i].start == start && races.ranges[i].size >= size) return;
    auto *bytes = static_cast<Byte *>(std::calloc(size, sizeof(Byte)));
    races.ranges[races.count++] = {static_cast<const unsigned char *>(start), size, bytes, shared};
}
EMU_PLAIN inline void unwatch_all() {
    for (int i = 0; i < races.count; ++i) std::free(races.ranges[i].bytes);
    races.count = 0;
}

EMU_PLAIN inline bool in_conflict(const Access &before, bool shared) {
    if (before.moment < (shared ? races.block_start : races.launch_start)) return false;
    if (before.moment < races.block_start) return true;    // another block
    if (before.moment < races.moment) return false;        // a barrier lies between
    if (before.thread == current->number) return false;
    const bool same_warp = before.thread == from_all_over ? false
                           : before.thread & several      ? (before.thread & 0xff) == current->warp
                                                          : before.thread / 32u == current->warp;
    return !(same_warp && before.warp_moment < races.warp_moment[current->warp]);
}

EMU_PLAIN inline void name_place(char *text, std::size_t room, std::uint32_t place) {
    const Site *site = place & at_site ? &races.sites[place & ~at_site] : nullptr;
    if (site)
        std::snprintf(text, room, "%s:%d", site->file, site->line);
    else
        std::snprintf(text, room, "<+0x%x>", place);  // emulator.py looks up the line
}

[[noreturn]] EMU_PLAIN __attribute__((noinline)) void report_race(const Range &range, std::size_t offset, const Access &before,
                                                                  bool wrote, bool writes, std::uint32_t place) {
    races.recording = false;
    char now_at[256], before_at[256];
    name_place(now_at, sizeof now_at, place);
    name_place(before_at, sizeof before_at, before.place);
    fail(nowhere, "race: byte %zu of %s memory is %s at %s, but was %s at %s by %s, and nothing orders the two", offset,
         range.shared ? "shared" : "global", writes ? "written" : "read", now_at, wrote ? "written" : "read", before_at,
         before.moment < races.block_start ? "another block" : "another thread");
}

EMU_PLAIN inline void record(const void *address, std::size_t size, bool writes, std::uint32_t place) {
    if (!races.recording) return;
    const auto *at = static_cast<const unsigned char *>(address);
    if (at >= static_cast<unsigned char *>(machine.stacks) && at < static_cast<unsigned char *>(machine.stacks) + max_threads * stack_size) return;
    if (at >= reinterpret_cast<unsigned char *>(&machine) && at < reinterpret_cast<unsigned char *>(&machine + 1)) return;
    for (int r = 0; r < races.count; ++r) {
        const Range &range = races.ranges[r];
        const std::size_t offset = static_cast<std::size_t>(at - range.start);
        if (offset >= range.size) continue;
        const Access now{races.moment, place, static_cast<std::uint16_t>(current->number), races.warp_moment[current->warp]};
        for (std::size_t i = offset; i < offset + size && i < range.size; ++i) {
            Byte &byte = range.bytes[i];
            if (in_conflict(byte.write, range.shared)) report_race(range, i, byte.write, true, writes, place);
            if (writes) {
                if (in_conflict(byte.read, range.shared)) report_race(range, i, byte.read, false, writes, place);
                byte.write = now;
                continue;
            }
            Access next = now;  // remember enough of the readers for a writer that comes later
            if (byte.read.moment == now.moment && byte.read.thread != now.thread) {
                const std::uint16_t one_warp = several | static_cast<std::uint16_t>(current->warp);
                const bool same = byte.read.thread == one_warp || (byte.read.thread < several && byte.read.thread / 32u == current->warp);
                next.thread = same ? one_warp : from_all_over;
            }
            byte.read = next;
        }
        return;
    }
}

EMU_PLAIN inline void start_races() {
    races.launch_start = ++races.moment;
    watch(machine.dynamic, machine.dynamic_bytes, true);
    watch(__start_emu_shared, static_size(), true);
}
EMU_PLAIN inline void start_block_races() {
    races.block_start = ++races.moment;
    std::memset(races.warp_moment, 0, sizeof races.warp_moment);
    races.recording = true;
}
EMU_PLAIN inline void end_block_races() { races.recording = false; }  // the host may do what it likes
EMU_PLAIN inline void order_block() {
    ++races.moment;
    std::memset(races.warp_moment, 0, sizeof races.warp_moment);
}
EMU_PLAIN inline void order_warp() { ++races.warp_moment[current->warp]; }
EMU_PLAIN inline void end_races() { unwatch_all(); }
// For accesses that ptx.h makes in a kernel's name.
EMU_PLAIN inline void record_at(Site site, const void *address, std::size_t size, bool writes) {
    std::uint32_t i = 0;
    while (i < races.site_count && !(races.sites[i] == site)) ++i;
    if (i == races.site_count && i < 255) races.sites[races.site_count++] = site;
    record(address, size, writes, at_site | i);
}
EMU_PLAIN inline std::uint32_t place_of(const void *instruction) {
    return static_cast<std::uint32_t>(static_cast<const char *>(instruction) - library_start);
}

#else

inline void watch(const void *, std::size_t, bool) {}
inline void start_races() {}
inline void start_block_races() {}
inline void end_block_races() {}
inline void order_block() {}
inline void order_warp() {}
inline void end_races() {}
inline void record_at(Site, const void *, std::size_t, bool) {}

#endif
}  // namespace emu

#ifdef __SANITIZE_THREAD__
#define EMU_HOOK(name, size, writes)                                                                              \
    extern "C" EMU_PLAIN void __tsan_##name(void *at) { emu::record(at, size, writes, emu::place_of(__builtin_return_address(0))); }
#define EMU_HOOKS(size)                                                                                           \
    EMU_HOOK(read##size, size, false)                                                                             \
    EMU_HOOK(write##size, size, true)                                                                             \
    EMU_HOOK(unaligned_read##size, size, false)                                                                   \
    EMU_HOOK(unaligned_write##size, size, true)                                                                   \
    EMU_HOOK(volatile_read##size, size, false)                                                                    \
    EMU_HOOK(volatile_write##size, size, true)
EMU_HOOKS(1)
EMU_HOOKS(2)
EMU_HOOKS(4)
EMU_HOOKS(8)
EMU_HOOKS(16)
#undef EMU_HOOKS
#undef EMU_HOOK
extern "C" EMU_PLAIN void __tsan_read_range(void *at, unsigned long size) {
    emu::record(at, size, false, emu::place_of(__builtin_return_address(0)));
}
extern "C" EMU_PLAIN void __tsan_write_range(void *at, unsigned long size) {
    emu::record(at, size, true, emu::place_of(__builtin_return_address(0)));
}
extern "C" EMU_PLAIN void __tsan_init() {}
extern "C" EMU_PLAIN void __tsan_func_entry(void *) {}
extern "C" EMU_PLAIN void __tsan_func_exit(void) {}
#endif
