// What: the way in from Python: a table of the kernels with their parameters' types, and one function that runs a launch.
#pragma once

#include "intrinsics.h"
#include "ptx.h"

namespace emu {

template <class T>
constexpr const char *type_name() {  // as NumPy calls it; "" for types that NumPy lacks
    using U = std::remove_cv_t<T>;
    if (std::is_same_v<U, __half>) return "float16";
    if (std::is_same_v<U, float>) return "float32";
    if (std::is_same_v<U, double>) return "float64";
    if (std::is_same_v<U, bool>) return "bool";
    if (std::is_integral_v<U>) {
        constexpr bool with_sign = std::is_signed_v<U>;
        return sizeof(U) == 1 ? (with_sign ? "int8" : "uint8") : sizeof(U) == 2 ? (with_sign ? "int16" : "uint16")
             : sizeof(U) == 4 ? (with_sign ? "int32" : "uint32") : (with_sign ? "int64" : "uint64");
    }
    return "";
}

template <class T>
constexpr std::size_t alignment_of() {
    if constexpr (std::is_void_v<T>)
        return 1;
    else
        return alignof(T);
}

// One parameter as text: "const float32* 4", "void* 1", "int32 4"; the number is the pointee's or the value's alignment.
template <class T>
void describe(char *text, std::size_t room) {
    if constexpr (std::is_pointer_v<T>) {
        using P = std::remove_pointer_t<T>;
        std::snprintf(text, room, "%s%s* %zu", std::is_const_v<P> ? "const " : "", std::is_void_v<P> ? "void" : type_name<P>(),
                      alignment_of<std::remove_cv_t<P>>());
    } else {
        static_assert(std::is_arithmetic_v<T>, "a kernel's parameters are pointers and numbers");
        std::snprintf(text, room, "%s %zu", type_name<T>(), sizeof(T));
    }
}

template <class... A>
const char *describe_all(void (*)(A...)) {
    static char text[64 * (sizeof...(A) + 1)];
    text[0] = 0;
    ((describe<A>(text + std::strlen(text), 60), std::strcat(text, ";")), ...);
    return text;
}

template <class... A, std::size_t... i>
void call_kernel(void (*kernel)(A...), void **args, std::index_sequence<i...>) {
    kernel(*static_cast<A *>(args[i])...);
}
template <class... A>
void call_kernel(void (*kernel)(A...), void **args) {
    call_kernel(kernel, args, std::index_sequence_for<A...>());
}

constexpr int first(int threads, int = 0) { return threads; }  // of the launch bounds

extern const Kernel kernels[];  // ends with an entry without a name; translate.py writes it
extern const int kernel_count;

}  // namespace emu

#define EMU_EXPORT extern "C" __attribute__((visibility("default")))

struct EmuKernel {
    const char *name, *parameters;
    int max_threads;
};
EMU_EXPORT int emu_kernel(int index, EmuKernel *result) {
    if (index >= emu::kernel_count) return 0;
    *result = {emu::kernels[index].name, emu::kernels[index].parameters, emu::kernels[index].max_threads};
    return 1;
}

// Runs one launch; null, or a text that says what went wrong. sizes: bytes behind each pointer argument, ends with ~0;
// counts: see emu::Count, added up.
EMU_EXPORT const char *emu_launch(int kernel, const unsigned *grid, const unsigned *block, unsigned long shared_bytes, void **args,
                                  const std::uint64_t *sizes, unsigned long seed, std::uint64_t *counts) {
    using namespace emu;
    Machine &m = machine;
    m.kernel = &kernels[kernel];
    m.args = args;
    m.random = seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
    for (int i = 0; i < 4; ++i) random32();
    m.poison = seed & 1 ? 0xcd : 0xff;  // 0xff: NaN in every float type, -1 in integers
    m.failed = false;
    m.total = block[0] * block[1] * block[2];
    block_dim = dim3(block[0], block[1], block[2]);
    grid_dim = dim3(grid[0], grid[1], grid[2]);
    adopt_thread(m.host);
    if (!m.stacks && !(m.stacks = make_stacks(max_threads, stack_size))) return "no memory for the threads' stacks";
    void *dynamic = nullptr;  // exactly as large as asked for: AddressSanitizer knows its end
    if (shared_bytes && posix_memalign(&dynamic, 1024, shared_bytes)) return "no memory for shared memory";
    m.dynamic = static_cast<unsigned char *>(dynamic);
    m.dynamic_bytes = shared_bytes;

    start_races();
    for (int i = 0; ~sizes[i]; ++i)
        if (sizes[i]) watch(*static_cast<void **>(args[i]), sizes[i], false);

    const std::size_t blocks = static_cast<std::size_t>(grid[0]) * grid[1] * grid[2];
    auto *order = static_cast<std::uint32_t *>(std::malloc(blocks * sizeof(std::uint32_t)));
    for (std::size_t i = 0; i < blocks; ++i) {
        const std::size_t j = random32() % (i + 1);
        order[i] = order[j];
        order[j] = static_cast<std::uint32_t>(i);
    }
    for (std::size_t i = 0; i < blocks && !m.failed; ++i) {
        const std::uint32_t b = order[i];
        block_index = {b % grid[0], b / grid[0] % grid[1], b / (grid[0] * grid[1])};
        poison_shared();
        start_block_races();
        run_block();
        end_block_races();
    }
    end_races();
    std::free(order);
    std::free(dynamic);
    for (int i = 0; i < 8; ++i) counts[i] += m.counts[i], m.counts[i] = 0;
    return m.failed ? m.error : nullptr;
}
