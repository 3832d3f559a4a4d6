// Reads the corners of every sample, blends them, and puts the samples into shared memory.
#pragma once
#include "sampling.cuh"

// -- gathering -------------------------------------------------------------------------------------------------------

// A vector of channels at one pixel of a stage. Neighbouring threads take neighbouring channels in NHWC, neighbouring
// pixels in NCHW: what one load instruction touches lies together.
struct Item {
    int pixel, column, channel, there;
};
INLINE Item item_of(const Stage& stage, int i)
{
    const int t = NHWC ? thread_again() : static_cast<int>(threadIdx.x);
    if (NHWC) {
        const int e = i * THREADS + t, column = e % PAIRS * VECTOR, channel = stage.channel + column;
        return {e / PAIRS, column, channel, e < TILE * PAIRS && channel < CHANNELS};
    }
    const int column = (t / TILE * ITEMS + i) * VECTOR;
    if (DIRECT) {
        const Sample sample = sample_of(stage, i);
        return {t % TILE, column, sample.group * GROUP_CHANNELS, sample.there};
    }
    const int channel = stage.channel + column;
    return {t % TILE, column, channel, column < VALUES && channel < CHANNELS};
}
INLINE int entry_of(const Item& item, const Stage& stage)
{
    return item.pixel * TABLE_PITCH + item.channel / GROUP_CHANNELS - stage.channel / GROUP_CHANNELS;
}

struct Gathered {
    unsigned corner[ITEMS][4][WORDS];
    unsigned weight[KEPT_WEIGHTS][WEIGHT_WORDS];
};

INLINE void load_corner(unsigned (&words)[WORDS], const Element* x, unsigned byte, unsigned plane)
{
    if constexpr (NHWC && VECTOR * SIZE == 16) {
        const Words4 got = load_words4(beyond(x, byte));
        words[0] = got.x, words[1] = got.y, words[2] = got.z, words[3] = got.w;
    } else if constexpr (NHWC && VECTOR * SIZE == 8) {
        const Words2 got = load_words2(beyond(x, byte));
        words[0] = got.x, words[1] = got.y;
    } else if constexpr (NHWC && VECTOR * SIZE == 4) {
        words[0] = load_word(beyond(x, byte));
    } else {
#pragma unroll
        for (int v = 0; v < VECTOR; ++v)
            words[v] = load(beyond(x, byte + v * plane));
    }
}

INLINE void load_corners(
    unsigned (&corner)[4][WORDS], const Element* x, unsigned where, int channel, const Shape& shape)
{
    const unsigned plane = shape.h * shape.w * SIZE, unit = (NHWC ? CHANNELS : 1) * SIZE;
    const unsigned place = where & 0x3fffffffu;
    const unsigned right = (where >> 30 & 1u) * unit, down = (where >> 31) * (shape.w * unit);
    const unsigned at = NHWC ? (place * CHANNELS + channel) * SIZE : channel * plane + place * SIZE;
    load_corner(corner[0], x, at, plane);
    load_corner(corner[1], x, at + right, plane);
    load_corner(corner[2], x, at + down, plane);
    load_corner(corner[3], x, at + down + right, plane);
}

// Starts the reads of stage s; `raw` holds its offsets where there is no table.
INLINE void gather(
    Gathered& got, const Raw (&raw)[SAMPLES], const Inputs& in, const Pixel& pixel, int s, const Shape& shape)
{
    const Stage stage = stage_of(s);
    if constexpr (ONE_WEIGHT)
        weights_of_entry(got.weight[0], s, static_cast<int>(threadIdx.x) % TILE * TABLE_PITCH);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        const Item item = item_of(stage, i);
        if (!item.there)
            continue;
        unsigned where;
        if constexpr (DIRECT) {
            const Point point = point_of(raw[i], pixel, stage.round, sample_of(stage, i).k, shape);
            where = point.where;
#pragma unroll
            for (int word = 0; word < WEIGHT_WORDS; ++word)
                got.weight[i][word] = point.weight[word];
        } else {
            where = shared_load<unsigned>(place_entry(s, entry_of(item, stage)));
        }
        load_corners(got.corner[i], in.x, where, item.channel, shape);
    }
}

INLINE unsigned blend_one(const unsigned (&corner)[4][WORDS], const unsigned (&weight)[WEIGHT_WORDS], int word)
{
    float sum = weight_of(weight, 0) * to_float(corner[0][word]);
#pragma unroll
    for (int c = 1; c < 4; ++c)
        sum = fmaf(weight_of(weight, c), to_float(corner[c][word]), sum);
    return from_float(sum);
}

