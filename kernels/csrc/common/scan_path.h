// The order in which a scan visits the positions of a map.
//
// Free of torch, so that CPU kernels of every instruction set, CUDA kernels and
// tests share it.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define TINYVIM_HD __host__ __device__ __forceinline__
#else
#define TINYVIM_HD inline
#endif

namespace tinyvim {

// One path as an integer: bit 0 reads columns instead of rows, bit 1 reads
// backwards. ScanPath in tinyvim_mm/ops/scan_paths.py defines the orders; the tests hold
// this function to it.
enum PathBits : int { kTranspose = 1, kReverse = 2 };

// Position (row * width + column) that a path visits at time t.
TINYVIM_HD int path_position(int path, int t, int height, int width) {
  if (path & kReverse) t = height * width - 1 - t;
  if (path & kTranspose) return (t % height) * width + t / height;
  return t;
}

}  // namespace tinyvim
