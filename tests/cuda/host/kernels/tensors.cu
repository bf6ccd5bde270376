// Every mma.sync and ldmatrix, with fragments filled as PTX documents them; the tests compare with a plain product.

struct Place {
    int row, column;
};
// m16n8k16 and m16n8k8 of 16-bit elements: element i of a lane's fragment.
__device__ Place a16(int lane, int i) { return {lane / 4 + ((i & 2) ? 8 : 0), lane % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0)}; }
__device__ Place b16(int lane, int i) { return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane / 4}; }
// tf32
__device__ Place a32(int lane, int i) { return {lane / 4 + ((i & 1) ? 8 : 0), lane % 4 + (i >= 2 ? 4 : 0)}; }
__device__ Place b32(int lane, int i) { return {lane % 4 + (i >= 1 ? 4 : 0), lane / 4}; }
__device__ Place sum(int lane, int i) { return {lane / 4 + (i >= 2 ? 8 : 0), lane % 4 * 2 + (i & 1)}; }

template <int depth>
__device__ void fill16(const unsigned short* a, const unsigned short* b, unsigned* left, unsigned* right) {
    const int lane = threadIdx.x;
    for (int i = 0; i < depth / 2; ++i) {
        const Place p = a16(lane, i);
        left[i / 2] = (i & 1 ? left[i / 2] : 0) | unsigned(a[p.row * depth + p.column]) << (i & 1) * 16;
    }
    for (int i = 0; i < depth / 4; ++i) {
        const Place p = b16(lane, i);
        right[i / 2] = (i & 1 ? right[i / 2] : 0) | unsigned(b[p.row * 8 + p.column]) << (i & 1) * 16;
    }
}

__device__ void load(const float* c, float* sums) {
    for (int i = 0; i < 4; ++i) sums[i] = c[sum(threadIdx.x, i).row * 8 + sum(threadIdx.x, i).column];
}
__device__ void store(float* d, const float* sums) {
    for (int i = 0; i < 4; ++i) d[sum(threadIdx.x, i).row * 8 + sum(threadIdx.x, i).column] = sums[i];
}

#define SUMS "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
#define PRODUCT16(name, type)                                                                                            \
    extern "C" __global__ void name##_16(const unsigned short* a, const unsigned short* b, const float* c, float* d) { \
        unsigned l[4], r[2];                                                                                             \
        float s[4];                                                                                                      \
        fill16<16>(a, b, l, r), load(c, s);                                                                              \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "  \
                     "{%8, %9}, {%0, %1, %2, %3};\n"                                                                     \
                     : SUMS                                                                                              \
                     : "r"(l[0]), "r"(l[1]), "r"(l[2]), "r"(l[3]), "r"(r[0]), "r"(r[1]));                                \
        store(d, s);                                                                                                     \
    }                                                                                                                    \
    extern "C" __global__ void name##_8(const unsigned short* a, const unsigned short* b, const float* c, float* d) {  \
        unsigned l[2], r[1];                                                                                             \
        float s[4];                                                                                                      \
        fill16<8>(a, b, l, r), load(c, s);                                                                               \
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "     \
                     "{%0, %1, %2, %3};"                                                                                 \
                     : SUMS                                                                                              \
                     : "r"(l[0]), "r"(l[1]), "r"(r[0]));                                                                 \
        store(d, s);                                                                                                     \
    }
PRODUCT16(halves, "f16")
PRODUCT16(brains, "bf16")

extern "C" __global__ void tensor_floats_8(const unsigned* a, const unsigned* b, const float* c, float* d) {
    unsigned l[4], r[2];
    float s[4], t[4];
    for (int i = 0; i < 4; ++i) l[i] = a[a32(threadIdx.x, i).row * 8 + a32(threadIdx.x, i).column];
    for (int i = 0; i < 2; ++i) r[i] = b[b32(threadIdx.x, i).row * 8 + b32(threadIdx.x, i).column];
    load(c, s);
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
                 : "=f"(t[0]), "=f"(t[1]), "=f"(t[2]), "=f"(t[3])
                 : "r"(l[0]), "r"(l[1]), "r"(l[2]), "r"(l[3]), "r"(r[0]), "r"(r[1]), "f"(s[0]), "f"(s[1]), "f"(s[2]), "f"(s[3]));
    store(d, t);
}

extern "C" __global__ void tensor_floats_4(const unsigned* a, const unsigned* b, const float* c, float* d) {
    unsigned l[2], r[1];
    float s[4];
    for (int i = 0; i < 2; ++i) l[i] = a[a32(threadIdx.x, i).row * 4 + a32(threadIdx.x, i).column];
    r[0] = b[b32(threadIdx.x, 0).row * 8 + b32(threadIdx.x, 0).column];
    load(c, s);
    asm volatile("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : SUMS
                 : "r"(l[0]), "r"(l[1]), "r"(r[0]));
    store(d, s);
}

// in: 32 rows of 8; out: (instruction, register, lane, half).
extern "C" __global__ void matrices(const unsigned short* in, unsigned* out) {
    __shared__ __align__(16) unsigned short rows[32][8];
    for (int i = 0; i < 8; ++i) rows[threadIdx.x][i] = in[threadIdx.x * 8 + i];
    __syncwarp();
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(rows[threadIdx.x]));
    unsigned m[14];
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(m[0]) : "r"(at));
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared::cta.b16 {%0}, [%1];" : "=r"(m[1]) : "r"(at));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(m[2]), "=r"(m[3]) : "r"(at));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(m[4]), "=r"(m[5]) : "r"(at));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[6]), "=r"(m[7]), "=r"(m[8]), "=r"(m[9])
                 : "r"(at));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[10]), "=r"(m[11]), "=r"(m[12]), "=r"(m[13])
                 : "r"(at));
    for (int i = 0; i < 14; ++i) out[i * 32 + threadIdx.x] = m[i];
}
