// What a scan kernel works on, on a CPU as on a GPU. Free of torch: kernels are compiled
// once per instruction set, and an inline function of a torch header compiled for AVX-512
// could replace its twin elsewhere in the library.
#pragma once
#include <cstdint>

namespace tinyvim {

// Times between two checkpoints of the state, which the forward pass keeps for the backward.
constexpr int kCheckpoint = 16;

// Strides, in elements, of a tensor with axes (batch, path, position) and a contiguous last
// axis. Where all paths share a tensor the stride of the path is 0.
struct Strides {
  int64_t batch, path, position;
};

// T is the type of x, y, grad_y, grad_x and of `delta`. Everything else is float.
template <typename T>
struct ScanArgs {
  int64_t batch, paths, length, channels, states;
  bool softplus;

  const T* x;  // channels
  Strides x_strides;
  // Step sizes before bias and softplus: `delta`, or dt_low times dt_weight where it is null.
  const T* delta;  // channels
  const float* dt_low;  // rank
  Strides step_strides;  // of the one or the other
  const float* dt_weight;  // (path, rank, channel)
  int64_t rank;
  const float* B;  // states
  const float* C;  // states
  Strides B_strides, C_strides;
  const float* A;     // (path, state, channel)
  const float* D;     // (path, channel) or null
  const float* bias;  // (path, channel) or null
};

}  // namespace tinyvim
