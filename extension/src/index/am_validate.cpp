// amvalidate: checks an operator class and its family as btree does its own, for strategies 1 to 5 and our support functions.
// Called by SELECT amvalidate(oid) alone, so the catalogs are read as they are and nothing is locked.
#include "am.h"

namespace topk {

namespace {

constexpr char kMethod[] = "topk";

struct PhysicalHash {
    Oid function;
    Oid type;
};

// Hash functions of core that fit a type by its representation, though no cast says so. By identity, because a function
// that takes internal fits nothing safely.
constexpr PhysicalHash kPhysicalHashes[] = {
    {F_HASHINT4EXTENDED, DATEOID},   {F_HASHINT8EXTENDED, XID8OID},
    {F_HASHINT8EXTENDED, MONEYOID},  {F_TIMESTAMP_HASH_EXTENDED, TIMESTAMPTZOID},
    {F_HASHCHAREXTENDED, BOOLOID},   {F_HASHVARLENAEXTENDED, BYTEAOID},
    {F_HASHVARLENAEXTENDED, BITOID}, {F_HASHVARLENAEXTENDED, VARBITOID},
};

/// The family under check; the caller holds the catalog lists.
struct Family {
    const char* name;
    CatCList* operators;
    CatCList* functions;
};

template <typename Form>
Form member(const CatCList* list, int i) {
    return reinterpret_cast<Form>(GETSTRUCT(&list->members[i]->tuple));
}

bool hash_signature_is_right(Form_pg_amproc entry) {
    if (check_amproc_signature(entry->amproc, INT8OID, false, 2, 2, entry->amprocrighttype, INT8OID)) return true;
    for (const PhysicalHash& known : kPhysicalHashes)
        if (known.function == entry->amproc && known.type == entry->amprocrighttype) return true;
    return false;
}

bool check_function(const Family& family, Form_pg_amproc entry) {
    bool right;
    switch (entry->amprocnum) {
        case kOrderProc:
            right = check_amproc_signature(entry->amproc, INT4OID, true, 2, 2, entry->amproclefttype, entry->amprocrighttype);
            break;
        case kHashProc:
            right = hash_signature_is_right(entry);
            break;
        case kHeadroomProc:
            right = entry->amproclefttype == entry->amprocrighttype &&
                    check_amproc_signature(entry->amproc, entry->amproclefttype, true, 1, 1, entry->amproclefttype);
            break;
        default:
            ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                           errmsg("operator family \"%s\" of access method %s contains function %s with invalid support number %d",
                                  family.name, kMethod, format_procedure(entry->amproc), entry->amprocnum)));
            return false;
    }
    if (!right)
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s contains function %s with wrong signature for support number %d",
                              family.name, kMethod, format_procedure(entry->amproc), entry->amprocnum)));
    return right;
}

bool check_operator(const Family& family, Form_pg_amop entry) {
    bool result = true;
    if (entry->amopstrategy < 1 || entry->amopstrategy > kStrategies) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s contains operator %s with invalid strategy number %d",
                              family.name, kMethod, format_operator(entry->amopopr), entry->amopstrategy)));
        result = false;
    }
    if (entry->amoppurpose != AMOP_SEARCH || OidIsValid(entry->amopsortfamily)) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s contains invalid ORDER BY specification for operator %s",
                              family.name, kMethod, format_operator(entry->amopopr))));
        result = false;
    }
    if (!check_amop_signature(entry->amopopr, BOOLOID, entry->amoplefttype, entry->amoprighttype)) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s contains operator %s with wrong signature", family.name, kMethod,
                              format_operator(entry->amopopr))));
        result = false;
    }
    return result;
}

/// A pair of types needs all five operators and the comparison; hash and headroom are optional.
bool check_pair(const Family& family, const OpFamilyOpFuncGroup* pair) {
    constexpr std::uint64_t all_operators = ((std::uint64_t{1} << kStrategies) - 1) << 1;
    bool result = true;
    if (pair->operatorset != all_operators) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s is missing operator(s) for types %s and %s", family.name, kMethod,
                              format_type_be(pair->lefttype), format_type_be(pair->righttype))));
        result = false;
    }
    if ((pair->functionset & (std::uint64_t{1} << kOrderProc)) == 0) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s is missing support function for types %s and %s", family.name,
                              kMethod, format_type_be(pair->lefttype), format_type_be(pair->righttype))));
        result = false;
    }
    return result;
}

/// The pairs of types as a whole: that of the class is there, and so is every combination of the family's types.
bool check_pairs(const Family& family, const char* class_name, Oid class_type) {
    bool result = true;
    bool class_found = false;
    List* types = NIL;
    List* pairs = identify_opfamily_groups(family.operators, family.functions);
    ListCell* cell;
    foreach (cell, pairs) {
        const auto* pair = static_cast<const OpFamilyOpFuncGroup*>(lfirst(cell));
        class_found |= pair->lefttype == class_type && pair->righttype == class_type;
        types = list_append_unique_oid(types, pair->lefttype);
        types = list_append_unique_oid(types, pair->righttype);
        result &= check_pair(family, pair);
    }
    if (!class_found) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator class \"%s\" of access method %s is missing operator(s)", class_name, kMethod)));
        result = false;
    }
    if (list_length(pairs) != list_length(types) * list_length(types)) {
        ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                       errmsg("operator family \"%s\" of access method %s is missing cross-type operator(s)", family.name, kMethod)));
        result = false;
    }
    return result;
}

}  // namespace

bool topk_validate(Oid opclass) {
    const HeapTuple class_tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
    if (!HeapTupleIsValid(class_tuple)) elog(ERROR, "cache lookup failed for operator class %u", opclass);
    const auto class_form = reinterpret_cast<Form_pg_opclass>(GETSTRUCT(class_tuple));
    const Oid family_id = class_form->opcfamily;
    const HeapTuple family_tuple = SearchSysCache1(OPFAMILYOID, ObjectIdGetDatum(family_id));
    if (!HeapTupleIsValid(family_tuple)) elog(ERROR, "cache lookup failed for operator family %u", family_id);

    const Family family = {NameStr(reinterpret_cast<Form_pg_opfamily>(GETSTRUCT(family_tuple))->opfname),
                           SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family_id)),
                           SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(family_id))};
    bool result = true;
    for (int i = 0; i < family.functions->n_members; i++) result &= check_function(family, member<Form_pg_amproc>(family.functions, i));
    for (int i = 0; i < family.operators->n_members; i++) result &= check_operator(family, member<Form_pg_amop>(family.operators, i));
    result &= check_pairs(family, NameStr(class_form->opcname), class_form->opcintype);

    ReleaseCatCacheList(family.functions);
    ReleaseCatCacheList(family.operators);
    ReleaseSysCache(family_tuple);
    ReleaseSysCache(class_tuple);
    return result;
}

}  // namespace topk
