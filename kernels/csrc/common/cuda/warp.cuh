// A warp as a value, so that one source is both CUDA and its own CPU test.
//
// On a GPU a `Float` is the float of one lane, as usual, and a pointer `at_lane` is the
// lane's own. Compiled by a host compiler a `Float` holds all 32 lanes, every operation
// loops over them, such a pointer is that of lane 0, and a kernel becomes an ordinary
// function that runs warp after warp. Kernels written with these types therefore have
// their index arithmetic, masks, shuffles and chunks tested without a GPU
// (tests/test_ops/emulation.cpp). The price: no divergent branches on lane values outside
// of `each_lane`; masks and `select` instead. Plain `float` is what all lanes share.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda_args.h"

#define TINYVIM_WARP 32

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define TINYVIM_DEVICE __device__ __forceinline__
#define TINYVIM_UNROLL_ALL _Pragma("unroll")
#define TINYVIM_UNROLL_4 _Pragma("unroll 4")
#define TINYVIM_UNROLL_1 _Pragma("unroll 1")
#else
#define TINYVIM_DEVICE inline
#define TINYVIM_UNROLL_ALL
#define TINYVIM_UNROLL_4
#define TINYVIM_UNROLL_1
#endif

namespace tinyvim {

// The element that lies `index` rows of `row_bytes` behind `p`: one instruction on a GPU.
template <typename T>
TINYVIM_DEVICE T* row_of(T* p, int index, int row_bytes) {
  const int64_t bytes = static_cast<int64_t>(index) * static_cast<int64_t>(row_bytes);
  return reinterpret_cast<T*>(reinterpret_cast<char*>(p) + bytes);
}
template <typename T>
TINYVIM_DEVICE const T* row_of(const T* p, int index, int row_bytes) {
  const int64_t bytes = static_cast<int64_t>(index) * static_cast<int64_t>(row_bytes);
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(p) + bytes);
}

#if defined(__CUDACC__)

using Float = float;
using Mask = bool;

// A value that the compiler keeps in a register, where it would compute it anew at each use.
TINYVIM_DEVICE int kept(int v) {
  asm volatile("" : "+r"(v));
  return v;
}

TINYVIM_DEVICE float to_float(float v) { return v; }
TINYVIM_DEVICE float to_float(Half v) { return __half2float(__ushort_as_half(v.bits)); }
TINYVIM_DEVICE float to_float(BFloat16 v) { return __uint_as_float(uint32_t{v.bits} << 16); }
TINYVIM_DEVICE void from_float(float v, float* to) { *to = v; }
TINYVIM_DEVICE void from_float(float v, Half* to) {
  *to = {__half_as_ushort(__float2half_rn(v))};
}
TINYVIM_DEVICE void from_float(float v, BFloat16* to) {
  *to = {__bfloat16_as_ushort(__float2bfloat16_rn(v))};
}
TINYVIM_DEVICE float read_only(const float* p) { return __ldg(p); }
TINYVIM_DEVICE Half read_only(const Half* p) {
  return {__ldg(reinterpret_cast<const unsigned short*>(p))};
}
TINYVIM_DEVICE BFloat16 read_only(const BFloat16* p) {
  return {__ldg(reinterpret_cast<const unsigned short*>(p))};
}
TINYVIM_DEVICE int read_only(const int32_t* p) { return __ldg(p); }

