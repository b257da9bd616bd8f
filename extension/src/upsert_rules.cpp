// The rules, each in a function of its own. Looks into the caches only.
#include "upsert_rules.h"

namespace topk {

namespace {

bool is_our_column(const FormData_pg_attribute& column, const char* name, Oid type, Oid collation) {
    return !column.attisdropped && strcmp(NameStr(column.attname), name) == 0 && column.atttypid == type &&
           column.attcollation == collation && column.attnotnull && column.attgenerated == '\0' && column.attidentity == '\0' &&
           !column.atthasmissing;
}

/// Exactly ours, in our order: a row is then three values at known places.
bool has_our_columns(Relation table) {
    TupleDesc columns = RelationGetDescr(table);
    return columns->natts == 3 && is_our_column(*TupleDescAttr(columns, 0), "window_start", TIMESTAMPTZOID, InvalidOid) &&
           is_our_column(*TupleDescAttr(columns, 1), "video_id", TEXTOID, C_COLLATION_OID) &&
           is_our_column(*TupleDescAttr(columns, 2), "views", INT8OID, InvalidOid);
}

/// "views > 0" and in force: true of every sum of a stored value and a delta.
bool is_positive_views(const ConstrCheck& check) {
    if (!check.ccvalid || !is_enforced(check)) return false;
    const auto* node = static_cast<Node*>(stringToNode(check.ccbin));
    if (!IsA(node, OpExpr)) return false;
    const auto* comparison = reinterpret_cast<const OpExpr*>(node);
    const Oid function = get_opcode(comparison->opno);
    if ((function != F_INT8GT && function != F_INT84GT) || list_length(comparison->args) != 2) return false;
    const auto* left = static_cast<Node*>(linitial(comparison->args));
    const auto* right = static_cast<Node*>(lsecond(comparison->args));
    if (!IsA(left, Var) || reinterpret_cast<const Var*>(left)->varattno != 3 || !IsA(right, Const)) return false;
    const auto* zero = reinterpret_cast<const Const*>(right);
    return !zero->constisnull && (function == F_INT84GT ? DatumGetInt32(zero->constvalue) : DatumGetInt64(zero->constvalue)) == 0;
}

bool has_other_checks(Relation table) {
    const TupleConstr* constraints = RelationGetDescr(table)->constr;
    if (constraints == nullptr) return false;
    return !std::all_of(constraints->check, constraints->check + constraints->num_check, is_positive_views);
}

/// An update that a subscriber could not apply is an error, which SQL words.
bool is_published_without_identity(Relation table) {
    PublicationDesc published;
    RelationBuildPublicationDesc(table, &published);
    if (!published.pubactions.pubupdate) return false;
    const bool has_identity = table->rd_rel->relreplident == REPLICA_IDENTITY_FULL || OidIsValid(RelationGetReplicaIndex(table));
    return !has_identity || !published.rf_valid_for_update || !published.cols_valid_for_update;
}

/// The rights of INSERT … ON CONFLICT DO UPDATE, on whole tables: rights on columns are SQL's.
bool has_rights(Relation table) {
    const Oid user = GetUserId();
    const auto has = [&](AclMode right) { return pg_class_aclcheck(RelationGetRelid(table), user, right) == ACLCHECK_OK; };
    return has(ACL_INSERT) && has(ACL_UPDATE) && has(ACL_SELECT) && has_schema_usage(RelationGetNamespace(table), user);
}

}  // namespace

const char* obstacle_to_statement(Relation table) {
    if (!has_our_columns(table)) return "the table has other columns";
    if (table->rd_rel->relispartition) return "the table is itself a partition";
    if (table->rd_rules != nullptr) return "the table has rules";
    if (table->trigdesc != nullptr) return "the table has triggers";
    if (has_policies(RelationGetRelid(table), GetUserId())) return "row-level security applies";
    if (!has_rights(table)) return "the owner lacks a right on the whole table";
    return nullptr;
}

const char* obstacle_to_rows(Relation table) {
    if (table->rd_rel->relkind != RELKIND_RELATION) return "a partition or roll-up is not an ordinary table";
    if (table->rd_rel->relam != HEAP_TABLE_AM_OID) return "a partition or roll-up has another access method";
    if (!has_our_columns(table)) return "a partition or roll-up has other columns";
    if (table->trigdesc != nullptr) return "a partition or roll-up has triggers";
    if (has_other_checks(table)) return "a partition or roll-up has other check constraints";
    if (is_published_without_identity(table)) return "a partition or roll-up is published without a replica identity";
    return nullptr;
}

}  // namespace topk
