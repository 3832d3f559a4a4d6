// The instructions the kernel asks for by name, each in a function of its own, and every access to memory.
// Tests replace this file by one that computes the same on a processor, from the tables of the PTX ISA.
#pragma once

#define INLINE __device__ __forceinline__

__shared__ __align__(16) unsigned char pool[SHARED_BYTES];

struct __align__(8) Words2 { unsigned x, y; };
struct __align__(16) Words4 { unsigned x, y, z, w; };

// -- memory ----------------------------------------------------------------------------------------------------------

INLINE float as_float(unsigned bits) { return __uint_as_float(bits); }
INLINE unsigned as_bits(float value) { return __float_as_uint(value); }

INLINE unsigned load(const unsigned short* at) { return __ldg(at); }
INLINE unsigned load(const float* at) { return __float_as_uint(__ldg(at)); }
INLINE unsigned load_word(const void* at) { return __ldg(static_cast<const unsigned*>(at)); }
INLINE Words2 load_words2(const void* at)
{
    const uint2 got = __ldg(static_cast<const uint2*>(at));
    return {got.x, got.y};
}
INLINE Words4 load_words4(const void* at)
{
    const uint4 got = __ldg(static_cast<const uint4*>(at));
    return {got.x, got.y, got.z, got.w};
}

// Offsets and masks are read once: they must not drive the input out of the first-level cache.
INLINE unsigned load_once(const unsigned short* at)
{
    unsigned short value;
    asm volatile("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(value) : "l"(at));
    return value;
}
INLINE unsigned load_once(const float* at)
{
    unsigned value;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(value) : "l"(at));
    return value;
}

template <class T> INLINE void store(T* at, T value) { *at = value; }

template <class T> INLINE T shared_load(int byte) { return *reinterpret_cast<const T*>(pool + byte); }
template <class T> INLINE void shared_store(int byte, T value) { *reinterpret_cast<T*>(pool + byte) = value; }

INLINE unsigned shared_address(int byte) { return static_cast<unsigned>(__cvta_generic_to_shared(pool + byte)); }

// Sixteen bytes from global to shared memory; past the registers from sm_80 on.
INLINE void copy_async(int byte, const void* from)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(byte)), "l"(from) : "memory");
#else
    shared_store(byte, load_words4(from));
#endif
}
INLINE void wait_for_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// The compiler must not keep what is computed from it: a few instructions cost less than registers held for a loop.
INLINE int thread_again()
{
    int thread = threadIdx.x;
    asm volatile("" : "+r"(thread));
    return thread;
}

INLINE void barrier() { __syncthreads(); }

// -- numbers ---------------------------------------------------------------------------------------------------------

INLINE float half_to_float(unsigned bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<unsigned short>(bits)));
    return value;
}
INLINE unsigned float_to_half(float value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
INLINE unsigned halves_multiply(unsigned a, unsigned b)
{
    unsigned d;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
INLINE unsigned halves_multiply_add(unsigned a, unsigned b, unsigned c)
{
    unsigned d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
INLINE unsigned float_to_bfloat(float value)
{
#if __CUDA_ARCH__ >= 800
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    return 0;  // bf16 is refused below sm_80 before anything is compiled
#endif
}

// -- tensor cores ----------------------------------------------------------------------------------------------------

// Four 8x8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l / 8.
INLINE void load_matrices(unsigned (&a)[4], int byte)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(shared_address(byte))
                 : "memory");
}

// d += a · b for a (16, 16), b (16, 8), d (16, 8) fp32, in the fragments of mma.m16n8k16.
INLINE void multiply_matrices(float (&d)[4], const unsigned (&a)[4], const Words2 b)
{
#if ELEMENT_BF16
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
#endif
#elif __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
#else
    // sm_75 has half the depth: the first two registers of a and the first of b are rows 0 to 7 of K.
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(b.x));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[2]), "r"(a[3]), "r"(b.y));
#endif
}