TINYVIM_DEVICE int lane_index() { return threadIdx.x % TINYVIM_WARP; }
template <typename F>
TINYVIM_DEVICE void each_lane(const F& f) {
  f(lane_index());
}
TINYVIM_DEVICE Mask lanes_below(int64_t n) { return lane_index() < n; }
template <typename P>
TINYVIM_DEVICE P* at_lane(P* p) {
  return p + lane_index();
}
// The lanes whose index has this bit.
TINYVIM_DEVICE Mask lanes_with(int bit) { return (lane_index() & bit) != 0; }
TINYVIM_DEVICE Float select(Mask m, Float a, Float b) { return m ? a : b; }
TINYVIM_DEVICE Float fma(Float a, Float b, Float c) { return ::fmaf(a, b, c); }
TINYVIM_DEVICE Float abs(Float x) { return ::fabsf(x); }
TINYVIM_DEVICE Float positive(Float x) { return ::fmaxf(x, 0.0f); }
// One instruction each, with at most 2 units of the last place of error. Results below
// 2^-126 are zero.
TINYVIM_DEVICE Float exp2(Float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
TINYVIM_DEVICE Float reciprocal(Float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
template <typename T>
TINYVIM_DEVICE void store(T* p, Float v, Mask m) {
  if (m) from_float(v, p);
}

// The channels of the lanes. Lanes beyond the last channel read that one, so that no load
// waits for a mask, and write nothing.
struct Columns {
  Mask inside;
  int lane;

  Columns() = default;
  TINYVIM_DEVICE explicit Columns(int64_t count) {
    inside = lane_index() < count;
    lane = inside ? lane_index() : static_cast<int>(count) - 1;
  }
  template <typename P>
  TINYVIM_DEVICE P* at(P* p) const {
    return p + lane;
  }
  // `p` is at() of the lane, memory that no block of this launch writes.
  template <typename T>
  TINYVIM_DEVICE Float load(const T* p) const {
    return to_float(read_only(p));
  }
  template <typename T>
  TINYVIM_DEVICE void store(T* p, Float v) const {
    tinyvim::store(p, v, inside);
  }
};
// Shared memory, all lanes.
TINYVIM_DEVICE Float load_shared(const float* p) { return *p; }
TINYVIM_DEVICE void store_shared(float* p, Float v) { *p = v; }
// Shared memory, the same values for all lanes; 16-byte aligned.
TINYVIM_DEVICE void broadcast4(const float* p, float out[4]) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  out[0] = v.x;
  out[1] = v.y;
  out[2] = v.z;
  out[3] = v.w;
}
TINYVIM_DEVICE void broadcast4(const int32_t* p, int out[4]) {
  const int4 v = *reinterpret_cast<const int4*>(p);
  out[0] = v.x;
  out[1] = v.y;
  out[2] = v.z;
  out[3] = v.w;
}
TINYVIM_DEVICE Float shuffle_xor(Float v, int lanes) {
  return __shfl_xor_sync(0xffffffffu, v, lanes);
}

#else  // the emulation

inline float to_float(float v) { return v; }
inline float to_float(BFloat16 v) {
  const uint32_t bits = uint32_t{v.bits} << 16;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}
inline float to_float(Half v) {
  const int exponent = v.bits >> 10 & 31, fraction = v.bits & 1023;
  const float size = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(1024.0f + fraction, exponent - 25);
  return v.bits & 0x8000 ? -size : size;
}
inline void from_float(float v, float* to) { *to = v; }
inline void from_float(float v, BFloat16* to) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  // To nearest, ties to even; NaN stays one.
  bits = v != v ? 0x7fc00000u : bits + 0x7fffu + (bits >> 16 & 1);
  to->bits = static_cast<uint16_t>(bits >> 16);
}
inline void from_float(float v, Half* to) {
  const uint16_t sign = std::signbit(v) ? 0x8000 : 0;
  const float size = std::fabs(v);
  if (v != v) {
    to->bits = 0x7e00;
  } else if (size >= 65520.0f) {
    to->bits = sign | 0x7c00;
  } else {
    int exponent = -14;
    if (size >= 6.103515625e-5f) exponent = std::ilogb(size);
    // Rounds to nearest, ties to even; a carry into the exponent is what it should be.
    const int units = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));
    to->bits = static_cast<uint16_t>(sign | ((exponent + 14) * 1024 + units));
  }
}

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
  friend Lanes operator*(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] * b.v[i]; });
  }
  friend Lanes<bool> operator>(const Lanes& a, const Lanes& b) {
    return Lanes<bool>::make([&](int i) { return a.v[i] > b.v[i]; });
  }
  friend Lanes operator&&(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] && b.v[i]; });
  }
};

using Float = Lanes<float>;
using Mask = Lanes<bool>;

inline int kept(int v) { return v; }

