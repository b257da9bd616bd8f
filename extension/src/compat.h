// The differences between PostgreSQL 15 and 18. The only file that may look at PG_VERSION_NUM.
#pragma once

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "topk builds against PostgreSQL 15 to 18"
#endif

namespace topk {

/// PostgreSQL 16 replaced pg_namespace_aclcheck by object_aclcheck.
inline bool has_schema_usage(Oid schema, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK;
#else
    return pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

}  // namespace topk
