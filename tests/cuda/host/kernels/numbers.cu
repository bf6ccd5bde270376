// Conversions and 16-bit arithmetic, one value a thread: the tests compare them with NumPy and with exact fractions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__device__ int place() { return blockIdx.x * blockDim.x + threadIdx.x; }

extern "C" __global__ void widen(const half* in, float* out, const __nv_bfloat16* brain, float* brain_out) {
    out[place()] = __half2float(in[place()]);
    brain_out[place()] = __bfloat162float(brain[place()]);
}

extern "C" __global__ void narrow(const float* in, half* out, unsigned* pairs, unsigned short* brain, unsigned* tensor, int n) {
    const int i = place();
    if (i >= n) return;
    out[i] = __float2half_rn(in[i]);
    brain[i] = __bfloat16_as_ushort(__float2bfloat16_rn(in[i]));
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pairs[i]) : "f"(in[n - 1 - i]), "f"(in[i]));
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(tensor[i]) : "f"(in[i]));
}

extern "C" __global__ void arithmetic(const half* a, const half* b, const half* c, half* out, int n) {
    const int i = place();
    if (i >= n) return;
    out[i] = __hadd(a[i], b[i]);
    out[n + i] = a[i] - b[i];
    out[2 * n + i] = a[i] * b[i];
    out[3 * n + i] = __hdiv(a[i], b[i]);
    out[4 * n + i] = __hfma(a[i], b[i], c[i]);
    out[5 * n + i] = hsqrt(__habs(a[i]));
    const half2 pair = __hfma2(__halves2half2(a[i], b[i]), __half2half2(c[i]), make_half2(b[i], a[i]));
    out[6 * n + i] = __low2half(pair);
    out[7 * n + i] = __high2half(pair);
    out[8 * n + i] = __hmax(a[i], b[i]);
    out[9 * n + i] = __hmin(a[i], b[i]);
}

extern "C" __global__ void integers(const float* in, int* to_int, unsigned* to_unsigned, long long* to_long, int n) {
    const int i = place();
    if (i >= n) return;
    to_int[i] = __float2int_rn(in[i]);
    to_unsigned[i] = __float2uint_rz(in[i]);
    to_long[i] = __double2ll_rn(double(in[i]) * 1024.0);
}

extern "C" __global__ void bits(const unsigned* in, unsigned* out, int n) {
    const int i = place();
    if (i >= n) return;
    out[i] = __popc(in[i]);
    out[n + i] = __clz(in[i]);
    out[2 * n + i] = __ffs(in[i]);
    out[3 * n + i] = __brev(in[i]);
    out[4 * n + i] = __byte_perm(in[i], ~in[i], 0x3715);
    out[5 * n + i] = __umulhi(in[i], 0x9e3779b9u);
    out[6 * n + i] = __funnelshift_r(in[i], ~in[i], 5);
    out[7 * n + i] = min(in[i], 1000u) + max(7u, in[i]);
}
