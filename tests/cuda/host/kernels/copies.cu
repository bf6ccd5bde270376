// cp.async: sizes, zero fill, groups, and what the target holds before the wait.

__device__ unsigned address(const void* shared) { return static_cast<unsigned>(__cvta_generic_to_shared(shared)); }

extern "C" __global__ void sizes(const unsigned char* in, unsigned char* out) {
    __shared__ __align__(16) unsigned char target[32][32];
    unsigned char* mine = target[threadIdx.x];
    const unsigned char* from = in + threadIdx.x * 32;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address(mine)), "l"(from) : "memory");
    asm volatile("cp.async.ca.shared.global [%0+4], [%1 + 4], %2;" ::"r"(address(mine)), "l"(from), "n"(4) : "memory");
    asm volatile("cp.async.ca.shared::cta.global.L2::128B [%0], [%1], 8, %2;" ::"r"(address(mine + 8)), "l"(from + 8), "r"(3) : "memory");
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16; }" ::"r"(address(mine + 16)),
                 "l"(from + 16), "r"(threadIdx.x % 2 ? 1 : 0)
                 : "memory");
    if (threadIdx.x % 2 == 0)  // nothing is read where src-size is 0
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(mine + 16)), "l"(in + 32 * 32), "r"(0) : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
    for (int i = 0; i < 32; ++i) out[threadIdx.x * 32 + i] = mine[i];
}

extern "C" __global__ void groups(const unsigned* in, unsigned* out) {
    extern __shared__ __align__(16) unsigned ring[];
    unsigned* mine = ring + threadIdx.x * 12;
    for (int g = 0; g < 3; ++g) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(mine + g * 4)), "l"(in + g * 4) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    for (int waited = 0; waited < 3; ++waited) {
        if (waited == 0) asm volatile("cp.async.wait_group 2;" ::: "memory");
        if (waited == 1) asm volatile("cp.async.wait_group 1;" ::: "memory");
        if (waited == 2) asm volatile("cp.async.wait_group %0;" ::"n"(0) : "memory");
        for (int i = 0; i < 12; ++i) out[(threadIdx.x * 3 + waited) * 12 + i] = mine[i];
    }
}
