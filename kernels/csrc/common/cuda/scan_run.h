// Which kernels a scan runs, in which order. Whoever includes this has defined
//   template <typename Program>
//   void launch(const typename Program::Args&, int64_t blocks, int warps,
//               int64_t shared_bytes, void* stream);
#pragma once
#include "scan_backward.cuh"
#include "scan_forward.cuh"
#include "scan_plan.h"
#include "sum_planes.cuh"

namespace tinyvim {

template <int N>
struct Constant {
  static constexpr int value = N;
};

// Calls f with the number of states in registers as a type.
template <typename F>
void with_states(int64_t states, const F& f) {
  switch (register_states(states)) {
    case 1: return f(Constant<1>());
    case 4: return f(Constant<4>());
    case 8: return f(Constant<8>());
    default: return f(Constant<16>());
  }
}

template <typename Program>
void launch_division(const typename Program::Args& args, void* stream) {
  const Division& d = args.division;
  launch<Program>(args, d.blocks, d.warps, d.shared_bytes, stream);
}

template <typename T>
void launch_forward(const ForwardArgs<T>& given, const ForwardPlan& plan, void* stream) {
  ForwardArgs<T> args = given;
  with_states(args.scan.states, [&](auto states) {
    constexpr int NS = decltype(states)::value;
    args.ends = true;
    if (args.division.chunks > 1) launch_division<Forward<T, NS, Output::kState>>(args, stream);
    args.ends = false;
    if (args.planes != nullptr) {
      launch_division<Forward<T, NS, Output::kPlanes>>(args, stream);
    } else if (args.y == nullptr) {
      launch_division<Forward<T, NS, Output::kState>>(args, stream);
    } else if (plan.fused) {
      launch_division<Forward<T, NS, Output::kFused>>(args, stream);
    } else {
      launch_division<Forward<T, NS, Output::kDirect>>(args, stream);
    }
  });
}

template <typename T>
void launch_backward(const BackwardArgs<T>& args, void* stream) {
  with_states(args.scan.states, [&](auto states) {
    constexpr int NS = decltype(states)::value;
    if (args.division.chunks > 1) launch_division<BackwardEnds<T, NS>>(args, stream);
    launch_division<Backward<T, NS>>(args, stream);
  });
}

template <typename Out>
void launch_sum(const SumArgs<Out>& args, void* stream) {
  const int64_t together = kSumElements * (args.split ? 1 : kSumWarps);
  const int64_t shared = args.split ? kSumWarps * kSumElements * sizeof(float) : 0;
  launch<SumPlanes<Out>>(args, args.outer * ceil_div(args.inner, together), kSumWarps, shared,
                         stream);
}

}  // namespace tinyvim
