// Modulated deformable convolution as one kernel: samples are gathered into shared memory and meet the weights there.
//
//     y(p) = act(b + sum over dilations r, points k, channels c of  w_rk[c] * m_rk(p) * x_c(p + d_r p_k + o_rk(p)))
//
// A block takes TILE pixels of one person and OUT_TILE output channels. It walks through K in stages of DEPTH rows.
// While the matrix units work on stage s, the samples of stage s + 1 and the offsets of stage s + 2 are on their way.
// One barrier a stage is enough, since everything in shared memory has two buffers. Macros come from DeformConvSpec.

#ifndef EMULATED
#include "instructions.cuh"
#endif

#if ELEMENT_FP32
using Element = float;
#else
using Element = unsigned short;
#endif
#if MASK_FP32
using Mask = float;
#else
using Mask = unsigned short;
#endif

constexpr int GROUP_CHANNELS = CHANNELS / GROUPS;
constexpr int CHUNKS = DIRECT ? 1 : STAGES_PER_ROUND / POINTS;
constexpr int PAIRS = VALUES / VECTOR;  // items of one pixel in a stage
constexpr int STAGES = ROUNDS * STAGES_PER_ROUND;
constexpr int PARTS = THREADS / TILE;   // threads that share a pixel
constexpr bool PAIRED = NHWC && !ELEMENT_FP32 && VECTOR > 1;
constexpr int WORDS = PAIRED ? VECTOR / 2 : VECTOR;  // registers of one corner
constexpr int BY_PIXEL_ITEMS = DIRECT ? PAIRS / PARTS : DEPTH / PARTS;
constexpr int ITEMS = NHWC ? (TILE * PAIRS + THREADS - 1) / THREADS : BY_PIXEL_ITEMS;
constexpr int SAMPLES = DIRECT ? ITEMS : (TILE * TABLE_GROUPS + THREADS - 1) / THREADS;
constexpr bool ONE_WEIGHT = !NHWC && !DIRECT && TABLE_GROUPS == 1;
constexpr int KEPT_WEIGHTS = DIRECT ? ITEMS : 1;
constexpr int WEIGHT_WORDS = ELEMENT_FP32 ? 4 : 2;  // registers of the four weights of a point

// -- shared memory: two buffers each of samples, weights and the table of sampling points ----------------------------

constexpr int SIZE = sizeof(Element);
constexpr int PITCH = ELEMENT_FP32 ? TILE + 4 : DEPTH + 8;  // rows start in different banks
constexpr int GATHERED = (ELEMENT_FP32 ? DEPTH : TILE) * PITCH * SIZE;
constexpr int WEIGHTS = DEPTH * OUT_TILE * SIZE;
constexpr int TABLE_PITCH = TABLE_GROUPS | 1;
constexpr int TABLE_ENTRIES = TABLE_GROUPS ? TILE * TABLE_PITCH : 0;
constexpr int TABLE = (TABLE_ENTRIES * (4 + 4 * SIZE) + 15) / 16 * 16;
constexpr int RESULT_PITCH = TILE + 16 / SIZE;
static_assert(2 * (GATHERED + WEIGHTS + TABLE) <= SHARED_BYTES, "the spec and the kernel disagree on shared memory");
static_assert(OUT_TILE * RESULT_PITCH * SIZE <= SHARED_BYTES, "the spec and the kernel disagree on shared memory");

INLINE int gathered_at(int stage) { return (stage & 1) * GATHERED; }
INLINE int weights_at(int stage) { return 2 * GATHERED + (stage & 1) * WEIGHTS; }
INLINE int table_at(int stage) { return 2 * (GATHERED + WEIGHTS) + (stage & 1) * TABLE; }

// -- numbers ---------------------------------------------------------------------------------------------------------

INLINE float to_float(unsigned bits)
{
#if ELEMENT_FP32
    return as_float(bits);
#elif ELEMENT_BF16
    return as_float(bits << 16);
#else
    return half_to_float(bits);
#endif
}
INLINE unsigned from_float(float value)
{
#if ELEMENT_FP32
    return as_bits(value);
#elif ELEMENT_BF16
    return float_to_bfloat(value);
#else
    return float_to_half(value);
#endif
}
INLINE float mask_to_float(unsigned bits)
{
#if MASK_FP32
    return as_float(bits);
#elif MASK_BF16
    return as_float(bits << 16);
#else
    return half_to_float(bits);
#endif
}
INLINE unsigned pair(unsigned low, unsigned high) { return low | high << 16; }
INLINE unsigned low_twice(unsigned both) { return (both & 0xffffu) * 0x10001u; }
INLINE unsigned high_twice(unsigned both) { return (both >> 16) * 0x10001u; }
// A base that is the same for all threads and 32 bits of a thread's own: one register less for each address.
template <class T> INLINE const T* beyond(const T* base, unsigned bytes)
{
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(base) + bytes);
}
INLINE int within(int value, int low, int high) { return value < low ? low : (value > high ? high : value); }

// -- what the launch says --------------------------------------------------------------------------------------------

struct Shape {
    int h, w, area, width;  // of the input; pixels and columns of the result
};

struct Inputs {
    const Element* x;  // of this person
    const float* offset[OFFSET_TENSORS];
    const Mask* mask[OFFSET_TENSORS];
    long long maps;         // numbers of a mask tensor that belong to the people before this one
    const Element* weight;  // of this tile of output channels
};

// Chosen by comparison, not by index: an indexed array of pointers would live in local memory.
template <class T> INLINE T of_round(const T (&all)[OFFSET_TENSORS], int round)
{
    T chosen = all[0];
#pragma unroll
    for (int r = 1; r < OFFSET_TENSORS; ++r)
        chosen = r == round ? all[r] : chosen;
    return chosen;
}
INLINE int number_of_round(const int (&all)[ROUNDS], int round)
{
    int chosen = all[0];
#pragma unroll
    for (int r = 1; r < ROUNDS; ++r)
        chosen = r == round ? all[r] : chosen;
    return chosen;
}
INLINE int dilation(int round)
{
    constexpr int all[ROUNDS] = {DILATIONS};
    return number_of_round(all, round);
}
INLINE int padding(int round)
{
    constexpr int all[ROUNDS] = {PADDINGS};
    return number_of_round(all, round);
}

// The kernel point and the first channel of a table's stage.
struct Stage {
    int round, point, channel, inner;
};
INLINE Stage stage_of(int stage)
{
    const int round = stage / STAGES_PER_ROUND, inner = stage % STAGES_PER_ROUND;
    return {round, inner / CHUNKS, inner % CHUNKS * VALUES, inner};
}

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
