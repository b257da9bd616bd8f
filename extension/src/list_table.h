// A table that sorted lists of views are read from: a partition of hours, a roll-up, or the late additions. Its columns are the list's
// group (window_start; of late additions span, window_start), video_id, views.
#pragma once

#include "pg.h"

namespace topk {

struct ListTable {
    Relation relation;
    Relation top_index;  ///< topk (group, views DESC, video_id); null if it has none that can be used
    Relation key_index;  ///< the primary key (group, video_id); likewise
    int groups;

    AttrNumber id_column() const { return static_cast<AttrNumber>(groups + 1); }
    AttrNumber views_column() const { return static_cast<AttrNumber>(groups + 2); }
};

/// Opens table and indexes under AccessShareLock, which is held until the transaction ends. False if it was dropped, or its columns are
/// not ours (partitions may be made by hand). Opening runs nothing of the owner's.
bool open_list_table(Oid table, int groups, ListTable* opened);
void close_list_table(const ListTable& table);

/// A condition that fixes a column of an index (from 1) to a timestamptz or text.
void fix_column(ScanKeyData* key, int index_column, Oid type, Datum value);

}  // namespace topk