template <typename F>
void each_lane(const F& f) {
  for (int lane = 0; lane < TINYVIM_WARP; ++lane) f(lane);
}
template <typename T>
T read_only(const T* p) {
  return *p;
}
template <typename P>
P* at_lane(P* p) {
  return p;
}
inline Mask lanes_below(int64_t n) {
  return Mask::make([&](int i) { return i < n; });
}
inline Mask lanes_with(int bit) {
  return Mask::make([&](int i) { return (i & bit) != 0; });
}
inline Float select(const Mask& m, const Float& a, const Float& b) {
  return Float::make([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; });
}
inline Float fma(const Float& a, const Float& b, const Float& c) {
  return Float::make([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline Float abs(const Float& x) {
  return Float::make([&](int i) { return std::fabs(x.v[i]); });
}
inline Float positive(const Float& x) {
  return Float::make([&](int i) { return std::fmax(x.v[i], 0.0f); });
}
inline Float exp2(const Float& x) {
  return Float::make([&](int i) { return std::exp2(x.v[i]); });
}
inline Float reciprocal(const Float& x) {
  return Float::make([&](int i) { return 1.0f / x.v[i]; });
}
template <typename T>
void store(T* p, const Float& v, const Mask& m) {
  for (int i = 0; i < TINYVIM_WARP; ++i) {
    if (m.v[i]) from_float(v.v[i], p + i);
  }
}
struct Columns {
  Mask inside;
  int count;

  Columns() = default;
  explicit Columns(int64_t n)
      : inside(lanes_below(n)), count(n < TINYVIM_WARP ? static_cast<int>(n) : TINYVIM_WARP) {}
  template <typename P>
  P* at(P* p) const {
    return p;
  }
  template <typename T>
  Float load(const T* p) const {
    return Float::make([&](int i) { return to_float(p[i < count ? i : count - 1]); });
  }
  template <typename T>
  void store(T* p, const Float& v) const {
    tinyvim::store(p, v, inside);
  }
};
inline Float load_shared(const float* p) {
  return Float::make([&](int i) { return p[i]; });
}
inline void store_shared(float* p, const Float& v) { store(p, v, Mask(true)); }
template <typename T, typename S>
void broadcast4(const T* p, S out[4]) {
  for (int i = 0; i < 4; ++i) out[i] = p[i];
}
inline Float shuffle_xor(const Float& v, int lanes) {
  return Float::make([&](int i) { return v.v[i ^ lanes]; });
}

#endif

// -- what both have in common --------------------------------------------------------

constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// log(1 + e^x), with a relative error of some 1e-6 from -87 on, and its derivative.
TINYVIM_DEVICE Float softplus(Float x, Float* derivative = nullptr) {
  const Float y = exp2(abs(x) * Float(-kLog2e));
  // log(1 + y) / y on [0, 1], least maximum relative error (3e-8 before rounding). A
  // division would make it shorter, but needs the unit that the exponentials keep busy.
  Float p = Float(5.36481896e-3f);
  p = fma(p, y, Float(-3.00657731e-2f));
  p = fma(p, y, Float(7.92045072e-2f));
  p = fma(p, y, Float(-1.37538001e-1f));
  p = fma(p, y, Float(1.91536546e-1f));
  p = fma(p, y, Float(-2.48571634e-1f));
  p = fma(p, y, Float(3.33213240e-1f));
  p = fma(p, y, Float(-4.99996483e-1f));
  p = fma(p, y, Float(1.0f));
  if (derivative != nullptr) {
    *derivative = select(x > Float(0.0f), Float(1.0f), y) * reciprocal(y + Float(1.0f));
  }
  return fma(p, y, positive(x));
}

// Two rows of up to NS floats: lane i stands at float i of the one or, from NS on, i - NS of
// the other.
template <int NS>
struct PairOfRows {
  float* first;
  Mask exists;

  PairOfRows() = default;
#if defined(__CUDACC__)
  TINYVIM_DEVICE PairOfRows(float* a, float* b, int64_t count) {
    const int lane = lane_index();
    first = lane < NS ? a + lane : b + (lane - NS);
    exists = lane % NS < count && lane < 2 * NS;
  }
  TINYVIM_DEVICE void store(int index, int row_bytes, Float v) const {
    tinyvim::store(row_of(first, index, row_bytes), v, exists);
  }
#else
  float* second;
  PairOfRows(float* a, float* b, int64_t count) : first(a), second(b - NS) {
    exists = Mask::make([&](int i) { return i % NS < count && i < 2 * NS; });
  }
  void store(int index, int row_bytes, const Float& v) const {
    const Mask lower = lanes_below(NS);
    const Mask upper = Mask::make([&](int i) { return i >= NS; });
    tinyvim::store(row_of(first, index, row_bytes), v, exists && lower);
    tinyvim::store(row_of(second, index, row_bytes), v, exists && upper);
  }
#endif
};

// Sums K values over the lanes: lane i ends with the sum of value i % K. Every exchange
// halves the values that a lane holds, so K values cost about K shuffles instead of 5 K.
// K is a power of two up to 32.
template <int K>
TINYVIM_DEVICE Float sum_over_lanes(Float v[K]) {
  int held = K;
  TINYVIM_UNROLL_ALL
  for (int distance = K / 2; distance > 0; distance /= 2) {
    held /= 2;
    const Mask upper = lanes_with(distance);
    TINYVIM_UNROLL_ALL
    for (int i = 0; i < K / 2; ++i) {
      if (i >= held) continue;
      const Float give = select(upper, v[i], v[i + held]);
      const Float keep = select(upper, v[i + held], v[i]);
      v[i] = keep + shuffle_xor(give, distance);
    }
  }
  Float total = v[0];
  TINYVIM_UNROLL_ALL
  for (int distance = K; distance < TINYVIM_WARP; distance *= 2) {
    total = total + shuffle_xor(total, distance);
  }
  return total;
}

}  // namespace tinyvim
