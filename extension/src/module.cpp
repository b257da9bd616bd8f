// The library's identity. TOPK_VERSION comes from the Makefile, which reads it from topk.control.
#include "pg.h"

// The macro of PostgreSQL 18 leaves fields out.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
extern "C" {
PG_MODULE_MAGIC;
}

namespace topk {

void register_index_options();
void register_upsert_option();

extern "C" PGDLLEXPORT void _PG_init() {
    register_index_options();
    register_upsert_option();
}

TOPK_SQL_FUNCTION(topk_version) {
    PG_RETURN_TEXT_P(cstring_to_text(TOPK_VERSION));
}

}  // namespace topk