// Two channels at once, of 16 bits each.
INLINE unsigned blend_two(const unsigned (&corner)[4][WORDS], const Words2 weights, int word)
{
#if ELEMENT_BF16
    // eight bits are too few to add up in
    const float w[4] = {as_float(weights.x << 16), as_float(weights.x & 0xffff0000u), as_float(weights.y << 16),
        as_float(weights.y & 0xffff0000u)};
    float low = 0, high = 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        low = fmaf(w[c], as_float(corner[c][word] << 16), low);
        high = fmaf(w[c], as_float(corner[c][word] & 0xffff0000u), high);
    }
    return pair(from_float(low), from_float(high));
#else
    unsigned sum = halves_multiply(corner[0][word], low_twice(weights.x));
    sum = halves_multiply_add(corner[1][word], high_twice(weights.x), sum);
    sum = halves_multiply_add(corner[2][word], low_twice(weights.y), sum);
    return halves_multiply_add(corner[3][word], high_twice(weights.y), sum);
#endif
}

INLINE void put(int s, int pixel, int column, unsigned bits)
{
    if (ELEMENT_FP32)
        shared_store(gathered_at(s) + (column * PITCH + pixel) * SIZE, as_float(bits));
    else
        shared_store(gathered_at(s) + (pixel * PITCH + column) * SIZE, static_cast<unsigned short>(bits));
}

INLINE void put_pair(int s, int pixel, int column, unsigned bits)
{
    shared_store(gathered_at(s) + (pixel * PITCH + column) * SIZE, bits);
}

INLINE void put_pairs(const unsigned (&sums)[WORDS], int s, const Item& item)
{
    const int at = gathered_at(s) + (item.pixel * PITCH + item.column) * SIZE;
    if constexpr (WORDS == 4)
        shared_store(at, Words4{sums[0], sums[1], sums[2], sums[3]});
    else if constexpr (WORDS == 2)
        shared_store(at, Words2{sums[0], sums[1]});
    else
        shared_store(at, sums[0]);
}

INLINE void scatter_paired(const Gathered& got, int s)
{
    const Stage stage = stage_of(s);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        const Item item = item_of(stage, i);
        if (item.pixel >= TILE)
            continue;
        unsigned sums[WORDS] = {};
        if (item.there) {
            const Words2 weights = shared_load<Words2>(weight_entry(s, entry_of(item, stage)));
#pragma unroll
            for (int word = 0; word < WORDS; ++word)
                sums[word] = blend_two(got.corner[i], weights, word);
        }
        put_pairs(sums, s, item);
    }
}

// The values of one thread follow each other in a row, so that two go into one word.
INLINE void put_row(const unsigned (&values)[ITEMS * VECTOR], int s)
{
    const int pixel = static_cast<int>(threadIdx.x) % TILE;
    const int column = static_cast<int>(threadIdx.x) / TILE * (ITEMS * VECTOR);
#pragma unroll
    for (int v = 0; v < ITEMS * VECTOR; v += 2) {
        if constexpr (ELEMENT_FP32 || ITEMS * VECTOR % 2) {
            put(s, pixel, column + v, values[v]);
            if (v + 1 < ITEMS * VECTOR)
                put(s, pixel, column + v + 1, values[v + 1 < ITEMS * VECTOR ? v + 1 : v]);
        } else {
            put_pair(s, pixel, column + v, pair(values[v], values[v + 1]));
        }
    }
}

INLINE void scatter_single(const Gathered& got, int s)
{
    const Stage stage = stage_of(s);
    unsigned values[ITEMS * VECTOR];
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        const Item item = item_of(stage, i);
        unsigned weight[WEIGHT_WORDS] = {};
        if constexpr (DIRECT || ONE_WEIGHT) {
#pragma unroll
            for (int word = 0; word < WEIGHT_WORDS; ++word)
                weight[word] = got.weight[DIRECT ? i : 0][word];
        } else if (item.there) {
            weights_of_entry(weight, s, entry_of(item, stage));
        }
#pragma unroll
        for (int v = 0; v < VECTOR; ++v) {
            values[i * VECTOR + v] = item.there ? blend_one(got.corner[i], weight, v) : 0u;
            if (NHWC && item.pixel < TILE)
                put(s, item.pixel, item.column + v, values[i * VECTOR + v]);
        }
    }
    if (!NHWC)
        put_row(values, s);
}

INLINE void scatter(const Gathered& got, int s)
{
    if constexpr (PAIRED)
        scatter_paired(got, s);
    else
        scatter_single(got, s);
}

// Rows of K that no stage fills are 0 from the start, so that they meet the weights' zeros as numbers.
template <int LEFT> INLINE void clear_last()
{
    if constexpr (LEFT > 0)
        for (int e = threadIdx.x; e < 2 * TILE * LEFT; e += THREADS)
            put(e / (TILE * LEFT), e / LEFT % TILE, DEPTH - LEFT + e % LEFT, 0u);
}
INLINE void clear_padding() { clear_last<(NHWC || DIRECT) ? DEPTH - VALUES : 0>(); }
