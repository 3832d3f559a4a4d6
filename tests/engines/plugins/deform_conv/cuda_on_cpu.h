// Runs a CUDA block on a processor, to judge it: what instructions.cuh does on a GPU is computed here from the tables
// of the PTX ISA, thread by thread, and every access to memory is looked at.
//
// Threads are coroutines, resumed one after the other; they wait at barriers for the block and at matrix instructions
// for their warp. Found are: global accesses outside what was given or misaligned; shared accesses out of bounds, of
// bytes never written, or of bytes that another thread wrote since the last barrier (also the other way round); blocks
// whose threads wait for different things. An asynchronous copy lands as late as it may, and leaves rubbish till then.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#define INLINE static inline
#define __global__
#define __launch_bounds__(threads, blocks)

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx;

namespace machine {

struct Range {
    const char* from;
    size_t bytes;
    bool writable;
};
struct Copy {
    int byte;
    const void* from;
};
// What the lanes of a warp bring to a matrix instruction.
struct Lane {
    unsigned a[4], b[2];
    float d[4];
    int address;
};
struct Warp {
    int arrived = 0;
    unsigned generation = 0;
    Lane lanes[32];
};
struct Thread {
    ucontext_t start;
    jmp_buf place;
    bool begun = false;
    std::vector<char> stack = std::vector<char>(1 << 16);
    bool done = false;
    const unsigned* waits_for = nullptr;  // a generation
    unsigned seen = 0;                    // runs on when it is another
    std::vector<Copy> copies;
};
// Two bytes of shared memory: nothing smaller is ever accessed.
struct Granule {
    short writer = -1, reader = -1;  // reader -2: several
    short written = -1, read = -1;   // in which interval between barriers
};

static std::vector<Range> ranges;
static char fault[200];
static ucontext_t unused;
static jmp_buf scheduler;
static std::vector<Thread> threads(THREADS);
static Warp warps[THREADS / 32];
static int current, arrived, interval;
static unsigned generation;
alignas(16) static unsigned char pool[SHARED_BYTES];
static Granule shadow[SHARED_BYTES / 2];

static void blame(const char* what, long long where)
{
    if (!fault[0])
        snprintf(fault, sizeof fault, "%s: %lld, thread %d of block %u %u %u, after %d barriers", what, where, current,
            blockIdx.x, blockIdx.y, blockIdx.z, interval);
}

// swapcontext would ask the system for the signal mask at every switch; it is needed only to get onto a new stack.
static void resume(Thread& thread)
{
    if (_setjmp(scheduler))
        return;
    if (thread.begun)
        _longjmp(thread.place, 1);
    thread.begun = true;
    swapcontext(&unused, &thread.start);
}
static void pause(Thread& thread)
{
    if (!_setjmp(thread.place))
        _longjmp(scheduler, 1);
}

static void wait_until_changed(const unsigned& counter, unsigned seen)
{
    Thread& self = threads[current];
    self.waits_for = &counter, self.seen = seen;
    pause(self);
}

// -- memory ----------------------------------------------------------------------------------------------------------

static bool global_ok(const void* at, long long bytes, bool writes)
{
    if (reinterpret_cast<uintptr_t>(at) % bytes)
        return blame("misaligned global access of bytes", bytes), false;
    for (const Range& range : ranges) {
        const long long start = static_cast<const char*>(at) - range.from;
        if (start >= 0 && start + bytes <= static_cast<long long>(range.bytes) && (!writes || range.writable))
            return true;
    }
    return blame(writes ? "global write out of bounds of bytes" : "global read out of bounds of bytes", bytes), false;
}

static bool shared_ok(int byte, int bytes, int alignment)
{
    if (byte < 0 || byte + bytes > SHARED_BYTES || byte % alignment)
        return blame("shared access out of bounds or misaligned at", byte), false;
    return true;
}

static void note_read(int byte, int bytes)
{
    for (Granule* b = shadow + byte / 2; b < shadow + (byte + bytes) / 2; ++b) {
        if (b->writer < 0)
            blame("shared read of a byte never written at", 2 * (b - shadow));
        if (b->written == interval && b->writer != current)
            blame("shared read of what another thread wrote since the last barrier at", 2 * (b - shadow));
        b->reader = static_cast<short>(b->read == interval && b->reader != current ? -2 : current);
        b->read = static_cast<short>(interval);
    }
}

static void note_write(int byte, int bytes)
{
    for (Granule* b = shadow + byte / 2; b < shadow + (byte + bytes) / 2; ++b) {
        if (b->written == interval && b->writer != current)
            blame("shared write of what another thread wrote since the last barrier at", 2 * (b - shadow));
        if (b->read == interval && b->reader != current)
            blame("shared write of what another thread read since the last barrier at", 2 * (b - shadow));
        b->writer = static_cast<short>(current), b->written = static_cast<short>(interval);
    }
}

template <class T> static T read_global(const void* at)
{
    T value{};
    if (global_ok(at, sizeof(T), false))
        memcpy(&value, at, sizeof(T));
    return value;
}

// -- numbers of 16 bits ----------------------------------------------------------------------------------------------

static std::vector<float> all_halves()
{
    std::vector<float> values(1 << 16);
    for (unsigned bits = 0; bits < 1 << 16; ++bits) {
        const int exponent = bits >> 10 & 31, fraction = bits & 1023;
        const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
            : exponent                    ? ldexpf(1024 + fraction, exponent - 25)
                                          : ldexpf(fraction, -24);
        values[bits] = bits & 0x8000 ? -size : size;
    }
    return values;
}
static const std::vector<float> halves = all_halves();
static float half_value(unsigned bits) { return halves[bits & 0xffff]; }

// To nearest, ties to even, straight from a double: by way of a float it would be rounded twice.
static unsigned half_bits(double value)
{
    uint64_t wide;
    memcpy(&wide, &value, 8);
    const unsigned sign = wide >> 48 & 0x8000;
    if (std::isnan(value))
        return 0x7fff;
    if (fabs(value) < ldexp(1, -14))
        return sign | static_cast<unsigned>(nearbyint(ldexp(fabs(value), 24)));
    wide = wide << 1 >> 1;
    const uint64_t kept = (wide + ((1ull << 41) - 1) + (wide >> 42 & 1)) >> 42;  // ten bits of fraction
    return sign | static_cast<unsigned>(kept - ((1023 - 15) << 10) < 0x7c00 ? kept - ((1023 - 15) << 10) : 0x7c00);
}
static float bfloat_value(unsigned bits)
{
    const uint32_t wide = bits << 16;
    float value;
    return memcpy(&value, &wide, 4), value;
}
static float short_value(unsigned bits) { return ELEMENT_BF16 ? bfloat_value(bits & 0xffff) : half_value(bits & 0xffff); }

// A sum of tensor cores: the products are exact, what does not fit into a float is cut off, not rounded.
static float cut(double value)
{
    const float nearest = static_cast<float>(value);
    return fabs(static_cast<double>(nearest)) > fabs(value) ? nextafterf(nearest, 0.0f) : nearest;
}

// -- matrix instructions ---------------------------------------------------------------------------------------------

// Every lane leaves what it brings; the last one computes for all.
static Lane& together(const Lane& mine, void (*compute)(Warp&))
{
    Warp& warp = warps[current / 32];
    const int self = current;
    warp.lanes[self % 32] = mine;
    if (++warp.arrived < 32) {
        wait_until_changed(warp.generation, warp.generation);
    } else {
        compute(warp);
        warp.arrived = 0, ++warp.generation;
    }
    return warps[self / 32].lanes[self % 32];
}

// ldmatrix .x4: register i of lane l holds elements 2 (l % 4) and the next of row l / 4 of matrix i, whose address lane
// 8 i + l / 4 gave.
static void give_matrices(Warp& warp)
{
    const int last = current, first = last / 32 * 32;
    for (int l = 0; l < 32; ++l) {
        current = first + l;
        for (int i = 0; i < 4; ++i) {
            const int row = warp.lanes[8 * i + l / 4].address, at = row + l % 4 * 4;
            if (shared_ok(row, 16, 16))
                note_read(at, 4), memcpy(&warp.lanes[l].a[i], pool + at, 4);
        }
    }
    current = last;
}

// Element `row`, `column` of a (16, 16), from the fragment table of m16n8k16; k 0 to 7 are those of m16n8k8.
static double a_at(const Warp& warp, int row, int k)
{
    const unsigned both = warp.lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
    return short_value(k % 2 ? both >> 16 : both);
}
static double b_at(const Warp& warp, int k, int column)
{
    const unsigned both = warp.lanes[column * 4 + k % 8 / 2].b[k / 8];
    return short_value(k % 2 ? both >> 16 : both);
}
static void give_products(Warp& warp)
{
    double a[16][16], b[16][8];
    for (int k = 0; k < 16; ++k) {
        for (int row = 0; row < 16; ++row)
            a[row][k] = a_at(warp, row, k);
        for (int column = 0; column < 8; ++column)
            b[k][column] = b_at(warp, k, column);
    }
    for (int l = 0; l < 32; ++l)
        for (int c = 0; c < 4; ++c) {
            double sum = warp.lanes[l].d[c];
            for (int k = 0; k < 16; ++k)
                sum += a[l / 4 + c / 2 * 8][k] * b[k][l % 4 * 2 + c % 2];
            warp.lanes[l].d[c] = cut(sum);
        }
}

// -- a block ---------------------------------------------------------------------------------------------------------

static void (*body)();
static void enter()
{
    body();
    threads[current].done = true;
    pause(threads[current]);
}

static void start_block()
{
    arrived = 0, interval = 0;
    for (Granule& b : shadow)
        b = Granule();
    memset(pool, 0xff, sizeof pool);
    for (int t = 0; t < THREADS; ++t) {
        Thread& thread = threads[t];
        thread.done = thread.begun = false, thread.waits_for = nullptr, thread.copies.clear();
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack.data();
        thread.start.uc_stack.ss_size = thread.stack.size();
        thread.start.uc_link = nullptr;
        makecontext(&thread.start, enter, 0);
    }
}

// Every thread in turn as far as it comes, until all have ended.
static void run_block()
{
    start_block();
    for (bool some_left = true, moved = true; some_left; ) {
        some_left = moved = false;
        for (int t = 0; t < THREADS && !fault[0]; ++t) {
            Thread& thread = threads[t];
            some_left |= !thread.done;
            if (thread.done || (thread.waits_for && *thread.waits_for == thread.seen))
                continue;
            moved = true, current = t, threadIdx.x = t;
            resume(thread);
        }
        if (some_left && !moved)
            blame("threads wait for each other; at the barrier are", arrived);
        if (fault[0])
            return;
    }
}

}  // namespace machine

