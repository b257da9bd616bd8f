// What the access method can do, as core asks it.
#include "am.h"
#include "order.h"

namespace topk {

namespace {

struct Options {
    std::int32_t vl_len_;
    int k;
};

constexpr int kDefaultK = 1000;
constexpr int kMaxK = 10000;

relopt_kind options_kind;

}  // namespace

void register_index_options() {
    options_kind = add_reloption_kind();
    add_int_reloption(options_kind, "k", "How many rows of a group will be asked for at most without the slow path", kDefaultK, 1, kMaxK,
                      AccessExclusiveLock);
}

int option_k(Relation index) {
    return index->rd_options == nullptr ? kDefaultK : reinterpret_cast<Options*>(index->rd_options)->k;
}

extern "C" bytea* topk_options(Datum options, bool validate) {
    relopt_parse_elt element = {};
    element.optname = "k";
    element.opttype = RELOPT_TYPE_INT;
    element.offset = offsetof(Options, k);
    return static_cast<bytea*>(build_reloptions(options, validate, options_kind, sizeof(Options), &element, 1));
}

TOPK_SQL_FUNCTION(topk_index_handler) {
    IndexAmRoutine* am = makeNode(IndexAmRoutine);
    am->amstrategies = kStrategies;
    am->amsupport = kProcs;
    am->amcanorder = true;
    am->amcanmulticol = true;
    am->amoptionalkey = true;
    am->amsearchnulls = true;
    am->amkeytype = InvalidOid;
    am->amparallelvacuumoptions = VACUUM_OPTION_NO_PARALLEL;
    am->ambuild = topk_build;
    am->ambuildempty = topk_buildempty;
    am->aminsert = topk_insert;
    am->ambulkdelete = topk_bulkdelete;
    am->amvacuumcleanup = topk_vacuumcleanup;
    am->amcostestimate = topk_costestimate;
    am->amoptions = topk_options;
    am->amvalidate = topk_validate;
    am->ambeginscan = topk_beginscan;
    am->amrescan = topk_rescan;
    am->amcanreturn = topk_canreturn;
    am->amgettuple = topk_gettuple;
    am->amendscan = topk_endscan;
    set_version_fields(am);
    PG_RETURN_POINTER(am);
}

}  // namespace topk
