// Named places where a test stops or kills the process: TOPKD_FAULT=<point>:<action>[:<nth>] with the points before_claim,
// after_claim, before_flush, after_flush, in_rebalance and the actions stop (SIGSTOP) and kill (SIGKILL), once, at the nth
// passage (default the first). Compiled out unless the build asks for it.
#pragma once

namespace topkd {

#ifdef TOPKD_FAULT_POINTS
void fault_point(const char* name);
#else
inline void fault_point(const char*) {}
#endif

}  // namespace topkd
