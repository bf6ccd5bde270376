// What:  fibers: a stack each, and a switch that costs a few nanoseconds (no system call).
// Note:  x86-64 and aarch64 by hand (System V and AAPCS64: the registers a call must preserve), others by ucontext;
//        EMU_UCONTEXT chooses that everywhere, so that a test can run it. AddressSanitizer is told of each switch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(EMU_UCONTEXT)
#define EMU_UCONTEXT 1
#endif
#ifdef EMU_UCONTEXT
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emu {

struct Fiber {
    void *stack = nullptr;  // lowest usable address
    std::size_t size = 0;
    void *fake = nullptr;  // AddressSanitizer's
#ifdef EMU_UCONTEXT
    ucontext_t context;
#else
    void *sp = nullptr;
#endif
};

#ifndef EMU_UCONTEXT
extern "C" void emu_switch(void **save, void *load) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
asm(R"(
.text
.type emu_switch, @function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch, .-emu_switch
)");
constexpr int saved_words = 6;  // below the return address
#else
asm(R"(
.text
.type emu_switch, %function
emu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size emu_switch, .-emu_switch
)");
constexpr int saved_words = 20;
#endif
#endif

// Must be the first thing that a fiber does when it runs (again).
inline void entered(Fiber &self) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(self.fake, nullptr, nullptr);
#else
    (void)self;
#endif
}

// Note the stack of the thread that starts a launch.
inline void adopt_thread(Fiber &fiber) {
#ifdef __SANITIZE_ADDRESS__
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &fiber.stack, &fiber.size);
    pthread_attr_destroy(&attributes);
#else
    (void)fiber;
#endif
}

// Leave `from`, go on where `to` left off; returns when somebody switches back.
inline void switch_fiber(Fiber &from, Fiber &to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from.fake, to.stack, to.size);
#endif
#ifdef EMU_UCONTEXT
    swapcontext(&from.context, &to.context);
#else
    emu_switch(&from.sp, to.sp);
#endif
    entered(from);
}

// A place for fibers' stacks. No guard pages: thousands of mappings in each of many libraries are too many for Linux.
// A word at each stack's low end tells afterwards whether it was deep enough.
inline void *make_stacks(std::size_t count, std::size_t size) {
    void *all = mmap(nullptr, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return all == MAP_FAILED ? nullptr : all;
}
constexpr std::uint64_t stack_end = 0x0ddba11cafef00d5;
inline bool overflowed(const Fiber &fiber) { return *static_cast<std::uint64_t *>(fiber.stack) != stack_end; }

// Set a fiber to the start of main, which never returns and calls entered() first.
inline void start_fiber(Fiber &fiber, void *stack, std::size_t size, std::size_t shift, void (*main)()) {
    fiber.stack = stack;
    fiber.size = size;
    fiber.fake = nullptr;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(fiber.stack, fiber.size);
#endif
    *static_cast<std::uint64_t *>(stack) = stack_end;
#ifdef EMU_UCONTEXT
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.size - shift;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, main, 0);
#else
    // The shift keeps equal frames of different fibers out of the same cache sets.
    auto *top = reinterpret_cast<void **>(static_cast<char *>(fiber.stack) + fiber.size - shift);
    *--top = nullptr;  // as if main had been called: the return address, 16-byte alignment broken by 8
#if defined(__x86_64__)
    *--top = reinterpret_cast<void *>(main);
    top -= saved_words;
    for (int i = 0; i < saved_words; ++i) top[i] = nullptr;
#else
    --top;
    top -= saved_words;
    for (int i = 0; i < saved_words; ++i) top[i] = nullptr;
    top[11] = reinterpret_cast<void *>(main);  // x30
#endif
    fiber.sp = top;
#endif
}

}  // namespace emu