// -- what instructions.cuh offers ------------------------------------------------------------------------------------

struct alignas(8) Words2 {
    unsigned x, y;
};
struct alignas(16) Words4 {
    unsigned x, y, z, w;
};

INLINE float as_float(unsigned bits)
{
    float value;
    return memcpy(&value, &bits, 4), value;
}
INLINE unsigned as_bits(float value)
{
    unsigned bits;
    return memcpy(&bits, &value, 4), bits;
}

INLINE unsigned load(const unsigned short* at) { return machine::read_global<unsigned short>(at); }
INLINE unsigned load(const float* at) { return machine::read_global<unsigned>(at); }
INLINE unsigned load_word(const void* at) { return machine::read_global<unsigned>(at); }
INLINE Words2 load_words2(const void* at) { return machine::read_global<Words2>(at); }
INLINE Words4 load_words4(const void* at) { return machine::read_global<Words4>(at); }
INLINE unsigned load_once(const unsigned short* at) { return load(at); }
INLINE unsigned load_once(const float* at) { return load(at); }

template <class T> INLINE void store(T* at, T value)
{
    if (machine::global_ok(at, sizeof(T), true))
        *at = value;
}
template <class T> INLINE T shared_load(int byte)
{
    T value{};
    if (machine::shared_ok(byte, sizeof(T), sizeof(T)))
        machine::note_read(byte, sizeof(T)), memcpy(&value, machine::pool + byte, sizeof(T));
    return value;
}
template <class T> INLINE void shared_store(int byte, T value)
{
    if (machine::shared_ok(byte, sizeof(T), sizeof(T)))
        machine::note_write(byte, sizeof(T)), memcpy(machine::pool + byte, &value, sizeof(T));
}

