// Kept plans and result access.
#include "statement.h"

namespace topk {

namespace {

/// The arguments as SPI takes them.
struct Parameters {
    std::array<Oid, kMaxArguments> types = {};
    std::array<Datum, kMaxArguments> values = {};
    std::array<char, kMaxArguments> nulls = {};
    std::size_t count = 0;

    explicit Parameters(std::initializer_list<Argument> arguments) {
        Assert(arguments.size() <= kMaxArguments);
        for (const Argument& argument : arguments) {
            types[count] = argument.type;
            values[count] = argument.value;
            nulls[count++] = argument.is_null ? 'n' : ' ';
        }
    }
};

void prepare(Statement& statement, std::size_t count, std::array<Oid, kMaxArguments>& types) {
    SPIPlanPtr plan = SPI_prepare_cursor(statement.sql, static_cast<int>(count), types.data(), statement.cursor_options);
    if (plan == nullptr) elog(ERROR, "could not prepare \"%s\": %s", statement.sql, SPI_result_code_string(SPI_result));
    SPI_keepplan(plan);
    if (statement.plan != nullptr) SPI_freeplan(statement.plan);
    statement.plan = plan;
    statement.types = types;
}

}  // namespace

std::uint64_t run(Statement& statement, std::initializer_list<Argument> arguments, Snapshot snapshot) {
    Parameters given(arguments);
    // SPI leaves its own context current, which lives until SPI_finish.
    const MemoryContext caller = CurrentMemoryContext;
    if (statement.plan == nullptr || statement.types != given.types) prepare(statement, given.count, given.types);
    const int code = SPI_execute_plan(statement.plan, given.values.data(), given.nulls.data(), snapshot == Snapshot::kCaller, 0);
    MemoryContextSwitchTo(caller);
    if (code < 0) elog(ERROR, "could not run \"%s\": %s", statement.sql, SPI_result_code_string(code));
    return SPI_processed;
}

std::uint64_t run_once(const char* sql, std::initializer_list<Argument> arguments, Snapshot snapshot) {
    Parameters given(arguments);
    const MemoryContext caller = CurrentMemoryContext;
    const int code = SPI_execute_with_args(sql, static_cast<int>(given.count), given.types.data(), given.values.data(), given.nulls.data(),
                                           snapshot == Snapshot::kCaller, 0);
    MemoryContextSwitchTo(caller);
    if (code < 0) elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
    return SPI_processed;
}

void run_utility(const char* sql) {
    const int code = SPI_execute(sql, false, 0);
    if (code < 0) elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
}

Cell cell(std::uint64_t row, int column) {
    Cell result;
    result.value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &result.is_null);
    return result;
}

char* text_cell(std::uint64_t row, int column) {
    const Cell found = cell(row, column);
    return found.is_null ? nullptr : TextDatumGetCString(found.value);
}

void put_rows(const ReturnSetInfo* result) {
    for (std::uint64_t row = 0; row < SPI_tuptable->numvals; ++row) tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
}

}  // namespace topk
