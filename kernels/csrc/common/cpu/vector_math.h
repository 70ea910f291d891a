// Vectors of floats and the two functions that a scan needs of them.
//
// Included only by the kernels; everything is in an anonymous namespace because
// the same names are compiled for several instruction sets.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifndef TINYVIM_VECTOR_WIDTH
#error "compile with -DTINYVIM_VECTOR_WIDTH=4, 8 or 16"
#endif

// States shall stay in registers: loops over them must unroll completely.
#define TINYVIM_UNROLL _Pragma("GCC unroll 16")

namespace {

constexpr int W = TINYVIM_VECTOR_WIDTH;

// GCC's and Clang's vector extension: arithmetic, comparison and selection work
// elementwise and compile to the instructions of the target.
typedef float Vec __attribute__((vector_size(W * sizeof(float))));
typedef uint32_t IntVec __attribute__((vector_size(W * sizeof(float))));

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof(Vec));  // one unaligned load
  return v;
}
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof(Vec)); }
inline Vec splat(float s) { return s - Vec{}; }

template <int D, int... I>
inline Vec swap_lanes(Vec v, std::integer_sequence<int, I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(v, v, (I ^ D)...);
#else
  return __builtin_shuffle(v, IntVec{(I ^ D)...});
#endif
}
template <int D, int... I>
inline Vec upper_from(Vec low, Vec high, std::integer_sequence<int, I...>) {
  return IntVec{(I & D)...} != 0 ? high : low;
}

// Sums each of W vectors over its lanes: v[0] ends with the sum of vector i in
// lane i. Halves are exchanged, so that W sums cost as many additions as one
// vector has lanes, in an order that is always the same.
template <int D = W / 2>
inline void sum_lanes(Vec v[W]) {
  const auto lanes = std::make_integer_sequence<int, W>();
  for (int i = 0; i < D; ++i) {
    const Vec keep = upper_from<D>(v[i], v[i + D], lanes);
    const Vec give = upper_from<D>(v[i + D], v[i], lanes);
    v[i] = keep + swap_lanes<D>(give, lanes);
  }
  if constexpr (D > 1) sum_lanes<D / 2>(v);
}

// 2^x to about 2e-7 relative; 0 (or 1e-38) far below, NaN for NaN.
inline Vec exp2(Vec x) {
#if defined(__AVX512F__)
  // Rounding and scaling in one instruction each, which also treat what is not
  // finite and what over- or underflows.
  const __m512 n = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
  const Vec f = x - (Vec)n;
#else
  // The second operand is what a comparison with NaN selects.
  const Vec low = splat(-126.0f), high = splat(127.99999f);
  Vec t = x < low ? low : x;
  t = t > high ? high : t;
  // t = n + f, n rounded by adding 1.5 * 2^23.
  const Vec shifted = t + 12582912.0f;
  const Vec f = t - (shifted - 12582912.0f);
#endif
  // 2^f on [-0.5, 0.5], least maximum error (2e-9 before rounding). The last
  // coefficient is exactly 1: a bias there would grow with the path's length.
  Vec p = splat(1.53458108e-4f);
  p = p * f + 1.33999312e-3f;
  p = p * f + 9.61848896e-3f;
  p = p * f + 5.55032878e-2f;
  p = p * f + 2.40226469e-1f;
  p = p * f + 6.93147206e-1f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  return (Vec)_mm512_scalef_ps((__m512)p, n);
#else
  IntVec bits, exponent;
  std::memcpy(&bits, &p, sizeof(Vec));
  std::memcpy(&exponent, &shifted, sizeof(Vec));
  bits += exponent << 23;  // the magic number's own bits are shifted out
  Vec result;
  std::memcpy(&result, &bits, sizeof(Vec));
  return result;
#endif
}

constexpr float kLog2e = 1.44269504f, kLn2 = 0.69314718f;

// log(1 + e^x) and its derivative 1 / (1 + e^-x).
inline Vec softplus(Vec x, Vec* derivative) {
  const Vec y = exp2((x > 0 ? -x : x) * kLog2e);
  // log(1 + y) = 2 atanh(s), s = y / (2 + y) <= 1/3: no cancellation for small y. The
  // polynomial of s^2 has an error of 1e-10 before rounding.
  const Vec s = y / (y + 2.0f), s2 = s * s;
  Vec p = splat(2.4409403e-1f);
  p = p * s2 + 2.1394268e-1f;
  p = p * s2 + 2.8620625e-1f;
  p = p * s2 + 3.9998694e-1f;
  p = p * s2 + 6.6666681e-1f;
  p = p * s2 + 2.0f;
  if (derivative != nullptr) {
    const Vec larger = 1.0f / (y + 1.0f);
    *derivative = x > 0 ? larger : y * larger;
  }
  return (x > 0 ? x : Vec{}) + p * s;
}

}  // namespace
