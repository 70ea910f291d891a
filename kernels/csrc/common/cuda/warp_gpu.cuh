// The types of warp.cuh, which includes this, on a GPU.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace tinyvim {

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

// Two rows of up to NS floats: lane i stands at float i of the one or, from NS on, i - NS of
// the other.
template <int NS>
struct PairOfRows {
  float* first;
  Mask exists;

  PairOfRows() = default;
  TINYVIM_DEVICE PairOfRows(float* a, float* b, int64_t count) {
    const int lane = lane_index();
    first = lane < NS ? a + lane : b + (lane - NS);
    exists = lane % NS < count && lane < 2 * NS;
  }
  TINYVIM_DEVICE void store(int index, int row_bytes, Float v) const {
    tinyvim::store(row_of(first, index, row_bytes), v, exists);
  }
};

}  // namespace tinyvim
