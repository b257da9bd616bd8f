// The access method's callbacks, in the order of an index's life, and the numbers of its support functions.
#pragma once

#include "../pg.h"

namespace topk {

// Stored in pg_amproc; never renumber. 2 to 6 are left out: CREATE OPERATOR CLASS of PostgreSQL 18 takes them for btree's
// sortsupport, in_range, equalimage, options and skipsupport in every access method that can order.
constexpr int kOrderProc = 1;
constexpr int kHashProc = 11;
constexpr int kHeadroomProc = 12;
constexpr int kProcs = 12;
constexpr int kStrategies = 5;  // numbered as in btree

extern "C" {
/// True if the operator class and its family are sound; else INFO messages say what is not, in the words of core's validators.
bool topk_validate(Oid opclass);
bytea* topk_options(Datum options, bool validate);
IndexBuildResult* topk_build(Relation heap, Relation index, IndexInfo* info);
void topk_buildempty(Relation index);
bool topk_insert(Relation index, Datum* values, bool* nulls, ItemPointer tid, Relation heap, IndexUniqueCheck check, bool unchanged,
                 IndexInfo* info);
IndexScanDesc topk_beginscan(Relation index, int keys, int orderbys);
void topk_rescan(IndexScanDesc scan, ScanKey keys, int key_count, ScanKey orderbys, int orderby_count);
/// True for any column while what ranks first is all-visible, when a query is planned.
bool topk_canreturn(Relation index, int column);
bool topk_gettuple(IndexScanDesc scan, ScanDirection direction);
void topk_endscan(IndexScanDesc scan);
IndexBulkDeleteResult* topk_bulkdelete(IndexVacuumInfo* info, IndexBulkDeleteResult* result, IndexBulkDeleteCallback callback, void* state);
IndexBulkDeleteResult* topk_vacuumcleanup(IndexVacuumInfo* info, IndexBulkDeleteResult* result);
void topk_costestimate(PlannerInfo* root, IndexPath* path, double loop_count, Cost* startup, Cost* total, Selectivity* selectivity,
                       double* correlation, double* pages);
}

}  // namespace topk
