// Copies with cp.async in two groups. Planted: waits for the first group only.
#include "primitives.cuh"

extern "C" KERNEL(32) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    copy_async(values + threadIdx.x * 4, in + threadIdx.x * 4, true);
    copy_commit();
    copy_async(values + 128 + threadIdx.x * 4, in + 128 + threadIdx.x * 4, true);
    copy_commit();
    if (bug) copy_wait<1>();
    else copy_wait<0>();
    barrier();
    for (int i = threadIdx.x; i < 256; i += 32) out[i] = values[i];
    copy_wait<0>();
}
