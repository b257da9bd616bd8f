// topk.headroom: how far above its score an entry's bound is set, so that a counter that grows a little stays below the bound
// and needs no write to the index. A 16th costs few extra candidates and spares most of the writes, and of the pages
// that readers find changed.
// Every function here is monotone and never below its argument, which the order of bounds relies on.
#include <cmath>
#include <limits>

#include "../pg.h"

namespace topk {

namespace {

constexpr int kShift = 4;

template <typename T>
T raised_integer(T score) {
    if (score <= 0) return score;
    T sum;
    const bool overflow = __builtin_add_overflow(score, static_cast<T>(score >> kShift), &sum);
    return overflow ? std::numeric_limits<T>::max() : sum;
}

template <typename T>
T raised_float(T score) {
    if (!(score > 0) || std::isinf(score)) return score;
    const T sum = score + score / (1 << kShift);
    return std::isinf(sum) ? std::numeric_limits<T>::max() : sum;
}

}  // namespace

TOPK_SQL_FUNCTION(topk_headroom_int2) {
    PG_RETURN_INT16(raised_integer(PG_GETARG_INT16(0)));
}

TOPK_SQL_FUNCTION(topk_headroom_int4) {
    PG_RETURN_INT32(raised_integer(PG_GETARG_INT32(0)));
}

TOPK_SQL_FUNCTION(topk_headroom_int8) {
    PG_RETURN_INT64(raised_integer(PG_GETARG_INT64(0)));
}

TOPK_SQL_FUNCTION(topk_headroom_float4) {
    PG_RETURN_FLOAT4(raised_float(PG_GETARG_FLOAT4(0)));
}

TOPK_SQL_FUNCTION(topk_headroom_float8) {
    PG_RETURN_FLOAT8(raised_float(PG_GETARG_FLOAT8(0)));
}

}  // namespace topk
