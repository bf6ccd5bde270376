// What:  runs a launch: blocks one after the other in shuffled order, a block's threads as fibers in shuffled order.
// Work:  a thread runs until it must wait for others (barrier, warp operation); then any ready thread goes on.
// Finds: barriers and warp operations that not all threads reach, lanes that disagree. An error ends the launch.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fiber.h"
#include "vectors.h"

namespace emu {

struct Site {  // where a kernel called us
    const char *file;
    int line;
    bool operator==(const Site &other) const { return line == other.line && (file == other.file || !std::strcmp(file, other.file)); }
};
constexpr Site nowhere{nullptr, 0};

// The last parameters of a function that kernels call, and the Site that they make. (g++ gives the caller's line only to
// __builtin_LINE standing alone.)
#define EMU_HERE const char *emu_file = __builtin_FILE(), int emu_line = __builtin_LINE()
#define EMU_PLAIN __attribute__((no_sanitize("thread")))  // not watched for races
#define EMU_SITE (::emu::Site{emu_file, emu_line})

struct Copy {  // a cp.async under way
    unsigned char *target;
    const unsigned char *source;
    unsigned bytes, source_bytes;
    long group;
    unsigned char data[16];
};

struct Copies {  // of one thread; a plain growing array
    Copy *items = nullptr;
    std::size_t count = 0, room = 0;
    long open_group = 0;
    Copy &add() {
        if (count == room) {
            room = room ? 2 * room : 64;
            items = static_cast<Copy *>(std::realloc(items, room * sizeof(Copy)));
        }
        return items[count++];
    }
};

struct Thread {
    uint3 index;
    unsigned number, lane, warp;
    Fiber fiber;
    Site waits_at;
    const char *waits_for;  // null: runs or is ready
    bool done;
    Copies copies;
};

struct Meeting {  // lanes of a warp that come together for one operation
    std::uint32_t mask, arrived;
    const char *what;
    Site site;
};

struct Warp {
    std::uint32_t ready = 0;
    int meetings = 0;
    Meeting meeting[32];
    void *slots[32];  // what each arrived lane brings and takes away
};

constexpr unsigned max_threads = 1024;
constexpr std::size_t stack_size = 256 * 1024;

struct Kernel {
    const char *name;
    void (*call)(void **args);
    const char *parameters;  // e.g. "c:__half*,v:float*,i4" - see launch.h
    int max_threads;         // __launch_bounds__, 0 = none given
};

struct Machine {
    Thread threads[max_threads];
    Warp warps[max_threads / 32];
    std::uint32_t ready_warps;
    unsigned total, done, warp;  // warp: the one that runs now
    // block barrier
    unsigned arrived;
    Site barrier_site;
    int votes, result;
    // launch
    Fiber host;
    const Kernel *kernel;
    void **args;
    std::uint64_t random;
    void *stacks;
    unsigned started;  // fibers that stand in their loop
    bool failed;
    char error[4096];
    unsigned char poison;
    unsigned char *dynamic;
    std::size_t dynamic_bytes;
    std::uint64_t counts[8];  // see Count
};

enum Count { count_mma, count_ldmatrix, count_async_bytes, count_barriers };

static Machine machine;
static Thread *current;
static uint3 block_index;
static dim3 block_dim, grid_dim;

inline std::uint32_t random32() {  // xorshift64*
    machine.random ^= machine.random >> 12;
    machine.random ^= machine.random << 25;
    machine.random ^= machine.random >> 27;
    return static_cast<std::uint32_t>((machine.random * 2685821657736338717ull) >> 32);
}

[[noreturn]] inline void fail(Site site, const char *format, ...) __attribute__((format(printf, 2, 3)));
[[noreturn]] inline void fail(Site site, const char *format, ...) {
    char text[2048];
    std::va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const uint3 b = block_index, t = current->index;
    char at[512] = "";
    if (site.file) std::snprintf(at, sizeof at, " at %s:%d", site.file, site.line);
    std::snprintf(machine.error, sizeof machine.error, "%s, block (%u, %u, %u), thread (%u, %u, %u)%s: %s",
                  machine.kernel->name, b.x, b.y, b.z, t.x, t.y, t.z, at, text);
    machine.failed = true;
    switch_fiber(current->fiber, machine.host);
    __builtin_unreachable();
}

inline void make_ready(Thread &thread) {
    machine.warps[thread.warp].ready |= 1u << thread.lane;
    machine.ready_warps |= 1u << thread.warp;
    thread.waits_for = nullptr;
}

inline unsigned pick(std::uint32_t set) {  // some element of a non-empty set
    const unsigned turn = random32() & 31;
    const std::uint32_t turned = turn ? (set >> turn) | (set << (32 - turn)) : set;
    return (static_cast<unsigned>(__builtin_ctz(turned)) + turn) & 31;
}

inline Thread *next_thread() {  // takes a ready thread out of the ready set; null if there is none
    if (!machine.ready_warps) return nullptr;
    const bool here = machine.ready_warps >> machine.warp & 1;
    if (!here || (random32() & 63) == 0) machine.warp = pick(machine.ready_warps);
    Warp &warp = machine.warps[machine.warp];
    const unsigned lane = pick(warp.ready);
    warp.ready &= ~(1u << lane);
    if (!warp.ready) machine.ready_warps &= ~(1u << machine.warp);
    return &machine.threads[machine.warp * 32 + lane];
}

inline void suspend() {  // let others run until somebody makes this thread ready
    Thread *from = current;
    Thread *to = next_thread();
    if (to == from) return;
    current = to ? to : from;
    switch_fiber(from->fiber, to ? to->fiber : machine.host);
    current = from;
}

inline void wait(const char *what, Site site) {
    current->waits_for = what;
    current->waits_at = site;
    suspend();
}

inline void maybe_yield() {  // now and then let another thread go first
    if ((random32() & 3) == 0) {
        make_ready(*current);
        suspend();
    }
}

void order_block();  // race.h

// A barrier of the block; returns the sum of the votes.
inline __attribute__((noinline)) int sync_block(int vote, Site site) {
    Machine &m = machine;
    if (m.arrived && !(m.barrier_site == site))
        fail(site, "this barrier and the one at %s:%d are waited at together; all threads must reach the same one",
             m.barrier_site.file, m.barrier_site.line);
    if (m.done) fail(site, "%u of %u threads ended before this barrier", m.done, m.total);
    m.barrier_site = site;
    m.votes += vote;
    if (++m.arrived < m.total) {
        wait("the block's barrier", site);
        return m.result;
    }
    ++m.counts[count_barriers];
    m.result = m.votes;
    m.votes = 0;
    m.arrived = 0;
    order_block();
    for (unsigned i = 0; i < m.total; ++i)
        if (&m.threads[i] != current) make_ready(m.threads[i]);
    const int result = m.result;
    maybe_yield();
    return result;
}

// Lanes in mask meet: the last one runs work(slots) for all; slots[lane] is that lane's slot.
template <class Slot, class Work>
inline void meet(const char *what, Site site, std::uint32_t mask, Slot &slot, Work work) {
    Warp &warp = machine.warps[current->warp];
    const std::uint32_t bit = 1u << current->lane;
    if (!(mask & bit)) fail(site, "%s: the mask 0x%08x leaves out the calling lane %u", what, mask, current->lane);
    int which = 0;
    while (which < warp.meetings && !(warp.meeting[which].mask & mask)) ++which;
    Meeting &meeting = warp.meeting[which];
    if (which == warp.meetings) {
        ++warp.meetings;
        meeting = {mask, 0, what, site};
    } else if (meeting.mask != mask || !(meeting.site == site) || std::strcmp(meeting.what, what)) {
        fail(site, "lanes of one warp meet in different operations: %s, mask 0x%08x, and %s, mask 0x%08x, at %s:%d", what,
             mask, meeting.what, meeting.mask, meeting.site.file, meeting.site.line);
    }
    warp.slots[current->lane] = &slot;
    meeting.arrived |= bit;
    if (meeting.arrived != mask) return wait(what, site);
    work(reinterpret_cast<Slot **>(warp.slots));
    warp.meeting[which] = warp.meeting[--warp.meetings];
    for (std::uint32_t rest = mask & ~bit; rest; rest &= rest - 1)
        make_ready(machine.threads[current->warp * 32 + static_cast<unsigned>(__builtin_ctz(rest))]);
    maybe_yield();
}

inline void fiber_main() {
    entered(current->fiber);
    for (;;) {
        machine.kernel->call(machine.args);
        if (current->copies.count) fail(nowhere, "cp.async: %zu copies were never waited for", current->copies.count);
        current->copies.open_group = 0;
        current->done = true;
        ++machine.done;
        if (machine.arrived)
            fail(machine.barrier_site, "%u threads wait at this barrier, but this thread has ended", machine.arrived);
        suspend();
    }
}

inline void report_deadlock() {
    char text[1024];
    int used = 0, shown = 0;
    for (unsigned i = 0; i < machine.total && shown < 4; ++i) {
        const Thread &t = machine.threads[i];
        if (t.done) continue;
        used += std::snprintf(text + used, sizeof text - used, "; thread (%u, %u, %u) waits for %s at %s:%d", t.index.x,
                              t.index.y, t.index.z, t.waits_for, t.waits_at.file, t.waits_at.line);
        ++shown;
    }
    std::snprintf(machine.error, sizeof machine.error, "%s, block (%u, %u, %u): no thread can go on, %u of %u have ended%s",
                  machine.kernel->name, block_index.x, block_index.y, block_index.z, machine.done, machine.total, text);
    machine.failed = true;
}

inline void run_block() {
    Machine &m = machine;
    m.done = m.arrived = 0;
    m.votes = 0;
    m.ready_warps = 0;
    for (Warp &warp : m.warps) warp.ready = 0, warp.meetings = 0;
    for (unsigned i = m.started; i < m.total; ++i)
        start_fiber(m.threads[i].fiber, static_cast<char *>(m.stacks) + i * stack_size, stack_size, i % 61 * 320, fiber_main);
    if (m.started < m.total) m.started = m.total;
    for (unsigned i = 0; i < m.total; ++i) {
        Thread &t = m.threads[i];
        t.index = {i % block_dim.x, i / block_dim.x % block_dim.y, i / (block_dim.x * block_dim.y)};
        t.number = i, t.lane = i & 31, t.warp = i >> 5;
        t.done = false;
        make_ready(t);
    }
    m.warp = pick(m.ready_warps);
    current = next_thread();
    switch_fiber(m.host, current->fiber);
    for (unsigned i = 0; i < m.total && !m.failed; ++i)
        if (overflowed(m.threads[i].fiber)) {
            std::snprintf(m.error, sizeof m.error, "%s: a thread's local variables take more than %zu bytes", m.kernel->name,
                          stack_size);
            m.failed = true;
        }
    if (!m.failed && m.done < m.total) report_deadlock();
    if (m.failed) {
        m.started = 0;  // their stacks hold a half-run kernel
        for (unsigned i = 0; i < m.total; ++i) m.threads[i].copies.count = 0, m.threads[i].copies.open_group = 0;
    }
}

}  // namespace emu
