// Where to read: sampling points from offsets, each computed once.
#pragma once
#include "shapes.cuh"

// -- sampling points -------------------------------------------------------------------------------------------------

// The pixel of the result whose points a thread computes: the same in every stage.
struct Pixel {
    int inside, row, column;  // the last pixel of the map stands in for those behind it
};
INLINE Pixel pixel_of(int tile_start, const Shape& shape)
{
    const int inside = within(tile_start + static_cast<int>(threadIdx.x) % TILE, 0, shape.area - 1);
    return {inside, inside / shape.width * STRIDE, inside % shape.width * STRIDE};
}

// What is read of offsets and mask for one point, before anything is computed from it.
struct Raw {
    unsigned dy, dx, mask;
};
struct Point {
    unsigned where;                 // first corner | step to the right << 30 | step down << 31
    unsigned weight[WEIGHT_WORDS];  // of the corners, mask included, as elements; 0 outside the map
};

// One axis: the two neighbours, kept inside, and their weights. The fraction is taken from the offset itself: added to
// a coordinate of 64 or more it would lose bits. fmaxf gives its other argument for NaN, which is thus far outside.
struct Axis {
    int first, step;
    float near, far;
};
INLINE Axis axis(int base, float delta, int size)
{
    const float tame = fminf(fmaxf(delta, -1048576.0f), 1048576.0f);
    const float whole = floorf(tame), part = tame - whole;
    const int at = base + static_cast<int>(whole);
    const int first = within(at, 0, size - 1), second = within(at + 1, 0, size - 1);
    return {first, second - first, first == at ? 1.0f - part : 0.0f, second == at + 1 ? part : 0.0f};
}

INLINE Point point_of(const Raw& raw, const Pixel& pixel, int round, int k, const Shape& shape)
{
    const int top = pixel.row - padding(round) + k / KERNEL_W * dilation(round);
    const int left = pixel.column - padding(round) + k % KERNEL_W * dilation(round);
    const Axis y = axis(top, as_float(raw.dy), shape.h), x = axis(left, as_float(raw.dx), shape.w);
    const float m = HAS_MASK ? mask_to_float(raw.mask) : 1.0f;
    Point point;
    point.where = static_cast<unsigned>(y.first * shape.w + x.first) | static_cast<unsigned>(x.step) << 30
        | static_cast<unsigned>(y.step) << 31;
    const unsigned weight[4] = {from_float(y.near * x.near * m), from_float(y.near * x.far * m),
        from_float(y.far * x.near * m), from_float(y.far * x.far * m)};
#pragma unroll
    for (int i = 0; i < WEIGHT_WORDS; ++i)
        point.weight[i] = ELEMENT_FP32 ? weight[i] : pair(weight[2 * i % 4], weight[2 * i % 4 + 1]);
    return point;
}

// Which (kernel point, offset group) sample i of a thread is; `there` is false behind the last.
struct Sample {
    int k, group, there;
};
INLINE Sample sample_of(const Stage& stage, int i)
{
    const int t = DIRECT ? thread_again() : static_cast<int>(threadIdx.x);
    if (DIRECT) {
        const int pair_index = stage.inner * PAIRS + t / TILE * ITEMS + i;
        return {pair_index / GROUPS, pair_index % GROUPS, pair_index < POINTS * GROUPS};
    }
    const int local = (i * THREADS + t) / TILE, group = stage.channel / GROUP_CHANNELS + local;
    return {stage.point, group, local < TABLE_GROUPS && group < GROUPS};
}

INLINE void fetch(Raw (&raw)[SAMPLES], const Inputs& in, const Pixel& pixel, int s, const Shape& shape)
{
    const Stage stage = stage_of(s);
    const float* offset = of_round(in.offset, stage.round) + 2 * in.maps;
    const Mask* mask = of_round(in.mask, stage.round) + (HAS_MASK ? in.maps : 0);
    const int first = JOINED ? stage.round * GROUPS * POINTS : 0;
#pragma unroll
    for (int i = 0; i < SAMPLES; ++i) {
        const Sample sample = sample_of(stage, i);
        raw[i] = {0, 0, 0};
        if (sample.there) {
            const unsigned map = static_cast<unsigned>((first + sample.group * POINTS + sample.k) * shape.area);
            const unsigned dy = (2 * map + pixel.inside) * sizeof(float), row = shape.area * sizeof(float);
            raw[i].dy = load_once(beyond(offset, dy));
            raw[i].dx = load_once(beyond(offset, dy + row));
            if (HAS_MASK)
                raw[i].mask = load_once(beyond(mask, (map + pixel.inside) * sizeof(Mask)));
        }
    }
}

// -- the table: points of a stage, computed once, by (pixel, group) --------------------------------------------------

INLINE int place_entry(int s, int entry) { return table_at(s) + TABLE_ENTRIES * 4 * SIZE + entry * 4; }
INLINE int weight_entry(int s, int entry) { return table_at(s) + entry * 4 * SIZE; }

INLINE void publish(const Raw (&raw)[SAMPLES], const Pixel& pixel, int s, const Shape& shape)
{
    const Stage stage = stage_of(s);
#pragma unroll
    for (int i = 0; i < SAMPLES; ++i) {
        const Sample sample = sample_of(stage, i);
        if (!sample.there)
            continue;
        const int local = sample.group - stage.channel / GROUP_CHANNELS;
        const int entry = static_cast<int>(threadIdx.x) % TILE * TABLE_PITCH + local;
        const Point point = point_of(raw[i], pixel, stage.round, sample.k, shape);
        shared_store(place_entry(s, entry), point.where);
        if constexpr (ELEMENT_FP32)
            shared_store(weight_entry(s, entry),
                Words4{point.weight[0], point.weight[1], point.weight[WEIGHT_WORDS - 2],
                    point.weight[WEIGHT_WORDS - 1]});
        else
            shared_store(weight_entry(s, entry), Words2{point.weight[0], point.weight[1]});
    }
}

INLINE void weights_of_entry(unsigned (&weight)[WEIGHT_WORDS], int s, int entry)
{
    if constexpr (ELEMENT_FP32) {
        const Words4 got = shared_load<Words4>(weight_entry(s, entry));
        weight[0] = got.x, weight[1] = got.y, weight[WEIGHT_WORDS - 2] = got.z, weight[WEIGHT_WORDS - 1] = got.w;
    } else {
        const Words2 got = shared_load<Words2>(weight_entry(s, entry));
        weight[0] = got.x, weight[1] = got.y;
    }
}

INLINE float weight_of(const unsigned (&weight)[WEIGHT_WORDS], int corner)
{
    if (ELEMENT_FP32)
        return to_float(weight[corner % WEIGHT_WORDS]);
    return to_float(corner % 2 ? weight[corner / 2] >> 16 : weight[corner / 2] & 0xffffu);
}