INLINE void copy_async(int byte, const void* from)
{
    if (!machine::shared_ok(byte, 16, 16) || !machine::global_ok(from, 16, false))
        return;
    machine::note_write(byte, 16);
    memset(machine::pool + byte, 0xff, 16);
    machine::threads[machine::current].copies.push_back({byte, from});
}
INLINE void wait_for_copies()
{
    for (const machine::Copy& copy : machine::threads[machine::current].copies)
        machine::note_write(copy.byte, 16), memcpy(machine::pool + copy.byte, copy.from, 16);
    machine::threads[machine::current].copies.clear();
}

INLINE int thread_again() { return static_cast<int>(threadIdx.x); }

INLINE void barrier()
{
    if (++machine::arrived == THREADS)
        machine::arrived = 0, ++machine::interval, ++machine::generation;
    else
        machine::wait_until_changed(machine::generation, machine::generation);
}

INLINE float half_to_float(unsigned bits) { return machine::half_value(bits & 0xffff); }
INLINE unsigned float_to_half(float value) { return machine::half_bits(value); }
INLINE unsigned on_halves(unsigned a, unsigned b, unsigned c)
{
    const auto one = [](unsigned x, unsigned y, unsigned z) {
        const double product = static_cast<double>(half_to_float(x)) * half_to_float(y);  // exact, and so is the sum
        return machine::half_bits(product + half_to_float(z));
    };
    return one(a, b, c) | one(a >> 16, b >> 16, c >> 16) << 16;
}
INLINE unsigned halves_multiply(unsigned a, unsigned b) { return on_halves(a, b, 0x80008000u); }
INLINE unsigned halves_multiply_add(unsigned a, unsigned b, unsigned c) { return on_halves(a, b, c); }
INLINE unsigned float_to_bfloat(float value)
{
    if (std::isnan(value))
        return 0x7fff;
    const unsigned bits = as_bits(value);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

INLINE void load_matrices(unsigned (&a)[4], int byte)
{
    machine::Lane mine{};
    mine.address = byte;
    memcpy(a, machine::together(mine, machine::give_matrices).a, sizeof a);
}
INLINE void multiply_matrices(float (&d)[4], const unsigned (&a)[4], const Words2 b)
{
    machine::Lane mine{};
    memcpy(mine.a, a, sizeof a), memcpy(mine.d, d, sizeof d);
    mine.b[0] = b.x, mine.b[1] = b.y;
    memcpy(d, machine::together(mine, machine::give_products).d, sizeof d);
}
