// Compile-time sizes, what lies where in shared memory, numbers of 16 bits, and what a launch says.
#pragma once
#include "instructions.cuh"

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
