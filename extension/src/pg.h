// The only file that includes Postgres headers, and how C++ and Postgres share a stack.
// Any Postgres call may longjmp past our frames, so in a function that makes one every live local is trivially
// destructible; check_boundary.sh keeps std types that own memory out of src/. What Postgres calls is extern "C".
#pragma once

// Before postgres.h, whose macros (printf, Min, Max, ...) the standard headers would not survive.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
extern "C" {
#include <postgres.h>

#include <access/amapi.h>
#include <access/amvalidate.h>
#include <access/detoast.h>
#include <access/genam.h>
#include <access/generic_xlog.h>
#include <access/heapam.h>
#include <access/heaptoast.h>
#include <access/htup_details.h>
#include <access/itup.h>
#include <access/multixact.h>
#include <access/nbtree.h>
#include <access/reloptions.h>
#include <access/relscan.h>
#include <access/sysattr.h>
#include <access/table.h>
#include <access/tableam.h>
#include <access/toast_internals.h>
#include <access/transam.h>
#include <access/visibilitymap.h>
#include <access/xact.h>
#include <access/xloginsert.h>
#include <catalog/index.h>
#include <catalog/namespace.h>
#include <catalog/pg_am.h>
#include <catalog/pg_amop.h>
#include <catalog/pg_amproc.h>
#include <catalog/pg_authid.h>
#include <catalog/pg_class.h>
#include <catalog/pg_collation.h>
#include <catalog/pg_constraint.h>
#include <catalog/pg_database.h>
#include <catalog/pg_namespace.h>
#include <catalog/pg_opclass.h>
#include <catalog/pg_opfamily.h>
#include <catalog/pg_partitioned_table.h>
#include <catalog/pg_publication.h>
#include <catalog/pg_statistic.h>
#include <catalog/pg_type.h>
#include <commands/defrem.h>
#include <commands/progress.h>
#include <commands/vacuum.h>
#include <common/hashfn.h>
#include <common/int.h>
#include <common/pg_prng.h>
#include <executor/executor.h>
#include <executor/spi.h>
#include <fmgr.h>
#include <funcapi.h>
#include <mb/pg_wchar.h>
#include <miscadmin.h>
#include <nodes/nodeFuncs.h>
#include <nodes/pathnodes.h>
#include <optimizer/cost.h>
#include <optimizer/optimizer.h>
#include <optimizer/paths.h>
#include <optimizer/plancat.h>
#include <partitioning/partbounds.h>
#include <partitioning/partdesc.h>
#include <pgstat.h>
#include <pgtime.h>
#include <port/pg_crc32c.h>
#include <storage/bufmgr.h>
#include <storage/bufpage.h>
#include <storage/freespace.h>
#include <storage/indexfsm.h>
#include <storage/latch.h>
#include <storage/lmgr.h>
#include <storage/lock.h>
#include <storage/proc.h>
#include <storage/procarray.h>
#include <storage/sinval.h>
#include <utils/acl.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/catcache.h>
#include <utils/date.h>
#include <utils/datetime.h>
#include <utils/datum.h>
#include <utils/fmgroids.h>
#include <utils/guc.h>
#include <utils/hsearch.h>
#include <utils/index_selfuncs.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/memutils.h>
#include <utils/partcache.h>
#include <utils/regproc.h>
#include <utils/rel.h>
#include <utils/rls.h>
#include <utils/selfuncs.h>
#include <utils/snapmgr.h>
#include <utils/sortsupport.h>
#include <utils/spccache.h>
#include <utils/syscache.h>
#include <utils/timestamp.h>
#include <utils/tuplesort.h>
#include <utils/typcache.h>
#include <utils/xid8.h>
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
