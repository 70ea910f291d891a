// A warp as a value, so that one source is both CUDA and its own CPU test.
//
// On a GPU a `Float` is the float of one lane, as usual. Compiled by a host
// compiler it holds all 32 lanes, every operation loops over them, and a kernel
// becomes an ordinary function that runs warp after warp. Kernels written with
// these types therefore have their index arithmetic, masks, shuffles and
// chunking tested without a GPU (tests/test_ops/test_conformance.py). The
// price: no divergent branches on lane values; masks and `select` instead.
#pragma once
#include <cmath>
#include <cstdint>

#define TINYVIM_WARP 32

#if defined(__CUDACC__)

#define TINYVIM_DEVICE __device__ __forceinline__

namespace tinyvim {

using Float = float;
using Int = int64_t;
using Mask = bool;

TINYVIM_DEVICE Int lane_index() { return threadIdx.x % TINYVIM_WARP; }
TINYVIM_DEVICE Float select(Mask m, Float a, Float b) { return m ? a : b; }
TINYVIM_DEVICE Float fma(Float a, Float b, Float c) { return ::fmaf(a, b, c); }
// 2^x in one instruction of the special function unit; the scan's only costly step.
TINYVIM_DEVICE Float exp2(Float x) { return ::exp2f(x); }
TINYVIM_DEVICE Float exp(Float x) { return ::expf(x); }
TINYVIM_DEVICE Float log1p(Float x) { return ::log1pf(x); }
TINYVIM_DEVICE Float load(const float* p, Int i) { return __ldg(p + i); }
TINYVIM_DEVICE Float load(const float* p, Int i, Mask m) { return m ? __ldg(p + i) : 0.0f; }
// Four neighbors, the same for all lanes; p + i is 16-byte aligned.
TINYVIM_DEVICE void load4(const float* p, int64_t i, Float out[4]) {
  const float4 v = __ldg(reinterpret_cast<const float4*>(p + i));
  out[0] = v.x;
  out[1] = v.y;
  out[2] = v.z;
  out[3] = v.w;
}
// Memory that the same kernel writes must not go through the read-only cache.
TINYVIM_DEVICE Float reload(const float* p, Int i) { return p[i]; }
TINYVIM_DEVICE Float reload(const float* p, Int i, Mask m) { return m ? p[i] : 0.0f; }
TINYVIM_DEVICE void store(float* p, Int i, Float v) { p[i] = v; }
TINYVIM_DEVICE void store(float* p, Int i, Float v, Mask m) {
  if (m) p[i] = v;
}
TINYVIM_DEVICE Float shuffle_xor(Float v, int lanes) {
  return __shfl_xor_sync(0xffffffffu, v, lanes);
}

}  // namespace tinyvim

#else

#define TINYVIM_DEVICE inline

namespace tinyvim {

template <typename T>
struct Lanes {
  T v[TINYVIM_WARP];
  Lanes() : v{} {}
  Lanes(T s) {  // NOLINT: a scalar is the same in every lane
    for (T& e : v) e = s;
  }
  template <typename F>
  static Lanes make(const F& f) {
    Lanes r;
    for (int i = 0; i < TINYVIM_WARP; ++i) r.v[i] = f(i);
    return r;
  }
  friend Lanes operator+(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] + b.v[i]; });
  }
  friend Lanes operator-(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] - b.v[i]; });
  }
  friend Lanes operator*(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] * b.v[i]; });
  }
  friend Lanes operator/(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] / b.v[i]; });
  }
  friend Lanes operator%(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] % b.v[i]; });
  }
  friend Lanes operator&(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] & b.v[i]; });
  }
  friend Lanes<bool> operator<(const Lanes& a, const Lanes& b) {
    return Lanes<bool>::make([&](int i) { return a.v[i] < b.v[i]; });
  }
  friend Lanes<bool> operator>(const Lanes& a, const Lanes& b) { return b < a; }
  friend Lanes<bool> operator==(const Lanes& a, const Lanes& b) {
    return Lanes<bool>::make([&](int i) { return a.v[i] == b.v[i]; });
  }
  friend Lanes operator&&(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] && b.v[i]; });
  }
};

using Float = Lanes<float>;
using Int = Lanes<int64_t>;
using Mask = Lanes<bool>;

inline Int lane_index() {
  return Int::make([](int i) { return i; });
}
inline Float select(const Mask& m, const Float& a, const Float& b) {
  return Float::make([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; });
}
inline Float fma(const Float& a, const Float& b, const Float& c) {
  return Float::make([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline Float exp2(const Float& x) {
  return Float::make([&](int i) { return std::exp2(x.v[i]); });
}
inline Float exp(const Float& x) {
  return Float::make([&](int i) { return std::exp(x.v[i]); });
}
inline Float log1p(const Float& x) {
  return Float::make([&](int i) { return std::log1p(x.v[i]); });
}
inline Float load(const float* p, const Int& at) {
  return Float::make([&](int i) { return p[at.v[i]]; });
}
inline Float load(const float* p, const Int& at, const Mask& m) {
  return Float::make([&](int i) { return m.v[i] ? p[at.v[i]] : 0.0f; });
}
inline void load4(const float* p, int64_t at, Float out[4]) {
  for (int j = 0; j < 4; ++j) out[j] = Float(p[at + j]);
}
inline Float reload(const float* p, const Int& at) { return load(p, at); }
inline Float reload(const float* p, const Int& at, const Mask& m) { return load(p, at, m); }
inline void store(float* p, const Int& at, const Float& v) {
  for (int i = 0; i < TINYVIM_WARP; ++i) p[at.v[i]] = v.v[i];
}
inline void store(float* p, const Int& at, const Float& v, const Mask& m) {
  for (int i = 0; i < TINYVIM_WARP; ++i) {
    if (m.v[i]) p[at.v[i]] = v.v[i];
  }
}
inline Float shuffle_xor(const Float& v, int lanes) {
  return Float::make([&](int i) { return v.v[i ^ lanes]; });
}

}  // namespace tinyvim

#endif
