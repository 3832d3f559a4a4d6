// Weights, the matrix product, and how results leave.
#pragma once
#include "shapes.cuh"

// -- weights and the product -----------------------------------------------------------------------------------------

INLINE void copy_weights(const Element* weight, int s)
{
    const Element* from = weight + s * (DEPTH * OUT_TILE);
    for (int e = threadIdx.x; e < WEIGHTS / 16; e += THREADS)
        copy_async(weights_at(s) + e * 16, from + e * (16 / SIZE));
}

#if ELEMENT_FP32
constexpr int PIXEL_THREADS = TILE / 4, OUT_THREADS = THREADS / PIXEL_THREADS;
constexpr int OUTS = OUT_TILE / OUT_THREADS;
struct Sums {
    float of[OUTS][4];
};

// Four pixels and OUTS channels a thread. A stage is added up by itself first: long sums lose fewer bits so.
INLINE void multiply(Sums& sums, int s)
{
    const int pixel = static_cast<int>(threadIdx.x) % PIXEL_THREADS * 4;
    const int out = static_cast<int>(threadIdx.x) / PIXEL_THREADS;
    Sums part = {};
#pragma unroll 4
    for (int k = 0; k < DEPTH; ++k) {
        const Words4 a = shared_load<Words4>(gathered_at(s) + (k * PITCH + pixel) * SIZE);
        const float pixels[4] = {as_float(a.x), as_float(a.y), as_float(a.z), as_float(a.w)};
#pragma unroll
        for (int j = 0; j < OUTS; ++j) {
            const float b = shared_load<float>(weights_at(s) + (k * OUT_TILE + out + j * OUT_THREADS) * SIZE);
#pragma unroll
            for (int p = 0; p < 4; ++p)
                part.of[j][p] = fmaf(pixels[p], b, part.of[j][p]);
        }
    }
#pragma unroll
    for (int j = 0; j < OUTS; ++j)
#pragma unroll
        for (int p = 0; p < 4; ++p)
            sums.of[j][p] += part.of[j][p];
}
#else
constexpr int WARPS = THREADS / 32;
constexpr int WARPS_DOWN = TILE / 16 < WARPS ? TILE / 16 : WARPS, WARPS_ACROSS = WARPS / WARPS_DOWN;
constexpr int DOWN = TILE / 16 / WARPS_DOWN, ACROSS = OUT_TILE / 8 / WARPS_ACROSS;  // 16x8 tiles of a warp
struct Sums {
    float of[DOWN][ACROSS][4];
};
INLINE int first_row() { return static_cast<int>(threadIdx.x) / 32 % WARPS_DOWN * DOWN * 16; }
INLINE int first_tile() { return static_cast<int>(threadIdx.x) / 32 / WARPS_DOWN * ACROSS; }

INLINE void multiply(Sums& sums, int s)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int k = 0; k < DEPTH / 16; ++k) {
        unsigned a[DOWN][4];
#pragma unroll
        for (int i = 0; i < DOWN; ++i) {
            const int row = first_row() + i * 16 + lane % 16, column = k * 16 + lane / 16 * 8;
            load_matrices(a[i], gathered_at(s) + (row * PITCH + column) * SIZE);
        }
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) {
            const int fragment = (k * (OUT_TILE / 8) + first_tile() + j) * 32 + lane;
            const Words2 b = shared_load<Words2>(weights_at(s) + fragment * 8);
#pragma unroll
            for (int i = 0; i < DOWN; ++i)
                multiply_matrices(sums.of[i][j], a[i], b);
        }
    }
}
#endif

// -- the end ---------------------------------------------------------------------------------------------------------

INLINE float activate(float value)
{
    if (ACTIVATION == 1)
        return fmaxf(value, 0.0f);
    if (ACTIVATION == 2)
        return value >= 0.0f ? value : SLOPE * value;
    return value;
}

INLINE void finish_one(float sum, int out, int pixel, const float* bias, int out_start)
{
    const float added = out_start + out < OUT_CHANNELS ? as_float(load(bias + out_start + out)) : 0.0f;
    const unsigned bits = from_float(activate(sum + added));
    if (ELEMENT_FP32)
        shared_store((out * RESULT_PITCH + pixel) * SIZE, as_float(bits));
    else
        shared_store((out * RESULT_PITCH + pixel) * SIZE, static_cast<unsigned short>(bits));
}

INLINE void finish(const Sums& sums, const float* bias, int out_start)
{
#if ELEMENT_FP32
#pragma unroll
    for (int j = 0; j < OUTS; ++j)
#pragma unroll
        for (int p = 0; p < 4; ++p)
            finish_one(sums.of[j][p], static_cast<int>(threadIdx.x) / PIXEL_THREADS + j * OUT_THREADS,
                static_cast<int>(threadIdx.x) % PIXEL_THREADS * 4 + p, bias, out_start);
#else
    // registers 0 and 1 of a 16x8 tile are columns 2 (lane % 4) and the next of row lane / 4; 2 and 3 are 8 rows below
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < DOWN; ++i)
#pragma unroll
        for (int j = 0; j < ACROSS; ++j)
#pragma unroll
            for (int c = 0; c < 4; ++c)
                finish_one(sums.of[i][j][c], (first_tile() + j) * 8 + lane % 4 * 2 + c % 2,
                    first_row() + i * 16 + lane / 4 + c / 2 * 8, bias, out_start);
#endif
}

// `out` of this person; whole rows of pixels at a time.
INLINE void write(Element* out, int out_start, int tile_start, const Shape& shape)
{
    for (int e = threadIdx.x; e < OUT_TILE * TILE; e += THREADS) {
        const int channel = e / TILE, pixel = e % TILE;
        if (out_start + channel < OUT_CHANNELS && tile_start + pixel < shape.area) {
            const Element value = shared_load<Element>((channel * RESULT_PITCH + pixel) * SIZE);
            store(out + (out_start + channel) * shape.area + tile_start + pixel, value);
        }
    }
}
