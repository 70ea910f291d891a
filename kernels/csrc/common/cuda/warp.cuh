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

}  // namespace tinyvim

#if defined(__CUDACC__)
#include "warp_gpu.cuh"
#else
#include "warp_emulated.h"
#endif

namespace tinyvim {

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
