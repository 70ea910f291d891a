// What the operators need to know of the caller's GPU. tests/test_ops/emulation.cpp has its
// own.
#pragma once
#include "../../common/cuda/scan_plan.h"

namespace tinyvim {

void* current_stream();
Gpu present_gpu();

}  // namespace tinyvim
