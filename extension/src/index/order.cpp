// Opening an index; comparing, cutting and storing keys.
#include "order.h"

#include "am.h"
#include "page.h"
#include "toasted.h"

namespace topk {

namespace {

constexpr int kMaxValue = 64;             // bytes of one tie-breaker
constexpr std::size_t kMaxKeyData = 256;  // bytes of all
constexpr Oid kPosixCollation = 951;      // has no symbol in PostgreSQL 18

/// True if core's btree compares the column as support function 1 does, so that its fast comparators can be used.
bool has_core_order(Relation index, int column, Oid less) {
    Oid family, type;
    if (!OidIsValid(less) || !find_less_family(less, &family, &type)) return false;
    return type == index->rd_opcintype[column] &&
           get_opfamily_proc(family, type, type, BTORDER_PROC) == index_getprocid(index, static_cast<AttrNumber>(column + 1), kOrderProc);
}

/// True if the database's default collation is C.
bool default_collation_is_c() {
    HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
    if (!HeapTupleIsValid(tuple)) return false;
    bool is_null;
    const Datum value = SysCacheGetAttr(DATABASEOID, tuple, Anum_pg_database_datcollate, &is_null);
    const bool is_c = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datlocprovider == 'c' && !is_null &&
                      (strcmp(TextDatumGetCString(value), "C") == 0 || strcmp(TextDatumGetCString(value), "POSIX") == 0);
    ReleaseSysCache(tuple);
    return is_c;
}

/// True if the collation surely compares bytes. (Core's own test needs ICU's headers.)
bool compares_bytes(Oid collation) {
    if (collation == DEFAULT_COLLATION_OID) return default_collation_is_c();
    return collation == C_COLLATION_OID || collation == kPosixCollation;
}

void setup_order(OpenIndex& index, int key) {
    const int column = index.groups + key;
    SortSupportData& order = index.order[key];
    memset(&order, 0, sizeof(order));
    order.ssup_cxt = CurrentMemoryContext;
    order.ssup_collation = index.relation->rd_indcollation[column];
    order.ssup_nulls_first = (index.relation->rd_indoption[column] & INDOPTION_NULLS_FIRST) != 0;
    const Oid type = index.relation->rd_opcintype[column];
    const Oid less = get_opfamily_member(index.relation->rd_opfamily[column], type, type, BTLessStrategyNumber);
    const Oid function = index_getprocid(index.relation, static_cast<AttrNumber>(column + 1), kOrderProc);
    if (has_core_order(index.relation, column, less))
        PrepareSortSupportFromOrderingOp(less, &order);
    else
        PrepareSortSupportComparisonShim(function, &order);
    order.ssup_reverse = (index.relation->rd_indoption[column] & INDOPTION_DESC) != 0;
    // Compared bytewise, a prefix sorts before the whole.
    const bool bytewise = (function == F_BTTEXTCMP && compares_bytes(order.ssup_collation)) || function == F_BYTEACMP;
    index.can_cut[key] = key > 0 && bytewise && !order.ssup_reverse;
}

Lead lead_by(const SortSupportData& order) {
    if (order.comparator == ssup_datum_signed_cmp) return Lead::kInt64;
    if (order.comparator == ssup_datum_int32_cmp) return Lead::kInt32;
    return Lead::kNone;
}

void setup_group(OpenIndex& index) {
    for (int column = 0; column < index.groups; ++column) {
        const auto attribute = static_cast<AttrNumber>(column + 1);
        if (!RegProcedureIsValid(index_getprocid(index.relation, attribute, kHashProc)))
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                            errmsg("type %s cannot be a group column of index \"%s\"", format_type_be(index.relation->rd_opcintype[column]),
                                   RelationGetRelationName(index.relation)),
                            errhint("Its operator class needs a hash function: FUNCTION %d (value, bigint) RETURNS bigint.", kHashProc)));
        fmgr_info_copy(&index.hash[column], index_getprocinfo(index.relation, attribute, kHashProc), CurrentMemoryContext);
    }
}

void setup_headroom(OpenIndex& index) {
    const auto score = static_cast<AttrNumber>(index.groups + 1);
    index.headroom.fn_oid = InvalidOid;
    if (RegProcedureIsValid(index_getprocid(index.relation, score, kHeadroomProc)))
        fmgr_info_copy(&index.headroom, index_getprocinfo(index.relation, score, kHeadroomProc), CurrentMemoryContext);
}

