// The CUDA operators on a CPU: everything but the launches themselves is the real source,
// with a warp as a value (kernels/csrc/common/cuda/warp.cuh). Grids, blocks and shared
// memory are as planned for a GPU. One file, so that it compiles in one go.
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#define TINYVIM_CUDA_OPERATORS tinyvim_mm_emulated, CPU

#include "../../kernels/csrc/pytorch/arguments.cpp"
#include "../../kernels/csrc/pytorch/cuda/ops_cuda.cpp"

namespace tinyvim {

// A test chooses the GPU, which decides how work is divided.
static Gpu emulated_gpu{1, kPlainSharedBytes};

void* current_stream() { return nullptr; }
Gpu present_gpu() { return emulated_gpu; }

template <typename Program>
void launch(const typename Program::Args& args, int64_t blocks, int warps, int64_t shared_bytes,
            void*) {
  TORCH_CHECK(0 < blocks && blocks <= INT32_MAX, "a grid of ", blocks, " blocks");
  TORCH_CHECK(0 < warps && warps * kWarpLanes <= Program::kMaxThreads, warps, " warps");
  TORCH_CHECK(shared_bytes % 16 == 0 && shared_bytes <= emulated_gpu.shared_bytes, shared_bytes,
              " bytes of shared memory");
  const int64_t floats = shared_bytes / 4, guard = 1024;
  std::vector<float> memory(floats + 2 * guard + 4);
  // 16-byte aligned, as the kernels read it.
  float* shared = memory.data() + guard;
  while (reinterpret_cast<uintptr_t>(shared) % 16 != 0) ++shared;
  std::vector<std::unique_ptr<Program>> programs(warps);
  auto each_warp = [&](auto f) {  // backwards: no warp may rely on an earlier one
    for (int w = warps; w-- > 0;) f(*programs[w]);
  };
  for (int64_t block = blocks; block-- > 0;) {
    std::fill(memory.begin(), memory.end(), NAN);  // nothing is there that was not written
    for (int w = 0; w < warps; ++w) {
      programs[w].reset(new Program(args, static_cast<uint32_t>(block), w, shared));
    }
    for (int piece = 0; piece < programs[0]->pieces(); ++piece) {
      each_warp([&](Program& p) { p.stage_positions(piece); });
      each_warp([&](Program& p) { p.stage_rows(piece); });
      each_warp([&](Program& p) { p.walk(piece); });
    }
    each_warp([&](Program& p) { p.finish(); });
    for (const float* p = memory.data(); p < memory.data() + memory.size(); ++p) {
      TORCH_CHECK(std::isnan(*p) || (shared <= p && p < shared + floats),
                  "a warp wrote outside of its block's shared memory");
    }
  }
}

}  // namespace tinyvim

#include "../../kernels/csrc/common/cuda/scan_run.h"

namespace tinyvim {

#define TINYVIM_DEFINE(T)                                                              \
  template void launch_forward<T>(const ForwardArgs<T>&, const ForwardPlan&, void*);   \
  template void launch_backward<T>(const BackwardArgs<T>&, void*);                     \
  template void launch_sum<T>(const SumArgs<T>&, void*);
TINYVIM_DEFINE(float)
TINYVIM_DEFINE(Half)
TINYVIM_DEFINE(BFloat16)

}  // namespace tinyvim

// Their schemas are defined by tests/scan_cases.py.
TORCH_LIBRARY_FRAGMENT(tinyvim_mm_emulated, m) {
  m.def("set_gpu(int multiprocessors, int shared_bytes) -> ()",
        [](int64_t multiprocessors, int64_t shared_bytes) {
          tinyvim::emulated_gpu = {multiprocessors, shared_bytes};
        });
}
