// The only file that includes Postgres headers, and how C++ and Postgres share a stack.
// Any Postgres call may longjmp past our frames, so in a function that makes one every live local is trivially
// destructible; check_boundary.sh keeps std types that own memory out of src/. What Postgres calls is extern "C".
#pragma once

// Before postgres.h, whose macros (printf, Min, Max, ...) the standard headers would not survive.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <type_traits>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
extern "C" {
#include <postgres.h>

#include <access/amapi.h>
#include <access/amvalidate.h>
#include <access/htup_details.h>
#include <access/sysattr.h>
#include <access/table.h>
#include <access/xact.h>
#include <catalog/namespace.h>
#include <catalog/pg_am.h>
#include <catalog/pg_amop.h>
#include <catalog/pg_amproc.h>
#include <catalog/pg_authid.h>
#include <catalog/pg_class.h>
#include <catalog/pg_collation.h>
#include <catalog/pg_constraint.h>
#include <catalog/pg_namespace.h>
#include <catalog/pg_opclass.h>
#include <catalog/pg_opfamily.h>
#include <catalog/pg_partitioned_table.h>
#include <catalog/pg_type.h>
#include <commands/defrem.h>
#include <common/hashfn.h>
#include <common/int.h>
#include <executor/spi.h>
#include <fmgr.h>
#include <funcapi.h>
#include <mb/pg_wchar.h>
#include <miscadmin.h>
#include <partitioning/partbounds.h>
#include <partitioning/partdesc.h>
#include <pgstat.h>
#include <pgtime.h>
#include <storage/latch.h>
#include <storage/lmgr.h>
#include <storage/lock.h>
#include <utils/acl.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/catcache.h>
#include <utils/date.h>
#include <utils/datetime.h>
#include <utils/fmgroids.h>
#include <utils/guc.h>
#include <utils/hsearch.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/memutils.h>
#include <utils/partcache.h>
#include <utils/regproc.h>
#include <utils/rel.h>
#include <utils/rls.h>
#include <utils/snapmgr.h>
#include <utils/syscache.h>
#include <utils/timestamp.h>
#include <utils/typcache.h>
}
#pragma GCC diagnostic pop

#include "compat.h"

/// Opens the definition of a function that SQL calls (fcinfo interface, version 1).
#define TOPK_SQL_FUNCTION(name) \
    extern "C" {                \
    PG_FUNCTION_INFO_V1(name);  \
    }                           \
    extern "C" Datum name([[maybe_unused]] PG_FUNCTION_ARGS)

namespace topk {

/// Fails to compile when a type could not be skipped by longjmp.
template <typename T>
constexpr void survives_longjmp() {
    static_assert(std::is_trivially_destructible_v<T>, "a Postgres error would skip this destructor");
}

}  // namespace topk