/// (hash, score, tie-breakers ...), and how many candidates a group should keep for k of them to be at hand.
void setup_shape(OpenIndex& index) {
    TupleDesc columns = RelationGetDescr(index.relation);
    index.keys = columns->natts - index.groups;
    index.key_desc = CreateTemplateTupleDesc(index.keys + 1);
    TupleDescInitEntry(index.key_desc, 1, "hash", INT8OID, -1, 0);
    for (int key = 0; key < index.keys; ++key)
        TupleDescCopyEntry(index.key_desc, static_cast<AttrNumber>(key + 2), columns, static_cast<AttrNumber>(index.groups + key + 1));
    index.capacity = 4 * static_cast<std::uint32_t>(option_k(index.relation));
}

/// Appends a value to those of an item. False if it and what follows must be left open.
bool store_value(const OpenIndex& index, int key, Datum value, std::size_t* room, Datum* stored, bool* whole) {
    const auto attribute = TupleDescAttr(index.key_desc, key + 1);
    *whole = true;
    *stored = value;
    if (attribute->attbyval) return true;
    std::size_t size = attribute->attlen > 0 ? static_cast<std::size_t>(attribute->attlen) : 0;
    if (attribute->attlen == -1) {
        if (VARATT_IS_EXTERNAL(DatumGetPointer(value))) return false;
        auto* plain = reinterpret_cast<varlena*>(pg_detoast_datum_packed(reinterpret_cast<varlena*>(DatumGetPointer(value))));
        size = VARSIZE_ANY_EXHDR(plain);
        if (size > kMaxValue && index.can_cut[key]) {
            // A text before a character that does not fit; a bytea, which may have zeros, has none.
            const char* bytes = VARDATA_ANY(plain);
            size = getBaseType(attribute->atttypid) == BYTEAOID
                       ? kMaxValue
                       : static_cast<std::size_t>(pg_mbcliplen(bytes, static_cast<int>(size), kMaxValue));
            plain = reinterpret_cast<varlena*>(cstring_to_text_with_len(bytes, static_cast<int>(size)));
            *whole = false;
        }
        *stored = PointerGetDatum(plain);
    } else if (attribute->attlen == -2) {
        size = strlen(DatumGetCString(value)) + 1;
    }
    if (size > (key == 0 ? kMaxKeyData : kMaxValue) || size > *room) return false;
    *room -= size;
    return true;
}

}  // namespace

int group_columns(Relation index) {
    const int columns = IndexRelationGetNumberOfKeyAttributes(index);
    for (int column = 0; column < columns; ++column)
        if (index->rd_indoption[column] & INDOPTION_DESC) return column;
    return -1;
}

OpenIndex* open_index_for_build(Relation relation, Relation heap) {
    auto* index = static_cast<OpenIndex*>(palloc0(sizeof(OpenIndex)));
    index->relation = relation;
    index->heap = heap;
    index->groups = group_columns(relation);
    index->known_head = InvalidBlockNumber;
    if (index->groups < 0)  // CREATE INDEX CONCURRENTLY was refused, and left it
        ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION), errmsg("index \"%s\" has no score", RelationGetRelationName(relation)),
                        errhint("DROP INDEX, and declare it as in (window_start, views DESC, video_id).")));
    setup_shape(*index);
    setup_group(*index);
    for (int key = 0; key < index->keys; ++key) setup_order(*index, key);
    index->lead = lead_by(index->order[0]);
    setup_headroom(*index);
    index->scratch = AllocSetContextCreate(CurrentMemoryContext, "topk operation", ALLOCSET_DEFAULT_SIZES);
    return index;
}

OpenIndex* open_index(Relation relation, Relation heap) {
    OpenIndex* index = open_index_for_build(relation, heap);
    check_meta(*index);
    return index;
}

std::uint64_t hash_column(std::uint64_t hash, bool is_null, std::uint64_t column) {
    return hash_combine64(hash, is_null ? 0 : column);
}

std::uint64_t finish_hash(std::uint64_t hash) {
    return mix_bits(hash);
}

std::uint64_t hash_group(OpenIndex& index, const Datum* values, const bool* nulls) {
    std::uint64_t hash = 0;
    for (int column = 0; column < index.groups; ++column) {
        const std::uint64_t one = nulls[column]
                                      ? 0
                                      : DatumGetUInt64(FunctionCall2Coll(&index.hash[column], index.relation->rd_indcollation[column],
                                                                         values[column], Int64GetDatum(0)));
        hash = hash_column(hash, nulls[column], one);
    }
    return finish_hash(hash);
}

