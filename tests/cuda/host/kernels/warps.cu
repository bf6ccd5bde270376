// Warp operations, votes of a block, atomics, and who runs: one value a thread.

__device__ int place() { return (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x * blockDim.y + threadIdx.y * blockDim.x + threadIdx.x; }

extern "C" __global__ void shuffles(const int* in, int* out, int n) {
    const int i = place(), value = in[i];
    out[i] = __shfl_sync(0xffffffffu, value, 5);
    out[n + i] = __shfl_sync(0xffffffffu, value, value, 8);
    out[2 * n + i] = __shfl_up_sync(0xffffffffu, value, 3);
    out[3 * n + i] = __shfl_up_sync(0xffffffffu, value, 3, 16);
    out[4 * n + i] = __shfl_down_sync(0xffffffffu, value, 7);
    out[5 * n + i] = __shfl_down_sync(0xffffffffu, value, 2, 4);
    out[6 * n + i] = __shfl_xor_sync(0xffffffffu, value, 9);
    out[7 * n + i] = int(__shfl_xor_sync(0xffffffffu, double(value), 17));
}

extern "C" __global__ void votes(const int* in, unsigned* out, int n) {
    const int i = place(), value = in[i];
    out[i] = __ballot_sync(0xffffffffu, value & 1);
    out[n + i] = __any_sync(0xffffffffu, value == 3);
    out[2 * n + i] = __all_sync(0xffffffffu, value != 3);
    out[3 * n + i] = __match_any_sync(0xffffffffu, value & 7);
    out[4 * n + i] = __reduce_add_sync(0xffffffffu, unsigned(value));
    out[5 * n + i] = unsigned(__reduce_min_sync(0xffffffffu, value - 50));
    out[6 * n + i] = __reduce_max_sync(0xffffffffu, unsigned(value));
    out[7 * n + i] = __reduce_xor_sync(0xffffffffu, unsigned(value));
    if (threadIdx.x % 32 < 16)  // two halves of a warp meet on their own
        out[8 * n + i] = __ballot_sync(0x0000ffffu, value & 2);
    else
        out[8 * n + i] = __ballot_sync(0xffff0000u, value & 2);
    out[9 * n + i] = __syncthreads_count(value & 1);
    out[10 * n + i] = __syncthreads_or(value == 3);
    out[11 * n + i] = __syncthreads_and(value < 99);
}

extern "C" __global__ void atomics(const int* in, int* ints, unsigned* unsigneds, long long* longs, float* floats) {
    const int value = in[place()];
    atomicAdd(ints, value);
    atomicMax(ints + 1, value);
    atomicMin(ints + 2, value);
    atomicOr(ints + 3, 1 << (value & 31));
    atomicXor(ints + 4, value);
    atomicSub(ints + 5, value);
    atomicInc(unsigneds, 6u);
    atomicDec(unsigneds + 1, 6u);
    atomicAdd(reinterpret_cast<unsigned long long*>(longs), static_cast<unsigned long long>(value) << 32);
    atomicAdd(floats, float(value));
    int old = ints[6], seen;
    while ((seen = atomicCAS(ints + 6, old, old + 2)) != old) old = seen;
}

// The order in which threads run, and that each runs once.
extern "C" __global__ void order(unsigned* ticket, unsigned* turn, unsigned* times) {
    turn[place()] = atomicAdd(ticket, 1u);
    times[place()] += 1;
}

// What shared memory holds when a block starts.
extern "C" __global__ void stale(unsigned* out_static, unsigned* out_dynamic) {
    __shared__ unsigned fixed[64];
    extern __shared__ unsigned dynamic[];
    out_static[place()] = fixed[threadIdx.x];
    out_dynamic[place()] = dynamic[threadIdx.x];
    __syncthreads();
    fixed[threadIdx.x] = dynamic[threadIdx.x] = place();
}
