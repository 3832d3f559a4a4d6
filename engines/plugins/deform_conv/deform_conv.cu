// Modulated deformable convolution as one kernel: samples are gathered into shared memory and meet the weights there.
//
//     y(p) = act(b + sum over dilations r, points k, channels c of  w_rk[c] * m_rk(p) * x_c(p + d_r p_k + o_rk(p)))
//
// A block takes TILE pixels of one person and OUT_TILE output channels. It walks through K in stages of DEPTH rows.
// While the matrix units work on stage s, the samples of stage s + 1 and the offsets of stage s + 2 are on their way.
// One barrier a stage is enough, since everything in shared memory has two buffers. Macros come from DeformConvSpec.

#include "gathering.cuh"
#include "product.cuh"

// -- the kernel ------------------------------------------------------------------------------------------------------

INLINE void begin(Gathered& got, Raw (&raw)[SAMPLES], const Inputs& in, const Pixel& pixel, const Shape& shape)
{
    copy_weights(in.weight, 0);
    clear_padding();
    fetch(raw, in, pixel, 0, shape);
    if constexpr (!DIRECT) {
        publish(raw, pixel, 0, shape);
        barrier();
    }
    gather(got, raw, in, pixel, 0, shape);
    if (STAGES > 1)
        fetch(raw, in, pixel, 1, shape);
    scatter(got, 0);
    if (!DIRECT && STAGES > 1)
        publish(raw, pixel, 1, shape);
}

INLINE void accumulate(Sums& sums, const Inputs& in, const Pixel& pixel, const Shape& shape)
{
    Gathered got;
    Raw raw[SAMPLES];
    begin(got, raw, in, pixel, shape);
#pragma unroll 1
    for (int s = 0; s < STAGES; ++s) {
        wait_for_copies();
        barrier();
        const bool next = s + 1 < STAGES, after = s + 2 < STAGES;
        if (next) {
            copy_weights(in.weight, s + 1);
            gather(got, raw, in, pixel, s + 1, shape);
        }
        if (after)
            fetch(raw, in, pixel, s + 2, shape);
        multiply(sums, s);
        if (next)
            scatter(got, s + 1);
        if (!DIRECT && after)
            publish(raw, pixel, s + 2, shape);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) KERNEL_NAME(const Element* x, OFFSET_PARAMETERS
    MASK_PARAMETERS const Element* weight, const float* bias, int h, int w, int oh, int ow, Element* out)
{
    const long long person = blockIdx.z;
    const Shape shape = {h, w, oh * ow, ow};
    const long long maps = person * (JOINED ? ROUNDS : 1) * GROUPS * POINTS * shape.area;
    const int tile_start = blockIdx.x * TILE, out_start = blockIdx.y * OUT_TILE;
    const Inputs in = {x + person * CHANNELS * h * w, {OFFSETS}, {MASKS}, maps,
        weight + static_cast<long long>(blockIdx.y) * (STAGES * DEPTH * OUT_TILE)};
    Sums sums = {};
    accumulate(sums, in, pixel_of(tile_start, shape), shape);
    barrier();
    finish(sums, bias, out_start);
    barrier();
    write(out + person * OUT_CHANNELS * shape.area, out_start, tile_start, shape);
}
