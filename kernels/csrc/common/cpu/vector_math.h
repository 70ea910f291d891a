// Vectors of floats and the two functions that a scan needs of them.
//
// Included only by the kernels; everything is in an anonymous namespace because
// the same names are compiled for several instruction sets.
#pragma once
#include <cstdint>
#include <cstring>

#ifndef TINYVIM_VECTOR_WIDTH
#error "compile with -DTINYVIM_VECTOR_WIDTH=4, 8 or 16"
#endif

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

// Fixed order: halves are added until one is left.
inline float sum(Vec v) {
  float s[W];
  store(s, v);
  for (int half = W / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  }
  return s[0];
}

// e^x to about 1e-7 relative; 0 below -87.3, infinity above 88.7, NaN for NaN.
inline Vec exp(Vec x) {
  const Vec low = splat(-87.33654f), high = splat(88.72283f);
  const Vec clamped = x < low ? low : (x > high ? high : x);
  // x = n ln 2 + r, n rounded by adding 1.5 * 2^23.
  const Vec magic = splat(12582912.0f);
  const Vec shifted = clamped * 1.44269504f + magic;
  const Vec n = shifted - magic;
  Vec r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  IntVec bits, exponent;
  std::memcpy(&bits, &p, sizeof(Vec));
  std::memcpy(&exponent, &shifted, sizeof(Vec));
  bits += exponent << 23;  // the magic number's own bits are shifted out
  Vec result;
  std::memcpy(&result, &bits, sizeof(Vec));
  result = x < low ? Vec{} : result;
  result = x > high ? splat(__builtin_inff()) : result;
  return x == x ? result : x;
}

// log(1 + e^x) and its derivative 1 / (1 + e^-x).
inline Vec softplus(Vec x, Vec* derivative) {
  const Vec y = exp(x > 0 ? -x : x);
  // log(1 + y) = 2 atanh(s), s = y / (2 + y) <= 1/3: no cancellation for small y.
  const Vec s = y / (y + 2.0f), s2 = s * s;
  Vec p = splat(2.0f / 15);
  p = p * s2 + 2.0f / 13;
  p = p * s2 + 2.0f / 11;
  p = p * s2 + 2.0f / 9;
  p = p * s2 + 2.0f / 7;
  p = p * s2 + 2.0f / 5;
  p = p * s2 + 2.0f / 3;
  p = p * s2 + 2.0f;
  if (derivative != nullptr) {
    const Vec larger = 1.0f / (y + 1.0f);
    *derivative = x > 0 ? larger : y * larger;
  }
  return (x > 0 ? x : Vec{}) + p * s;
}

}  // namespace
