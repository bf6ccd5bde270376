// What: the PTX instructions as functions, named like them with dots as underscores, operands in PTX order.
// Note: translate.py turns each asm statement into calls of these. Registers keep their constraints' types: an output
//       used as an input, or the other way round, does not compile.
// Source: PTX ISA 8.7, "Warp-level matrix instructions", "Data movement: cp.async".
#pragma once

#include "half.h"
#include "race.h"

namespace emu {

// ---- operands: in, out and in-out registers of 16, 32, 64 bits and float
template <class T>
struct Out {
    T *at;
};
template <class T>
struct InOut {
    T *at;
    operator T() const { return *at; }
    operator Out<T>() const { return {at}; }
};
template <class T, int n>
struct Outs {
    T *at[n];
};
template <class T, int n>
struct Ins {
    T value[n];
};
template <class T, int n>
struct InOuts {
    T *at[n];
    operator Outs<T, n>() const {
        Outs<T, n> outs;
        for (int i = 0; i < n; ++i) outs.at[i] = at[i];
        return outs;
    }
    operator Ins<T, n>() const {
        Ins<T, n> ins;
        for (int i = 0; i < n; ++i) ins.value[i] = *at[i];
        return ins;
    }
};
template <class T, class... More>
Outs<T, 1 + sizeof...(More)> group(Out<T> first, More... more) {
    return {{first.at, more.at...}};
}
template <class T, class... More>
InOuts<T, 1 + sizeof...(More)> group(InOut<T> first, More... more) {
    return {{first.at, more.at...}};
}
template <class T, class... More>
Ins<T, 1 + sizeof...(More)> group(T first, More... more) {
    return {{first, more...}};
}

template <class Register, class T>
Register as_register(T value) {
    if constexpr (std::is_pointer_v<T>) {
        static_assert(sizeof(Register) == 8, "a pointer needs the constraint \"l\"");
        return reinterpret_cast<Register>(value);
    } else {
        static_assert(sizeof(T) == sizeof(Register) && std::is_floating_point_v<T> == std::is_floating_point_v<Register>,
                      "the operand's type does not fit its constraint");
        return static_cast<Register>(value);
    }
}
template <class Register, class T>
Register *as_variable(T &variable) {
    static_assert(sizeof(T) == sizeof(Register) && std::is_floating_point_v<T> == std::is_floating_point_v<Register>,
                  "the operand's type does not fit its constraint");
    return reinterpret_cast<Register *>(&variable);
}

template <class T>
InOut<T> named(T &variable) {  // a register that the statement declares itself
    return {&variable};
}
struct SharedAddress {
    std::uint32_t value;
};
struct GlobalAddress {
    std::uint64_t value;
};
inline SharedAddress address(std::uint32_t at, int offset = 0) { return {at + static_cast<std::uint32_t>(offset)}; }
inline GlobalAddress address(std::uint64_t at, int offset = 0) { return {at + static_cast<std::uint64_t>(static_cast<std::int64_t>(offset))}; }

namespace ptx {

// ---- conversions, moves, predicates
inline void cvt_rn_f16_f32(Site, Out<std::uint16_t> d, float a) { *d.at = HalfFormat::from_float(a); }
inline void cvt_f32_f16(Site, Out<float> d, std::uint16_t a) { *d.at = HalfFormat::to_float(a); }
inline void cvt_rn_bf16_f32(Site, Out<std::uint16_t> d, float a) { *d.at = BrainFormat::from_float(a); }
inline void cvt_rn_f16x2_f32(Site, Out<std::uint32_t> d, float high, float low) {
    *d.at = static_cast<std::uint32_t>(HalfFormat::from_float(high)) << 16 | HalfFormat::from_float(low);
}
inline void cvt_rn_bf16x2_f32(Site, Out<std::uint32_t> d, float high, float low) {
    *d.at = static_cast<std::uint32_t>(BrainFormat::from_float(high)) << 16 | BrainFormat::from_float(low);
}
inline void cvt_rna_tf32_f32(Site, Out<std::uint32_t> d, float a) {  // to nearest, ties away from zero; 10 bits stay
    const auto bits = bit_cast<std::uint32_t>(a);
    *d.at = (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
}
inline void mov_b32(Site, Out<std::uint32_t> d, std::uint32_t a) { *d.at = a; }
inline void mov_b32(Site, Out<std::uint32_t> d, Ins<std::uint16_t, 2> a) {
    *d.at = static_cast<std::uint32_t>(a.value[1]) << 16 | a.value[0];
}
inline void mov_b32(Site, Outs<std::uint16_t, 2> d, std::uint32_t a) {
    *d.at[0] = static_cast<std::uint16_t>(a);
    *d.at[1] = static_cast<std::uint16_t>(a >> 16);
}
template <class T>
inline void setp_ne_b32(Site, Out<bool> d, std::uint32_t a, T b) {
    *d.at = a != static_cast<std::uint32_t>(b);
}
inline void cvta_to_shared_u64(Site site, Out<std::uint64_t> d, std::uint64_t a) {
    *d.at = shared_address(reinterpret_cast<const void *>(a), site);
}
inline void cvt_u32_u64(Site, Out<std::uint32_t> d, std::uint64_t a) { *d.at = static_cast<std::uint32_t>(a); }
inline void bar_sync(Site site, int barrier) {
    if (barrier) fail(site, "bar.sync: only barrier 0 is known here");
    sync_block(0, site);
}

// ---- cp.async: the bytes land when this thread waits for them; until then the target holds poison. That the source
// stays as it is, and that nobody writes the target meanwhile, is checked then.
inline void start_copy(const char *what, Site site, SharedAddress target, GlobalAddress source, unsigned bytes, unsigned source_bytes) {
    if (source_bytes > bytes) fail(site, "%s: src-size %u is more than cp-size %u", what, source_bytes, bytes);
    Copy &copy = current->copies.add();
    copy.target = from_shared_address(what, site, target.value, bytes, bytes);
    copy.source = reinterpret_cast<const unsigned char *>(source.value);
    copy.bytes = bytes;
    copy.source_bytes = source_bytes;
    copy.group = current->copies.open_group;
    if (source_bytes) {
        check_memory(what, site, copy.source, source_bytes, bytes);
        std::memcpy(copy.data, copy.source, source_bytes);
    }
    std::memset(copy.data + source_bytes, 0, bytes - source_bytes);
    std::memset(copy.target, machine.poison, bytes);
    record_at(site, copy.source, source_bytes, false);
    record_at(site, copy.target, bytes, true);  // at any time from now ...
    machine.counts[count_async_bytes] += source_bytes;
}
inline void finish_copies(const char *what, Site site, long before) {  // of all groups with a smaller number
    Copies &copies = current->copies;
    std::size_t left = 0;
    for (std::size_t i = 0; i < copies.count; ++i) {
        const Copy &copy = copies.items[i];
        if (copy.group >= before) {
            copies.items[left++] = copy;
            continue;
        }
        for (unsigned b = 0; b < copy.bytes; ++b)
            if (copy.target[b] != machine.poison) fail(site, "%s: the target was written while the copy was under way", what);
        if (copy.source_bytes && std::memcmp(copy.source, copy.data, copy.source_bytes))
            fail(site, "%s: the source was changed while the copy was under way", what);
        std::memcpy(copy.target, copy.data, copy.bytes);
        record_at(site, copy.target, copy.bytes, true);  // ... until now
    }
    copies.count = left;
}
#define EMU_CP_ASYNC(cache)                                                                                       \
    inline void cp_async_##cache##_shared_global(Site site, SharedAddress d, GlobalAddress s, int bytes, int source_bytes) { \
        if (!(bytes == 16 || ((bytes == 4 || bytes == 8) && #cache[1] == 'a')))                                   \
            fail(site, "cp.async." #cache ": cp-size must not be %d", bytes);                                    \
        start_copy("cp.async", site, d, s, bytes, source_bytes);                                                  \
    }                                                                                                             \
    inline void cp_async_##cache##_shared_global(Site site, SharedAddress d, GlobalAddress s, int bytes) {        \
        cp_async_##cache##_shared_global(site, d, s, bytes, bytes);                                               \
    }
EMU_CP_ASYNC(ca)
EMU_CP_ASYNC(cg)
#undef EMU_CP_ASYNC
inline void cp_async_commit_group(Site) { ++current->copies.open_group; }
inline void cp_async_wait_group(Site site, int pending) {
    finish_copies("cp.async.wait_group", site, current->copies.open_group - pending);
}
inline void cp_async_wait_all(Site site) {
    ++current->copies.open_group;
    finish_copies("cp.async.wait_all", site, current->copies.open_group);
}

// ---- ldmatrix: lane 8 * m + r gives the address of row r of matrix m; lane i gets row i / 4, columns 2 * (i % 4) and
// that + 1 (.trans: column i / 4, rows 2 * (i % 4) and that + 1).
template <int matrices, bool transposed>
inline void load_matrices(const char *what, Site site, Outs<std::uint32_t, matrices> d, SharedAddress row) {
    struct Slot {
        const unsigned char *row;
        std::uint32_t result[matrices];
    } slot;
    slot.row = nullptr;
    if (current->lane < 8 * matrices) {
        slot.row = from_shared_address(what, site, row.value, 16, 16);
        record_at(site, slot.row, 16, false);
    }
    meet(what, site, 0xffffffffu, slot, [](Slot **slots) {
        for (int m = 0; m < matrices; ++m) {
            std::uint16_t tile[8][8];
            for (int r = 0; r < 8; ++r) std::memcpy(tile[r], slots[8 * m + r]->row, 16);
            for (int lane = 0; lane < 32; ++lane) {
                const int i = lane / 4, j = lane % 4 * 2;
                const std::uint32_t low = transposed ? tile[j][i] : tile[i][j];
                const std::uint32_t high = transposed ? tile[j + 1][i] : tile[i][j + 1];
                slots[lane]->result[m] = high << 16 | low;
            }
        }
        ++machine.counts[count_ldmatrix];
    });
    for (int m = 0; m < matrices; ++m) *d.at[m] = slot.result[m];
}
#define EMU_LDMATRIX(n)                                                                                           \
    inline void ldmatrix_sync_aligned_m8n8_x##n##_shared_b16(Site site, Outs<std::uint32_t, n> d, SharedAddress row) { \
        load_matrices<n, false>("ldmatrix.x" #n, site, d, row);                                                   \
    }                                                                                                             \
    inline void ldmatrix_sync_aligned_m8n8_x##n##_trans_shared_b16(Site site, Outs<std::uint32_t, n> d, SharedAddress row) { \
        load_matrices<n, true>("ldmatrix.trans.x" #n, site, d, row);                                              \
    }
EMU_LDMATRIX(1)
EMU_LDMATRIX(2)
EMU_LDMATRIX(4)
#undef EMU_LDMATRIX

// ---- mma: d (16 x 8) = a (16 x depth) * b (depth x 8) + c. With g = lane / 4, t = lane % 4, and e counting the elements
// of a fragment, elements per register p (halves 2, tf32 1):
//   a: row g, + 8 in every second register; column p * t + e % p, + p * 4 in the second pair of registers
//   b: row p * t + e % p, + p * 4 in the second register; column g
//   c, d: row g, + 8 for elements 2 and 3; column 2 * t + e % 2
typedef float Row8 __attribute__((vector_size(32)));

struct HalfInput {
    static constexpr int per_register = 2;
    static float get(std::uint32_t bits, int i) { return HalfFormat::to_float(static_cast<std::uint16_t>(bits >> 16 * i)); }
};
struct BrainInput {
    static constexpr int per_register = 2;
    static float get(std::uint32_t bits, int i) { return BrainFormat::to_float(static_cast<std::uint16_t>(bits >> 16 * i)); }
};
struct TensorFloatInput {  // the last 13 bits do not count
    static constexpr int per_register = 1;
    static float get(std::uint32_t bits, int) { return bit_cast<float>(bits & ~0x1fffu); }
};

template <class Input, int depth>
struct Product {
    static constexpr int p = Input::per_register, a_registers = depth / (2 * p), b_registers = depth / (4 * p);
    struct Slot {
        std::uint32_t a[a_registers], b[b_registers];
        float sums[4];
    };
    // Products are exact in float; sums are float sums in order of the depth. A GPU promises no order.
    __attribute__((noinline)) static void multiply(Slot **slots) {
        float a[16][depth];
        Row8 b[depth], sums[16];
        for (int lane = 0; lane < 32; ++lane) {
            const Slot &slot = *slots[lane];
            const int g = lane / 4, t = lane % 4;
            for (int r = 0; r < a_registers; ++r)
                for (int e = 0; e < p; ++e) a[g + r % 2 * 8][p * t + e + r / 2 * p * 4] = Input::get(slot.a[r], e);
            for (int r = 0; r < b_registers; ++r)
                for (int e = 0; e < p; ++e) b[p * t + e + r * p * 4][g] = Input::get(slot.b[r], e);
            for (int e = 0; e < 4; ++e) sums[g + e / 2 * 8][2 * t + e % 2] = slot.sums[e];
        }
        for (int i = 0; i < 16; ++i)
            for (int k = 0; k < depth; ++k) sums[i] += a[i][k] * b[k];
        for (int lane = 0; lane < 32; ++lane)
            for (int e = 0; e < 4; ++e) slots[lane]->sums[e] = sums[lane / 4 + e / 2 * 8][2 * (lane % 4) + e % 2];
        ++machine.counts[count_mma];
    }
    static void run(const char *what, Site site, Outs<float, 4> d, Ins<std::uint32_t, a_registers> a,
                    Ins<std::uint32_t, b_registers> b, Ins<float, 4> c) {
        Slot slot;
        std::memcpy(slot.a, a.value, sizeof slot.a);
        std::memcpy(slot.b, b.value, sizeof slot.b);
        std::memcpy(slot.sums, c.value, sizeof slot.sums);
        meet(what, site, 0xffffffffu, slot, multiply);
        for (int e = 0; e < 4; ++e) *d.at[e] = slot.sums[e];
    }
};
#define EMU_MMA(depth, type, Input)                                                                               \
    inline void mma_sync_aligned_m16n8k##depth##_row_col_f32_##type##_##type##_f32(                               \
        Site site, Outs<float, 4> d, Ins<std::uint32_t, Product<Input, depth>::a_registers> a,                    \
        Ins<std::uint32_t, Product<Input, depth>::b_registers> b, Ins<float, 4> c) {                              \
        Product<Input, depth>::run("mma.m16n8k" #depth "." #type, site, d, a, b, c);                              \
    }
EMU_MMA(16, f16, HalfInput)
EMU_MMA(8, f16, HalfInput)
EMU_MMA(16, bf16, BrainInput)
EMU_MMA(8, bf16, BrainInput)
EMU_MMA(8, tf32, TensorFloatInput)
EMU_MMA(4, tf32, TensorFloatInput)
#undef EMU_MMA

}  // namespace ptx
}  // namespace emu