std::uint64_t hash_root(ItemPointerData root) {
    return mix_bits(packed(root));
}

int compare(OpenIndex& index, const Key& a, const Key& b) {
    for (int i = 0; i < index.keys; ++i) {
        if (i >= a.open_from || i >= b.open_from) return (i < a.open_from) - (i < b.open_from);
        const int order = ApplySortComparator(a.values[i], a.nulls[i], b.values[i], b.nulls[i], &index.order[i]);
        if (order != 0) return order;
    }
    return 0;
}

std::uint64_t lead_of(const OpenIndex& index, const Key& key) {
    if (index.lead == Lead::kNone || key.open_from == 0) return 0;
    if (key.nulls[0]) return index.order[0].ssup_nulls_first ? 0 : ~std::uint64_t{0};
    return lead_of(index.lead == Lead::kInt32 ? DatumGetInt32(key.values[0]) : DatumGetInt64(key.values[0]));
}

std::uint64_t lead_of_null(const OpenIndex& index, IndexTuple item) {
    return lead_of(index, key_in(index, item));
}

int compare_items(OpenIndex& index, IndexTuple a, IndexTuple b) {
    const std::uint64_t left = lead_of(index, a), right = lead_of(index, b);
    if (left != right) return left < right ? -1 : 1;
    return compare(index, key_in(index, a), key_in(index, b));
}

Key key_of(const OpenIndex& index, const Datum* values, const bool* nulls) {
    Key key;
    const auto count = static_cast<std::size_t>(index.keys);
    memcpy(key.values.data(), values, count * sizeof(Datum));
    memcpy(key.nulls.data(), nulls, count * sizeof(bool));
    key.open_from = index.keys;
    return key;
}

Key bound_of(const OpenIndex& index, const Datum* values, const bool* nulls) {
    Key key = key_of(index, values, nulls);
    key.open_from = 0;
    while (key.open_from < index.keys && (nulls[key.open_from] || !is_external(index, index.groups + key.open_from, values[key.open_from])))
        ++key.open_from;
    return key;
}

IndexTuple make_item(OpenIndex& index, std::uint64_t hash, const Key& key) {
    std::array<Datum, INDEX_MAX_KEYS + 1> values;
    std::array<bool, INDEX_MAX_KEYS + 1> nulls;
    values[0] = UInt64GetDatum(hash);
    nulls[0] = false;
    std::size_t room = kMaxKeyData;
    bool open = false;
    for (int i = 0; i < index.keys; ++i) {
        bool whole = true;
        values[i + 1] = 0;
        open = open || i >= key.open_from;
        if (!open && !key.nulls[i]) open = !store_value(index, i, key.values[i], &room, &values[i + 1], &whole);
        nulls[i + 1] = open || key.nulls[i];
        open = open || !whole;
    }
    IndexTuple item = index_form_tuple(index.key_desc, values.data(), nulls.data());
    if (IndexTupleSize(item) > kMaxItem) {  // alignment of many short columns; as good as no key at all
        std::fill(nulls.begin() + 1, nulls.end(), true);
        open = true;
        item = index_form_tuple(index.key_desc, values.data(), nulls.data());
    }
    if (open) item->t_info |= kOpenBit;
    return item;
}

IndexTuple make_raised_item(OpenIndex& index, std::uint64_t hash, const Key& key) {
    if (!OidIsValid(index.headroom.fn_oid) || key.nulls[0] || key.open_from == 0) return make_item(index, hash, key);
    Key raised = key;
    raised.values[0] = FunctionCall1Coll(&index.headroom, index.order[0].ssup_collation, key.values[0]);
    return make_item(index, hash, above(index, key, raised) ? key : raised);
}

Key key_in(const OpenIndex& index, IndexTuple item) {
    Key key;
    key.open_from = index.keys;
    for (int i = 0; i < index.keys; ++i) {
        bool is_null;
        key.values[i] = index_getattr(item, i + 2, index.key_desc, &is_null);
        key.nulls[i] = is_null;
    }
    if ((item->t_info & kOpenBit) != 0)
        while (key.open_from > 0 && key.nulls[key.open_from - 1]) --key.open_from;
    return key;
}

}  // namespace topk
