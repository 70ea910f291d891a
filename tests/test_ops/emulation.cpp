// The CUDA operators on a CPU: everything but the launches is the real source,
// with a warp as a value (kernels/csrc/common/cuda/warp.cuh). One file, so that
// it compiles in one go.
#include <torch/library.h>

#include <vector>

#include "../../kernels/csrc/pytorch/ss2d_tensors.cpp"
#include "../../kernels/csrc/pytorch/scan_tensors.cpp"
#include "../../kernels/csrc/pytorch/cuda/ops_cuda.cpp"

namespace tinyvim {

// A test chooses how large the GPU is, which decides whether paths are chunked.
static int64_t emulated_multiprocessors = 1;

void* current_stream() { return nullptr; }
int64_t multiprocessors() { return emulated_multiprocessors; }
at::Tensor ordered_sum(const at::Tensor& t, int64_t axis) { return t.sum(axis); }

void launch_forward(const CudaScanArgs& a, const ForwardPlan& plan, float* y, float* last_state,
                    float* chunk_states, float* chunk_dt, void*) {
  with_states(a.states, [&](auto ns) {
    with_rank(a.rank, [&](auto rank) {
      constexpr int NS = decltype(ns)::value, RANK = decltype(rank)::value;
      if (plan.fused) {
        const int64_t planes = a.paths * state_slices(a.states);
        const int64_t tiles = channel_tiles(a.channels);
        TORCH_CHECK(planes <= kFusedWarps);
        for (int64_t block = 0; block < a.batch * tiles; ++block) {
          std::vector<float> shared(planes * a.length * TINYVIM_WARP);
          TORCH_CHECK(shared.size() * sizeof(float) <= kFusedSharedBytes);
          for (int64_t w = 0; w < planes; ++w) {
            fused_scan<NS, RANK>(a, block / tiles, block % tiles, w, shared.data());
          }
          for (int64_t w = 0; w < planes; ++w) {
            fused_merge(a, block / tiles, block % tiles, w, planes, shared.data(), y);
          }
        }
        return;
      }
      auto launch = [&](Pass pass) {
        // Backwards: no warp may rely on an earlier one.
        for (int64_t id = forward_warps(a, plan.chunks); id-- > 0;) {
          forward_task<NS, RANK>(a, pass, id, plan.chunk_size, plan.chunks, y, last_state,
                                 chunk_states, chunk_dt);
        }
      };
      if (plan.chunks == 1) return launch(Pass::kWhole);
      launch(Pass::kChunkEnds);
      launch(Pass::kChunks);
    });
  });
}

void launch_backward(const CudaBackwardArgs& a, void*) {
  with_states(a.states, [&](auto ns) {
    constexpr int NS = decltype(ns)::value;
    for (int64_t id = backward_warps(a); id-- > 0;) {
      std::vector<float> saved(kCudaSegment * NS * TINYVIM_WARP);
      backward_task<NS>(a, id, saved.data());
    }
  });
}

}  // namespace tinyvim

// Their schemas are defined by tests/scan_cases.py.
TORCH_LIBRARY_IMPL(tinyvim_mm_emulated, CPU, m) {
  m.impl("ss2d", tinyvim::ss2d_cuda);
  m.impl("ss2d_backward", tinyvim::ss2d_backward_cuda);
  m.impl("selective_scan", tinyvim::selective_scan_cuda);
  m.impl("selective_scan_backward", tinyvim::selective_scan_backward_cuda);
}

TORCH_LIBRARY_FRAGMENT(tinyvim_mm_emulated, m) {
  m.def("set_multiprocessors(int n) -> ()",
        [](int64_t n) { tinyvim::emulated_multiprocessors = n; });
}
